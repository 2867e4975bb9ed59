"""Pooling: Caffe's windows, divisors and ties."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reference

from cvgg.kernels.interface import Kernels, Pair

RANDOM = np.random.default_rng(2)
LOWEST = -np.finfo(np.float32).max


@dataclass(frozen=True)
class Case:
    """Pooling of a plane to `out` rows and columns."""

    plane: Pair
    out: Pair
    window: Pair
    stride: Pair
    pad: Pair = (0, 0)

    @property
    def said(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("window", "stride", "pad")}


CASES = {
    # Last windows hang over the edge by 2 rows and 1 column.
    "ceil": Case((8, 6), (3, 3), (4, 3), (3, 2)),
    # Windows begin in the padding, end in it, and would go beyond it.
    "pad": Case((5, 8), (3, 5), (4, 3), (3, 2), (2, 1)),
    "gaps": Case((9, 7), (3, 2), (2, 1), (4, 5)),
    "whole plane": Case((3, 4), (1, 1), (3, 4), (1, 1)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    result: Case = request.param
    return result


def draw(*shape: int) -> reference.Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def tops(*shape: int) -> tuple[reference.Array, reference.Array]:
    """y and argmax, full of what must be replaced."""
    return np.full(shape, 7, np.float32), np.full(shape, 7, np.int32)


def test_max_pool_keeps_the_largest_and_its_place(case: Case, kernels: Kernels) -> None:
    x = draw(2, 3, *case.plane) - 2  # below 0: padding taken for 0 would win
    y, argmax = tops(2, 3, *case.out)
    kernels.pool_max_forward(x, y, argmax, **case.said)
    expected, places = reference.pool_max(x, case.out, **case.said)
    np.testing.assert_array_equal(y, expected)  # nothing is computed: exact
    np.testing.assert_array_equal(argmax, places)


def pool_row(row: list[float], kernels: Kernels) -> tuple[list[float], list[int]]:
    """Max pooling of one row by windows of 2 and stride 2."""
    x, (y, argmax) = np.array(row, np.float32).reshape(1, 1, 1, -1), tops(1, 1, 1, len(row) // 2)
    kernels.pool_max_forward(x, y, argmax, window=(1, 2), stride=(1, 2), pad=(0, 0))
    return y.ravel().tolist(), argmax.ravel().tolist()


def test_the_first_of_equals_wins(kernels: Kernels) -> None:
    assert pool_row([3, 3, -0.0, 0.0], kernels) == ([3, 0], [0, 2])


def test_nan_and_minus_infinity_never_win(kernels: Kernels) -> None:
    values, places = pool_row([np.nan, -5, np.nan, np.nan, -np.inf, -np.inf], kernels)
    assert values == [-5, LOWEST, LOWEST]
    assert places == [1, -1, -1]


def test_a_max_window_that_lies_in_the_padding_is_empty(kernels: Kernels) -> None:
    x, (y, argmax) = draw(1, 1, 2, 2), tops(1, 1, 2, 2)
    kernels.pool_max_forward(x, y, argmax, window=(1, 1), stride=(2, 2), pad=(1, 1))
    assert argmax.ravel().tolist() == [-1, -1, -1, 3]
    assert y.ravel().tolist() == [LOWEST, LOWEST, LOWEST, x[0, 0, 1, 1]]


def test_max_pool_backward_adds_up_at_the_winners(case: Case, kernels: Kernels) -> None:
    x, dy = draw(2, 3, *case.plane), draw(2, 3, *case.out)
    _, argmax = reference.pool_max(x, case.out, **case.said)
    dx, expected = np.full(x.shape, 7, np.float32), np.zeros((2, 3, case.plane[0] * case.plane[1]))
    for at in reference.places(dy.shape):
        expected[(*at[:2], argmax[at])] += dy[at]
    kernels.pool_max_backward(dy, argmax.astype(np.int32), dx, **case.said)
    # No more than 4 windows (2 by 2) share a cell: 4 float32 additions of sums below 4.
    np.testing.assert_allclose(dx, expected.reshape(x.shape), rtol=0, atol=4 * 4 * 2.0**-24)


def test_max_pool_backward_gives_nothing_to_an_empty_window(kernels: Kernels) -> None:
    argmax = np.array([-1, 2, -1, 2], np.int32).reshape(1, 1, 1, 4)
    dy = np.array([5, 1, 7, 2], np.float32).reshape(1, 1, 1, 4)
    dx = np.full((1, 1, 1, 3), 9, np.float32)
    # Windows of 4 that begin at -1, 0, 1 and 2: the second and the last see cell 2.
    kernels.pool_max_backward(dy, argmax, dx, window=(1, 4), stride=(1, 1), pad=(0, 1))
    assert dx.ravel().tolist() == [0, 0, 3]


def test_average_pool_divides_by_the_window_cut_at_the_padding(
    case: Case, kernels: Kernels
) -> None:
    x, y = draw(2, 3, *case.plane), np.full((2, 3, *case.out), 7, np.float32)
    kernels.pool_ave_forward(x, y, **case.said)
    expected = reference.pool_ave(x, case.out, **case.said)
    # Up to 12 cells of at most 1 added in float32, then divided.
    np.testing.assert_allclose(y, expected, rtol=2.0**-23, atol=12 * 12 * 2.0**-24)


def test_average_pool_of_ones_shows_the_divisors(kernels: Kernels) -> None:
    """2 of 3 cells, all 3, and 1 of the 2 that are left where the window is cut at h + pad = 5."""
    x, (y, _) = np.ones((1, 1, 4, 1), np.float32), tops(1, 1, 3, 1)
    kernels.pool_ave_forward(x, y, window=(3, 1), stride=(2, 1), pad=(1, 0))
    np.testing.assert_allclose(y.ravel(), [2 / 3, 1, 0.5], rtol=2.0**-23)  # one division


def test_average_pool_backward_is_the_gradient(case: Case, kernels: Kernels) -> None:
    dy, dx = draw(2, 3, *case.out), np.full((2, 3, *case.plane), 7, np.float32)
    kernels.pool_ave_backward(dy, dx, **case.said)
    x = np.zeros(dx.shape)
    expected = reference.gradient(lambda x: reference.pool_ave(x, case.out, **case.said), x, dy)
    # No more than 4 windows share a cell, as above; the gradient's own error is 1e-9.
    np.testing.assert_allclose(dx, expected, rtol=0, atol=4 * 4 * 2.0**-24)


@pytest.mark.parametrize("shape", [(3, 43, 50, 9), (1, 5, 60, 70)], ids=["many", "few"])
def test_pooling_of_long_lines(shape: tuple[int, int, int, int], kernels: Kernels) -> None:
    """A line, whichever way the axes lie, is longer than a block has threads. Many lines have a
    block each, which goes along them; few have several."""
    said: dict[str, Any] = {"window": (2, 2), "stride": (1, 1), "pad": (0, 0)}
    n, c, p, q = *shape[:2], shape[2] - 1, shape[3] - 1
    x, dy, (y, argmax) = draw(*shape), draw(n, c, p, q), tops(n, c, p, q)
    corners = [(i, j) for i in (0, 1) for j in (0, 1)]
    views = np.stack([x[:, :, i : i + p, j : j + q] for i, j in corners])
    cells = np.stack([(np.arange(p)[:, None] + i) * (q + 1) + np.arange(q) + j for i, j in corners])
    places = np.take_along_axis(cells[:, None, None], views.argmax(axis=0)[None], axis=0)[0]
    kernels.pool_max_forward(x, y, argmax, **said)
    np.testing.assert_array_equal(y, views.max(axis=0))
    np.testing.assert_array_equal(argmax, places)

    dx, most, shares = np.full_like(x, 7), np.zeros(x.shape), np.zeros(x.shape)
    for (i, j), cell in zip(corners, cells, strict=True):
        most[:, :, i : i + p, j : j + q] += dy * (places == cell)
        shares[:, :, i : i + p, j : j + q] += dy / 4
    kernels.pool_max_backward(dy, argmax, dx, **said)
    np.testing.assert_allclose(dx, most, rtol=0, atol=4 * 4 * 2.0**-24)  # 4 additions below 4
    kernels.pool_ave_forward(x, y, **said)
    np.testing.assert_allclose(y, views.mean(axis=0, dtype=float), rtol=0, atol=4 * 2.0**-24)
    kernels.pool_ave_backward(dy, dx, **said)
    np.testing.assert_allclose(dx, shares, rtol=0, atol=4 * 4 * 2.0**-24)
