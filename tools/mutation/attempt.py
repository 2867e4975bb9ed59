"""The tests on one mutant, in a process of its own that has everything imported already."""

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .places import FOLDER, ROOT, TESTS, Mutant

CHOSEN = "emulated or race or test_convolution_relu_pooling"
ROUNDS = "not slow and not gpu", "slow and not gpu"

DEAD, SURVIVED, REFUSED = "dead", "survived", "not compiled"
UNSURE = "unsure"  # the tests did not run to an end: because of the mutant, or of something else
_CODES = {0: SURVIVED, 2: UNSURE, 3: UNSURE, 4: UNSURE, 64: REFUSED, 65: UNSURE}  # 2 to 4: pytest's


def get_ready() -> None:
    """Imports what a process needs: a fork has it then."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    import emulator.driver
    import numpy.testing
    import pytest

    import cvgg.engine.cuda
    import cvgg.testing

    assert all((emulator.driver, numpy.testing, pytest, cvgg.engine.cuda, cvgg.testing))


@dataclass
class Attempt:
    """A process at work on a mutant; None: on the kernels as they are."""

    mutant: Mutant | None
    sources: tuple[str, ...]
    pid: int
    began: float
    limit_s: float

    def outcome(self) -> tuple[str, float] | None:
        """What became of it, and its seconds; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        spent = time.monotonic() - self.began
        if not pid:
            if spent > self.limit_s:
                os.kill(self.pid, signal.SIGKILL)
            return None
        return _CODES.get(os.waitstatus_to_exitcode(status), DEAD), spent


def attempt(mutant: Mutant | None, sources: tuple[str, ...], limit_s: float) -> Attempt:
    """Starts a process. It may work `limit_s` and last ten times as long on a busy machine."""
    pid = os.fork()
    if pid:
        return Attempt(mutant, sources, pid, time.monotonic(), 10 * limit_s)
    code = 65
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(quiet, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s) + 1, int(limit_s) + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _run(mutant, sources)
    finally:
        os._exit(code)


def _run(mutant: Mutant | None, sources: Sequence[str]) -> int:
    from cvgg.kernels.cuda import launch
    from cvgg.kernels.cuda.compile import read_source

    with tempfile.TemporaryDirectory() as place:
        folders = (Path(place), FOLDER)
        if mutant:
            text = mutant.of((FOLDER / mutant.file).read_text(encoding="utf-8"))
            (Path(place) / mutant.file).write_text(text, encoding="utf-8")
        if not all(_compiles(read_source(each, folders)) for each in sources):
            return 64 if all(_compiles(read_source(each)) for each in sources) else 65
        # The launcher reads every kernel through this name.
        launch.__dict__["read_source"] = lambda file: read_source(file, folders)
        for marks in ROUNDS:
            code = _tests(sources, marks)
            if code:
                return code
    return 0


def _compiles(source: object) -> bool:
    from emulator import build

    from cvgg.kernels.cuda.driver import DriverError

    try:
        build.Module(source, "fast")
    except DriverError:
        return False
    return True


def _tests(sources: Sequence[str], marks: str) -> int:
    """pytest's exit code for the tests of these .cu files with such marks; none is as good as all
    passed."""
    import pytest

    patterns = dict.fromkeys(pattern for name in sources for pattern in TESTS[name])
    files = [str(file) for each in patterns for file in sorted((ROOT / "tests").glob(each))]
    for name in [name for name in sys.modules if name.startswith("tests.")]:
        del sys.modules[name]
    code = pytest.main([*files, "-xq", "-k", CHOSEN, "-m", marks, "-p", "no:cacheprovider"])
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)
