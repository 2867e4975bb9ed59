"""What every test may ask for: a backend's kernels, an engine."""

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
