"""Prototxt files, Datums, models and lists changed by chance or made by a grammar: each is read, or
refused by an error of ours; it takes 5 seconds and twice the file's memory and 16 MB at most.
`pytest tests/faults/test_mutants.py -m slow --mutants 100000` reads so many.
"""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.reading import FAULTY, KEPT, KINDS, TWO_BYTES

from cvgg.data.datum import read_datum

FEW = 150  # of each kind in `make test`


@dataclass(frozen=True)
class Outcome:
    """What a process that reads mutants left: its exit code (negative: the signal that ended it),
    its count, its messages, and the input at which it was."""

    code: int
    told: dict[str, int]
    err: str
    left: bytes | None


def read_many(kind: str, folder: Path, first: int, count: int, *, longest_s: float = 5) -> Outcome:
    words = [kind, first, count, longest_s, folder]
    done = subprocess.run(
        [sys.executable, "-m", "faults.reading", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="backslashreplace",
    )
    path = folder / "input"
    left = path.read_bytes() if path.exists() else None
    return Outcome(done.returncode, json.loads(done.stdout or "{}"), done.stderr, left)


def all_are_read_or_refused(kind: str, folder: Path, first: int, count: int) -> None:
    outcome = read_many(kind, folder, first, count)
    assert outcome.code == 0, f"{outcome.err} at {outcome.left!r}"
    assert outcome.told["read"] >= count
    accepted = outcome.told["read"] - outcome.told["refused"]
    assert accepted >= count // 200, "hardly any is read to its end: the mutants are too wild"
    print(kind, outcome.told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutant_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    all_are_read_or_refused(kind, tmp_path, 0, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutants_are_read_or_refused(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    count = -(-request.config.getoption("mutants", default=20_000) // len(KINDS))
    all_are_read_or_refused(kind, tmp_path, FEW, count)


NOTICED = {
    "crash": (-signal.SIGABRT, ""),
    "hang": (-signal.SIGALRM, ""),
    "traceback": (1, "AssertionError: KeyError"),
    "traceback-grammar": (1, "AssertionError: KeyError"),
    "memory": (1, "AssertionError: 17[0-9]{6} bytes for"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_each_fault_would_be_noticed_with_its_input(tmp_path: Path, fault: str) -> None:
    code, message = NOTICED[fault]
    outcome = read_many(fault, tmp_path, 0, 3, longest_s=0.1)
    assert outcome.code == code, outcome.err
    assert outcome.left is not None
    assert re.search(message, outcome.err)


# ---- inputs that once failed
@pytest.mark.parametrize("case", KEPT)
def test_what_once_failed_is_read_or_refused(tmp_path: Path, case: str) -> None:
    outcome = read_many(case, tmp_path, 0, 1)
    assert outcome.code == 0, outcome.err
    assert outcome.told["read"] == 1


def test_a_float_behind_a_tag_of_two_bytes_is_read() -> None:
    assert read_datum(TWO_BYTES, "db[key]").float_data.tolist() == [1, 2]
