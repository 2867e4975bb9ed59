"""Programs that take turns: each in a process of its own, one pass for each line it is sent."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
# PyTorch gives large blocks back to the system after each use unless malloc is told otherwise.
LARGE_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
OWN = "cvgg"


@dataclass(frozen=True)
class Setting:
    """A program as it is run. `module`: what its Python must have; "": cvgg's own."""

    name: str
    module: str = ""
    form: str = ""
    environment: dict[str, str] = field(default_factory=dict)


# What is asked of cvgg is asked against the best of these three.
TORCH = (
    Setting("torch", "torch", "default"),
    Setting("torch channels_last", "torch", "channels_last"),
    Setting("torch large malloc", "torch", "default", LARGE_MALLOC),
)


class GoneError(RuntimeError):
    """A program ended where an answer was waited for."""


@dataclass
class Runner:
    """A process that does one pass for each line it reads."""

    name: str
    process: "subprocess.Popen[str]"
    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    cpu_seconds: float = 0.0  # of the last turn, all threads

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line. Raises GoneError if the process has gone."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise GoneError(f"{self.name} ended with {self.process.wait()}")
        said: dict[str, Any] = json.loads(answer)
        self.peak_mib, self.cpu_seconds = said["peak_mib"], said["cpu_seconds"]
        return said

    def turn(self) -> float:
        """Seconds of one pass. Raises GoneError if the process has gone."""
        return float(self.ask("go")["seconds"])

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):  # it may have gone already
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def start(
    name: str, python: str, script: str, words: list[str], environment: dict[str, str]
) -> Runner:
    process = subprocess.Popen(
        [python, str(HERE / script), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    return Runner(name, process)


@dataclass
class Programs:
    """Who can run, who cannot and why."""

    pythons: dict[str, str]  # module to the Python that has it
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # setting to reason

    def present(self, settings: Sequence[Setting]) -> list[Setting]:
        """Those whose module can be imported; the others are told and noted."""
        found = []
        for each in settings:
            if each.name in self.missing:
                continue
            if reason := self._lacks(each.module):
                self.miss(each.name, reason)
            else:
                found.append(each)
        return found

    def _lacks(self, module: str) -> str:
        """Why the module cannot be imported; "" if it can."""
        if not module or module in self.versions:
            return ""
        python = self.pythons.get(module)
        if not python:
            return f"no Python that has {module} was named"
        code = f"import {module}; print({module}.__version__)"
        try:
            run = subprocess.run([python, "-c", code], capture_output=True, text=True)
        except OSError as error:
            return f"{python}: {error.strerror}"
        if run.returncode:
            last = run.stderr.strip().splitlines()[-1:]
            return f"{''.join(last)}; tools/bench/requirements.txt says what it needs"
        self.versions[module] = run.stdout.split()[-1]
        return ""

    def miss(self, name: str, reason: str) -> None:
        self.missing[name] = reason
        print(f"missing: {name}: {reason}", flush=True)

    def python(self, setting: Setting) -> str:
        return self.pythons[setting.module] if setting.module else sys.executable


@contextmanager
def closing(runners: list[Runner]) -> Iterator[list[Runner]]:
    """Ends those that are in the list in the end."""
    try:
        yield runners
    finally:
        for runner in runners:
            runner.close()


def ask_all(runners: list[Runner], line: str, failed: dict[str, str]) -> dict[str, Any]:
    """Everyone's answer by name. A rival that ends leaves the list, and the reason stands in
    `failed`; without cvgg nothing goes on."""
    said = {}
    for runner in list(runners):
        try:
            said[runner.name] = runner.ask(line)
        except GoneError as error:
            if runner.name == OWN:
                raise
            failed[runner.name] = str(error)
            print(f"missing: {error}", flush=True)
            runners.remove(runner)
            runner.close()
    return said


def rounds(runners: list[Runner], count: int, failed: dict[str, str]) -> None:
    """All take turns, `count` times."""
    for _ in range(count):
        said = ask_all(runners, "go", failed)
        for runner in runners:
            runner.seconds.append(float(said[runner.name]["seconds"]))


def best_torch(seconds: dict[str, list[float]]) -> str | None:
    """The setting of PyTorch with the lowest median; None: none ran."""
    names = [each.name for each in TORCH if each.name in seconds]
    return min(names, key=lambda name: statistics.median(seconds[name]), default=None)


def ratio(seconds: dict[str, list[float]], name: str | None) -> float | None:
    """How many times cvgg's median the other's is; None where it did not run."""
    if name is None or name not in seconds:
        return None
    return statistics.median(seconds[name]) / statistics.median(seconds[OWN])
