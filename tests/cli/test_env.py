"""cvgg env: what it finds, and what it does not disturb."""

import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from shell import Shell

import cvgg as package
from cvgg.commands import env

OPEN_DRIVER = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build  (x)\n"
    "GCC version:  gcc version 12.2.0\n"
)
CLOSED_DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15\n"
CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
physical id\t: 0
core id\t\t: 3
flags\t\t: fpu avx avx2 fma avx512vl

processor\t: 1
model name\t: Some CPU @ 2.00GHz
physical id\t: 0
core id\t\t: 3
flags\t\t: fpu avx avx2 fma avx512vl

processor\t: 2
model name\t: Some CPU @ 2.00GHz
physical id\t: 1
core id\t\t: 3
flags\t\t: fpu avx avx2 fma avx512vl
"""


def test_json_has_versions_and_hardware(cvgg: Shell) -> None:
    done = cvgg("env", "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts["cvgg"] == package.__version__
    assert facts["numpy"] == np.__version__
    assert facts["lmdb"] == metadata.version("lmdb")
    assert facts["python"].split()[1] == ".".join(map(str, sys.version_info[:3]))
    assert facts["threads"] >= 1
    assert facts["memory"] >= facts["memory_free"] > 2**20
    assert any("openmp" in each for each in facts["blas"])


def test_the_table_has_a_line_for_each_fact(cvgg: Shell) -> None:
    facts = json.loads(cvgg("env", "--json").out)
    lines = cvgg("env").out.splitlines()
    assert len(lines) == len(facts)
    assert lines[0].split() == ["cvgg", package.__version__]
    (memory,) = (line for line in lines if line.startswith("memory free"))
    assert memory.split()[-1] == "GiB"


def test_what_is_not_there_is_null(cvgg: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "PACKAGES", ("no-such-package",))
    assert json.loads(cvgg("env", "--json").out)["no-such-package"] is None
    assert ["no-such-package", "-"] in [line.split() for line in cvgg("env").out.splitlines()]


def test_cupy_is_found_but_not_imported(
    cvgg: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cupy.py").write_text("raise AssertionError('imported')")
    about = tmp_path / "cupy_cuda12x-13.4.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cupy-cuda12x\nVersion: 13.4.1\n")
    (about / "top_level.txt").write_text("cupy\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = cvgg("env", "--json")
    assert json.loads(done.out)["cupy"] == "cupy-cuda12x 13.4.1"
    assert "cupy" not in sys.modules


@pytest.mark.parametrize(
    ("text", "version"), [(OPEN_DRIVER, "560.35.03"), (CLOSED_DRIVER, "535.104.05"), ("", None)]
)
def test_the_driver_of_either_kind_is_read(
    cvgg: Shell, monkeypatch: pytest.MonkeyPatch, text: str, version: str | None
) -> None:
    monkeypatch.setattr(env, "_read", lambda path: text if "nvidia/version" in str(path) else "")
    assert json.loads(cvgg("env", "--json").out)["driver"] == version


def test_cores_of_two_threads_count_once(cvgg: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "_read", lambda path: CPUINFO if "cpuinfo" in str(path) else "")
    facts = json.loads(cvgg("env", "--json").out)
    assert facts["cpu"] == "Some CPU @ 2.00GHz, 2 cores, avx, fma, avx2"
