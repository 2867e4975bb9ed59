"""The CUDA products of fully connected layers on several tiles, steps and runs, none of them whole.

64 x 64 outputs are a tile, 16 terms a step, and 256 terms at least a run of the depth."""

import numpy as np
import pytest
from emulated import DEVICES
from emulator.driver import EmulatorDriver
from hosted import hosted
from reference import Array

from cvgg.engine.cuda import CudaEngine
from cvgg.kernels.cuda.choice import choose_fc
from cvgg.kernels.cuda.driver import Properties
from cvgg.kernels.interface import Kernels

RANDOM = np.random.default_rng(12)
CARD = Properties("", "sm_90", 8, 2 << 30)
IN_FOURS, ANY = (68, 70, 532), (69, 70, 531)  # k, n and c; 532 = 2 runs of 272 and 260


@pytest.fixture(params=["emulated-backwards", "race"])
def tiled(request: pytest.FixtureRequest) -> Kernels:
    seed, mode = DEVICES[request.param]
    driver = EmulatorDriver(seed, mode, multiprocessors=CARD.multiprocessors)
    return hosted(CudaEngine(driver, threads=2), "NCHW")


def draw(*shape: int) -> Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def close(actual: Array, expected: Array, terms: int) -> None:
    """Within five deviations of the rounding of a sum of `terms` products of numbers in (-1, 1).

    A partial sum of i products has the deviation sqrt(i) / 3, and each addition rounds by at most
    2**-24 of it: the deviation of all roundings together is below terms / 3 * 2**-24."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5 * terms / 3 * 2.0**-24 + 2.0**-22)


def product(left: Array, right: Array) -> Array:
    return left.astype(np.float64) @ right.astype(np.float64)


@pytest.mark.parametrize(("k", "n", "c"), [IN_FOURS, ANY])
@pytest.mark.parametrize("transpose", [False, True])
def test_forward_adds_the_runs_of_a_long_depth(
    k: int, n: int, c: int, *, transpose: bool, tiled: Kernels
) -> None:
    (_, _, runs), run = choose_fc(n, k, c, CARD)
    assert runs == 2
    assert run % 16 == 0
    x, w, b = draw(n, c), draw(c, k) if transpose else draw(k, c), draw(k)
    y, workspace = np.empty((n, k), np.float32), np.empty(tiled.fc_workspace(n, c, k), np.float32)
    tiled.fc_forward(x, w, b, y, transpose=transpose, workspace=workspace)
    close(y, product(x, w if transpose else w.T) + b, c + 1)


@pytest.mark.parametrize(("c", "n", "k"), [IN_FOURS, ANY])
@pytest.mark.parametrize("transpose", [False, True])
def test_backward_data_adds_the_runs_of_a_long_depth(
    c: int, n: int, k: int, *, transpose: bool, tiled: Kernels
) -> None:
    w, dy, dx = draw(c, k) if transpose else draw(k, c), draw(n, k), np.empty((n, c), np.float32)
    workspace = np.empty(tiled.fc_workspace(n, c, k), np.float32)
    tiled.fc_backward_data(w, dy, dx, transpose=transpose, workspace=workspace)
    close(dx, product(dy, w.T if transpose else w), k)


@pytest.mark.parametrize(("k", "c"), [(68, 132), (69, 133)])
@pytest.mark.parametrize("n", [16, 45])
def test_the_gradient_of_weights_is_right_in_every_tile(
    n: int, k: int, c: int, tiled: Kernels
) -> None:
    x, dy, dw, db = draw(n, c), draw(n, k), draw(k, c), draw(k)
    dw_expected, db_expected = dw + product(dy.T, x), db + dy.sum(axis=0, dtype=np.float64)
    workspace = np.empty(0, np.float32)
    tiled.fc_backward_weights(x, dy, dw, db, transpose=False, workspace=workspace)
    close(dw, dw_expected, n + 1)
    close(db, db_expected, n + 1)


def test_rows_and_columns_of_one_number_are_a_product_too(tiled: Kernels) -> None:
    x, w, y = draw(1, 1), draw(1, 1), np.empty((1, 1), np.float32)
    workspace = np.empty(tiled.fc_workspace(1, 1, 1), np.float32)
    tiled.fc_forward(x, w, None, y, transpose=False, workspace=workspace)
    np.testing.assert_array_equal(y, x * w)
