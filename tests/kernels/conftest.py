"""Every test of kernels runs on each backend, and on emulated devices in both layouts."""

import pytest
from emulated import CARD, DEVICES, device, marked
from hosted import hosted

from cvgg.engine import open_engine
from cvgg.kernels.interface import Kernels

LAYOUTS = "NHWC", "NCHW"
NHWC_ONLY = {"test_conv"}
CPU = "cpu", "cpu:direct"
OFTEN = {*CPU, "emulated NHWC", "emulated-backwards NCHW", "race NHWC"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernels" not in metafunc.fixturenames:
        return
    nhwc_only = metafunc.module.__name__.rpartition(".")[2] in NHWC_ONLY
    layouts = LAYOUTS[:1] if nhwc_only else LAYOUTS
    backends = [*CPU, *(f"{name} {layout}" for name in (*DEVICES, CARD) for layout in layouts)]
    parameters = [marked(each, often=each in OFTEN) for each in backends]
    metafunc.parametrize("kernels", parameters, indirect=True, scope="session")


@pytest.fixture(scope="session")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The functions of each backend, called with numpy arrays."""
    name, _, layout = request.param.partition(" ")
    if name in CPU:
        return open_engine(name, threads=2).kernels
    return hosted(device(name), layout)
