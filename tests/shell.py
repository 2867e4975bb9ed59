"""Commands of cvgg in this process, as a shell would run them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from cvgg.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


Shell: TypeAlias = Callable[..., Done]


def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """run("summary", "net.prototxt") -> Done."""

    def run(*words: object) -> Done:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run
