"""Pooling against a loop over every window; the caller's p and q, with windows that hang over."""

import numpy as np
import pytest
import reference
from closeness import assert_close
from numpy.typing import NDArray

from cvgg.kernels.interface import Kernels, Pair

from .conftest import Call

RANDOM = np.random.default_rng(2)
LARGEST = np.finfo(np.float32).max
# h w, p q, window, stride, pad
CASES = {
    "2x2 stride 2": ((6, 8), (3, 4), (2, 2), (2, 2), (0, 0)),
    "2x2 stride 2, odd": ((7, 5), (4, 3), (2, 2), (2, 2), (0, 0)),
    "overlapping": ((7, 5), (3, 2), (3, 3), (2, 2), (0, 0)),
    "overlapping, hanging over": ((6, 4), (3, 2), (3, 3), (2, 2), (0, 0)),
    "padded": ((5, 4), (4, 3), (3, 2), (2, 2), (2, 1)),
    "different by axis": ((7, 6), (3, 6), (3, 2), (2, 1), (0, 1)),
    "gaps": ((8, 7), (3, 2), (2, 2), (3, 4), (0, 0)),
    "global": ((4, 3), (1, 1), (4, 3), (1, 1), (0, 0)),
}


def random(*shape: int) -> NDArray[np.float32]:
    return RANDOM.standard_normal(shape).astype(np.float32)


class Problem:
    """Arrays of one case."""

    def __init__(self, case: str) -> None:
        hw, pq, window, stride, pad = CASES[case]
        self.x, self.dx = random(2, 3, *hw), random(2, 3, *hw)
        self.y, self.dy = random(2, 3, *pq), random(2, 3, *pq)
        self.argmax = np.full((2, 3, *pq), 99, np.int32)
        self.numbers: dict[str, Pair] = {"window": window, "stride": stride, "pad": pad}
        self.cells = window[0] * window[1]


@pytest.fixture(params=CASES)
def problem(request: pytest.FixtureRequest) -> Problem:
    return Problem(request.param)


def test_max_forward(problem: Problem, kernels: Kernels, call: Call) -> None:
    it = problem
    call(kernels.pool_max_forward, it.x, it.y, it.argmax, **it.numbers)
    y, argmax = reference.pool_max(it.x, it.y.shape, **it.numbers)
    np.testing.assert_array_equal(it.y, y)
    np.testing.assert_array_equal(it.argmax, argmax)


def test_max_backward(problem: Problem, kernels: Kernels, call: Call) -> None:
    it = problem
    _, argmax = reference.pool_max(it.x, it.y.shape, **it.numbers)
    call(kernels.pool_max_backward, it.dy, argmax, it.dx)
    expected = reference.pool_max_backward(it.dy, argmax, it.x.shape)
    assert_close(it.dx, expected, roundings=it.cells)


def test_ave_forward(problem: Problem, kernels: Kernels, call: Call) -> None:
    it = problem
    call(kernels.pool_ave_forward, it.x, it.y, **it.numbers)
    expected = reference.pool_ave(it.x, it.y.shape, **it.numbers)
    assert_close(it.y, expected, roundings=it.cells + 1)


def test_ave_backward(problem: Problem, kernels: Kernels, call: Call) -> None:
    it = problem
    call(kernels.pool_ave_backward, it.dy, it.dx, **it.numbers)
    expected = reference.pool_ave_backward(it.dy, it.x.shape, **it.numbers)
    assert_close(it.dx, expected, roundings=it.cells + 1)


def max_of(
    kernels: Kernels, call: Call, rows: list[list[float]], *, window: Pair, pad: Pair = (0, 0)
) -> tuple[list[list[float]], list[list[int]]]:
    """y and argmax of one plane, stride 1."""
    x = np.array(rows, np.float32)[None, None]
    shape = tuple(x.shape[2 + i] + 2 * pad[i] - window[i] + 1 for i in range(2))
    y, argmax = np.zeros((1, 1, *shape), np.float32), np.zeros((1, 1, *shape), np.int32)
    call(kernels.pool_max_forward, x, y, argmax, window=window, stride=(1, 1), pad=pad)
    return y[0, 0].tolist(), argmax[0, 0].tolist()


def test_the_first_of_equal_maxima_wins(kernels: Kernels, call: Call) -> None:
    y, argmax = max_of(kernels, call, [[1, 5, 2], [5, 5, 0]], window=(2, 2))
    assert (y, argmax) == ([[5, 5]], [[1, 1]])


def test_padding_is_no_zero(kernels: Kernels, call: Call) -> None:
    y, argmax = max_of(kernels, call, [[-3, -2]], window=(1, 2), pad=(0, 1))
    assert (y, argmax) == ([[-3, -2, -2]], [[0, 1, 1]])


def test_nan_never_wins(kernels: Kernels, call: Call) -> None:
    nan = float("nan")
    y, argmax = max_of(kernels, call, [[nan, 1, nan, nan, 2]], window=(1, 2))
    assert (y, argmax) == ([[1, 1, -LARGEST, 2]], [[1, 1, -1, 4]])


def test_a_window_with_nothing_above_the_smallest_float_has_no_place(
    kernels: Kernels, call: Call
) -> None:
    infinity = float("inf")
    y, argmax = max_of(kernels, call, [[-infinity, -LARGEST, infinity]], window=(1, 2))
    assert (y, argmax) == ([[-LARGEST, infinity]], [[-1, 2]])


def test_the_diff_of_a_window_without_a_place_goes_nowhere(kernels: Kernels, call: Call) -> None:
    dy, dx = np.array([[[[3, 4]]]], np.float32), np.full((1, 1, 1, 3), 7, np.float32)
    call(kernels.pool_max_backward, dy, np.array([[[[-1, 2]]]], np.int32), dx)
    assert dx.reshape(-1).tolist() == [0, 0, 4]
