"""What the tests of commands may ask for: a shell."""

import logging
import signal
from collections.abc import Iterator

import pytest
from shell import Shell, shell


@pytest.fixture
def cvgg(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Runs a command; afterwards logger and signals are as before, whatever the command set."""
    logger = logging.getLogger("cvgg")
    before = logger.level, logger.propagate, list(logger.handlers)
    pipe = signal.getsignal(signal.SIGPIPE)
    yield shell(capsys)
    logger.level, logger.propagate, logger.handlers = before
    signal.signal(signal.SIGPIPE, pipe)
