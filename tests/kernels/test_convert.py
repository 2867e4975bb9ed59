"""Conversion of layouts on a device: the host sees the same array, the memory is turned."""

import numpy as np
import pytest
from emulated import DEVICES
from emulator.driver import EmulatorDriver

from cvgg.engine.cuda import CudaEngine

# 32 x 32 cells are a tile. The card of one multiprocessor gets 32 blocks for the 7 * 2 * 3 tiles of
# the last shape: some blocks make two, one after the other.
SHAPES = [(2, 3, 5, 4), (1, 33, 8, 4), (3, 32, 1, 64), (7, 37, 5, 14)]


@pytest.fixture(params=["emulated-backwards", "race"])
def one(request: pytest.FixtureRequest) -> CudaEngine:
    """A device of one multiprocessor."""
    seed, mode = DEVICES[request.param]
    return CudaEngine(EmulatorDriver(seed, mode, multiprocessors=1), threads=2)


@pytest.mark.parametrize("to", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", SHAPES)
def test_convert_turns_the_memory_and_no_number(
    shape: tuple[int, ...], to: str, one: CudaEngine
) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    there = one.empty(shape, "float32", "NHWC" if to == "NCHW" else "NCHW")
    turned = one.empty(shape, "float32", to)
    one.copy_in(there, x)
    one.kernels.convert(there, turned)
    np.testing.assert_array_equal(one.copy_out(turned), x)
    assert turned.layout == to


def test_convert_to_the_same_layout_copies(one: CudaEngine) -> None:
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 5, 4)
    there, same = (one.empty(x.shape, "float32", "NHWC") for _ in range(2))
    one.copy_in(there, x)
    one.kernels.convert(there, same)
    np.testing.assert_array_equal(one.copy_out(same), x)
