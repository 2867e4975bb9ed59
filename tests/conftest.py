"""What every test may ask for: a backend and an engine. Loggers stay as they were found."""

import logging
import signal
from collections.abc import Iterator

import pytest

from cvgg.engine import Engine, open_engine
from cvgg.kernels.interface import Kernels

BACKENDS = ["cpu"]


@pytest.fixture(scope="session", params=BACKENDS)
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine of each backend."""
    return open_engine(request.param, threads=2)


@pytest.fixture(scope="session")
def kernels(engine: Engine) -> Kernels:
    """The functions of each backend."""
    return engine.kernels


@pytest.fixture(autouse=True)
def unchanged_logger() -> Iterator[None]:
    """A command run in this process sets up the log and SIGPIPE for a process of its own."""
    logger = logging.getLogger("cvgg")
    before = logger.level, logger.propagate, list(logger.handlers)
    pipe = signal.getsignal(signal.SIGPIPE)
    yield
    logger.level, logger.propagate, logger.handlers = before
    signal.signal(signal.SIGPIPE, pipe)
