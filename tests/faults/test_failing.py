"""Every write, sync and rename of a snapshot and of the converter made to fail in turn: nothing
that was there is lost, and the next try succeeds.
"""

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest
from nets import dummy_data, fc, loss

import cvgg
from cvgg import snapshot
from cvgg.data import files
from cvgg.data.convert import Writer
from cvgg.data.database import open_database
from cvgg.errors import CannotCreateError, InputOutputError

CALLS = ("open", "fsync", "replace", "rename")
OPEN = lmdb.open


class Failing:
    """Counts the calls that write, and lets number `at` fail with `number`; at -1: none."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int = -1, number: int = errno.EIO) -> None:
        self.count, self._at, self._number = 0, at, number
        for name in CALLS:
            patch.setattr(os, name, self._counting(getattr(os, name)))
        real = io.open
        patch.setattr(files, "open", lambda *words: _Writer(self, real(*words)), raising=False)

    def step(self) -> None:
        self.count += 1
        if self.count - 1 == self._at:
            raise OSError(self._number, os.strerror(self._number))

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **settings: Any) -> Any:
            self.step()
            return function(*words, **settings)

        return call


class _Writer:
    """A file whose writes are counted; what a failing one was given may be there in part."""

    def __init__(self, failing: Failing, file: Any) -> None:
        self._failing, self._file = failing, file

    def write(self, part: Any) -> int:
        try:
            self._failing.step()
        except OSError:
            self._file.write(bytes(part)[: len(part) // 2])
            raise
        return int(self._file.write(part))

    def flush(self) -> None:
        self._failing.step()
        self._file.flush()

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file.read(size))

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def solver(folder: Path, net: str = dummy_data(3) + fc("fc1", "data", 3) + loss("fc1")) -> Any:
    return cvgg.Solver(
        f'net_param {{ {net} }} base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 random_seed: 5 '
        f'max_iter: 5 snapshot: 2 snapshot_prefix: "{folder}/run"'
    )


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def turns(tmp_path: Path) -> int:
    """How many calls one snapshot makes."""
    with pytest.MonkeyPatch.context() as patch:
        trained = solver(tmp_path)
        trained.step(1)
        failing = Failing(patch)
        trained.snapshot()
    return failing.count


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_whatever_fails_in_a_snapshot_the_old_one_stands_and_the_next_succeeds(
    tmp_path: Path, number: int
) -> None:
    (tmp_path / "count").mkdir()
    (tmp_path / "run").mkdir()
    folder = tmp_path / "run"
    count = turns(tmp_path / "count")
    assert count > 12  # two files: open, writes, flush, sync, rename, open and sync the folder
    trained = solver(folder)
    trained.step(2)  # the snapshot that must not be lost
    before = contents(folder)
    trained.step(1)
    for at in range(count):
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, at, number)
            with pytest.raises((CannotCreateError, InputOutputError), match=r"run_iter_3\."):
                trained.snapshot()
        after = contents(folder)
        assert {name: after[name] for name in before} == before
        assert not [name for name in after if name.endswith(".tmp")]
        if "run_iter_3.solverstate" in after:  # renamed, but perhaps not for ever
            (folder / "run_iter_3.solverstate").unlink()
        assert snapshot.latest_whole(f"{folder}/run") == f"{folder}/run_iter_2.solverstate"
        (folder / "run_iter_3.caffemodel").unlink(missing_ok=True)
    state = trained.snapshot()
    again = solver(folder)
    again.restore(state)
    assert again.iter == 3


def test_training_outlives_each_failure_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    for name in ("whole", "count"):
        (tmp_path / name).mkdir()
    solver(tmp_path / "whole").solve()
    expected = (tmp_path / "whole/run_iter_5.caffemodel").read_bytes()
    for at in range(0, turns(tmp_path / "count"), 3):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, at)
            solver(folder).solve()  # the snapshot of iteration 2 is missing, those of 4 and 5 not
        assert (folder / "run_iter_5.caffemodel").read_bytes() == expected
        assert (folder / "run_iter_4.solverstate").exists()


class Environment:
    """An LMDB that fails where LMDB itself can: as it is made, at each transaction, at the sync."""

    def __init__(self, failing: Failing, *words: Any, **settings: Any) -> None:
        self._failing = failing
        self._step()
        self._real = OPEN(*words, **settings)

    def _step(self) -> None:
        try:
            self._failing.step()
        except OSError as fault:
            raise lmdb.DiskError(str(fault)) from fault

    def begin(self, **settings: Any) -> Any:
        self._step()
        return self._real.begin(**settings)

    def sync(self, force: bool) -> None:  # noqa: FBT001
        self._step()
        self._real.sync(force)

    def close(self) -> None:
        self._real.close()


def convert(folder: Path, at: int) -> None:
    """Writes a database in three transactions; call number `at` fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cvgg.data.convert._BATCH", 5000)
        failing = Failing(patch, at, errno.ENOSPC)
        opened = partial(Environment, failing)
        patch.setattr(lmdb, "open", opened)
        with Writer(folder / "db") as writer:
            for i in range(5):
                writer.put(b"%08d" % i, bytes(3000))
            writer.finish({"records": 5})


def test_whatever_fails_in_the_converter_nothing_is_left_and_the_next_succeeds(
    tmp_path: Path,
) -> None:
    at = 0
    while not (tmp_path / "db").exists():
        try:
            convert(tmp_path, at)
        except CannotCreateError:
            assert os.listdir(tmp_path) == []
        at += 1
        assert at < 40
    assert at > 10  # made, three transactions, the facts' seven calls, sync, rename
    assert json.loads((tmp_path / "db/cvgg.json").read_text()) == {"records": 5}
    assert len(open_database(str(tmp_path / "db"))) == 5
