"""Commands of cvgg as processes of their own, forked from one that has loaded the program: a new
interpreter for each would take ten times as long.

Started as a script it is that process: a line of JSON on standard input is a command to run, a line
on standard output its exit code, negative for a signal.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

LONGEST_S = 60  # a process that hangs is ended by SIGALRM


@dataclass(frozen=True)
class Done:
    """What a process left: exit code (negative: the signal that ended it), output, messages."""

    code: int
    out: str
    err: str


class Forks:
    """Runs commands in processes; close() when there are no more."""

    def __init__(self, scratch: Path) -> None:
        pipe = subprocess.PIPE
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80"}
        self._scratch = scratch
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def run(
        self,
        folder: Path,
        *words: object,
        stdout: str = "",
        stderr: str = "",
        largest_file: int | None = None,
        unset: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> Done:
        """cvgg `words` in `folder`. stdout, stderr: files to write to instead. largest_file: bytes,
        beyond which writing fails as on a full disk (EFBIG). user: who runs it, where root may."""
        out, err = stdout or str(self._scratch / "out"), stderr or str(self._scratch / "err")
        request = {
            "folder": str(folder),
            "words": [str(word) for word in words],
            "out": out,
            "err": err,
            "largest_file": largest_file,
            "unset": unset,
            "environment": dict(environment or {}),
            "user": user,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Done(
            code, *("" if told else _text(path) for path, told in ((out, stdout), (err, stderr)))
        )

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(LONGEST_S)
        self._server.stdout.close()


def _text(path: str) -> str:
    return Path(path).read_text("utf-8", "backslashreplace")


def _serve() -> None:
    from cvgg.cli import COMMANDS

    for name in COMMANDS:
        import_module(f"cvgg.commands.{name.replace('-', '_')}")
    for name in ("cvgg.solver", "cvgg.data.convert", "cvgg.data.imagenet", "cvgg.commands.survey"):
        import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict[str, Any]) -> None:
    """Turns this fork into the command's process."""
    from cvgg.cli import main

    signal.alarm(LONGEST_S)
    os.chdir(request["folder"])
    for name in request["unset"]:
        os.environ.pop(name, None)
    os.environ.update(request["environment"])
    null = os.open(os.devnull, os.O_RDONLY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, source in (
        (0, null),
        (1, os.open(request["out"], flags, 0o666)),
        (2, os.open(request["err"], flags, 0o666)),
    ):
        os.dup2(source, number)
    if request["user"] is not None:
        os.setuid(request["user"])
    if request["largest_file"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], hard))
    sys.exit(main(request["words"]))


if __name__ == "__main__":
    _serve()
