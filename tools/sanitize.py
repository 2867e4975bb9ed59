"""The C++ modules of the CPU kernels under the address and undefined-behaviour sanitizers, on the
CPU's tests of kernels and layers: `make sanitize`.

Works in a copy: modules built so are slow, and load only behind the sanitizers' libraries. What
comes behind `--` goes to pytest. Not seen: a place behind the end of one array of a net that lies
in another, as a net's arrays share their memory; the tests of kernels give each its own."""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pybind11

ROOT = Path(__file__).parents[1]
PARTS = ("cvgg", "kernels", "netdef", "prototxt", "tests", "tools", "pyproject.toml")
SANITIZERS = "address,undefined"
# -O1: each access is where the source has it, and lines in a report are right.
FLAGS = (
    *("-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fopenmp", "-O1", "-g"),
    *(f"-fsanitize={SANITIZERS}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"),
)
MODULES = {"_native": ("native.cpp",), "_avx2": ("avx2.cpp", "-mavx2", "-mfma")}
LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so")  # the last has what throws
TESTS = ("tests/kernels", "tests/layers")
CUDA_ONLY = ("choice", "compile", "cupy_driver", "launch", "table")
CHOSEN = ("-m", "not gpu", "-k", "not emulated and not race", "-p", "no:cacheprovider")
OPEN = "--capture=sys"  # a report goes to the process's standard error, and ends it


def copy(to: Path) -> None:
    """The tree, without modules that were built in it."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__", ".*_cache")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, to / name)


def build(compiler: str, folder: Path) -> None:
    """The modules, beside their sources in kernels/cpu. Raises CalledProcessError."""
    headers = [sysconfig.get_path("include"), pybind11.get_include()]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for name, (source, *more) in MODULES.items():
        words = [compiler, *FLAGS, *more, *(f"-I{each}" for each in headers), source]
        subprocess.run([*words, "-o", f"{name}{suffix}"], cwd=folder, check=True)


def preloaded(compiler: str) -> str:
    """The libraries that must be there before Python is, by their full paths."""
    paths = []
    for name in LIBRARIES:
        words = [compiler, f"-print-file-name={name}"]
        path = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        if not os.path.isabs(path):
            raise SystemExit(f"{compiler} has no {name}")
        paths.append(os.path.realpath(path))
    return " ".join(paths)


def run(compiler: str, folder: Path, words: Sequence[str]) -> int:
    """pytest's exit code, the sanitizers' where they ended it; not 0 either if a process that a
    test started had a report. Reports are printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "LD_PRELOAD": preloaded(compiler)}
    # Python's own allocator has no red zones; and it frees little at its end: no leaks are told.
    environment["PYTHONMALLOC"] = "malloc"
    logs = folder / "report"  # of processes that tests start, too
    environment["ASAN_OPTIONS"] = f"detect_leaks=0:halt_on_error=1:log_path={logs}"
    environment["UBSAN_OPTIONS"] = "halt_on_error=1:print_stacktrace=1"  # it knows no log_path
    skipped = [f"--ignore=tests/kernels/test_{name}.py" for name in CUDA_ONLY]
    command = [sys.executable, "-m", "pytest", *TESTS, *CHOSEN, OPEN, *skipped, *words]
    code = subprocess.run(command, cwd=folder, env=environment).returncode
    reports = sorted(folder.glob(f"{logs.name}.*"))
    for report in reports:
        print(report.read_text("utf-8", "backslashreplace"))
    return code or len(reports)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="g++", help="GCC's C++ compiler")
    parser.add_argument("words", nargs="*", help="for pytest, behind --")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cvgg-sanitize-") as place:
        folder = Path(place) / "tree"
        folder.mkdir()
        copy(folder)
        build(args.compiler, folder / "kernels/cpu")
        print(f"built in {time.monotonic() - began:.0f} s", flush=True)
        code = run(args.compiler, folder, args.words)
    result = "FAILED" if code else "no report"
    print(f"{SANITIZERS}: {result}; {time.monotonic() - began:.0f} s")
    return int(code != 0)


if __name__ == "__main__":
    sys.exit(main())
