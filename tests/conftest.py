"""What every test may ask for: a backend and an engine. Loggers stay as they were found."""

import logging
import signal
from collections.abc import Iterator

import pytest
from emulated import device, sweep

from cvgg.engine import Engine, open_engine

BACKENDS = ["cpu", *sweep({"emulated"})]


@pytest.fixture(scope="session", params=BACKENDS)
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine of each backend; the CUDA engine's device is emulated."""
    if request.param == "cpu":
        return open_engine("cpu", threads=2)
    return device(request.param)


@pytest.fixture(autouse=True)
def unchanged_logger() -> Iterator[None]:
    """A command run in this process sets up the log and SIGPIPE for a process of its own."""
    logger = logging.getLogger("cvgg")
    before = logger.level, logger.propagate, list(logger.handlers)
    pipe = signal.getsignal(signal.SIGPIPE)
    yield
    logger.level, logger.propagate, logger.handlers = before
    signal.signal(signal.SIGPIPE, pipe)
