"""Every test of kernels runs on each backend, and on the emulated device in both layouts."""

import pytest
from emulator.driver import EmulatorDriver
from hosted import hosted

from cvgg.engine import open_engine
from cvgg.engine.cuda import CudaEngine
from cvgg.kernels.interface import Kernels

NHWC_ONLY = {"test_conv"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernels" in metafunc.fixturenames:
        backends = ["cpu", "emulated-NHWC", "emulated-NCHW"]
        if metafunc.module.__name__.rpartition(".")[2] in NHWC_ONLY:
            backends.remove("emulated-NCHW")
        metafunc.parametrize("kernels", backends, indirect=True, scope="session")


@pytest.fixture(scope="session")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The functions of each backend, called with numpy arrays."""
    backend, _, layout = request.param.partition("-")
    if backend == "cpu":
        return open_engine("cpu", threads=2).kernels
    return hosted(CudaEngine(EmulatorDriver()), layout)
