"""Convolution against the sum of its products, one by one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reference
from reference import Array

from cvgg.kernels.interface import Kernels, Pair

RANDOM = np.random.default_rng(1)


@dataclass(frozen=True)
class Case:
    """A convolution; `said` are its keyword arguments."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    group: int = 1

    @property
    def y(self) -> tuple[int, ...]:
        return reference.conv_shape(self.x, self.w, self.stride, self.pad, self.dilation)

    @property
    def said(self) -> dict[str, Any]:
        names = ("stride", "pad", "dilation", "group")
        return {name: getattr(self, name) for name in names}

    def scratch(self, kernels: Kernels) -> dict[str, Any]:
        """`said` and a workspace of the size asked for, full of what must not reach a result."""
        size = kernels.conv_workspace(self.x, self.w, **self.said)
        return {**self.said, "workspace": np.full(size, np.nan, np.float32)}


CASES = {
    # Both planes leave a remainder that no window reaches.
    "all different": Case((2, 6, 10, 9), (4, 3, 3, 2), (2, 3), (2, 1), (2, 3), 2),
    "more images than partial sums": Case((7, 2, 4, 5), (3, 2, 3, 3), pad=(1, 1)),
    "one image": Case((1, 3, 5, 4), (2, 3, 2, 3), pad=(0, 2)),
    "pointwise": Case((3, 4, 3, 5), (6, 2, 1, 1), group=2),
    "pointwise with a stride": Case((2, 3, 5, 7), (4, 3, 1, 1), stride=(1, 2)),
    "pointwise with a pad": Case((2, 3, 2, 4), (5, 3, 1, 1), pad=(1, 0)),
    "a group for each channel": Case((2, 3, 4, 6), (6, 1, 2, 3), pad=(1, 0), group=3),
    "enough channels for Winograd": Case((2, 9, 6, 7), (10, 9, 3, 3), pad=(1, 2)),
    "a first layer, rows longer than 16": Case((10, 3, 5, 19), (6, 3, 3, 3), pad=(1, 0)),
    "one channel a group, apart": Case((2, 3, 9, 11), (3, 1, 3, 2), (2, 3), (1, 1), (1, 2), 3),
    "one channel a group, long rows": Case((2, 4, 5, 19), (4, 1, 3, 3), pad=(1, 1), group=4),
    "a stride wider than the window": Case((2, 3, 9, 11), (4, 3, 2, 2), (3, 4)),
    "a matrix in pieces": Case((1, 11, 30, 20), (3, 11, 5, 5), pad=(2, 2)),
    "phases of which the narrower takes more rows": Case((1, 3, 5, 257), (2, 3, 1, 2), (1, 2)),
    "many outputs": Case((1, 2, 5, 7), (70, 2, 2, 3)),
    "padding wider than the image": Case((2, 1, 2, 3), (2, 1, 2, 3), (2, 1), (3, 4)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    result: Case = request.param
    return result


def draw(shape: tuple[int, ...]) -> Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def close(actual: Array, expected: Array, terms: int) -> None:
    """Within the rounding of a sum of `terms` products of at most 1 in float32.

    No sum is above `terms`, and each of `terms` additions rounds by at most 2**-24 of it.
    """
    np.testing.assert_allclose(actual, expected, rtol=0, atol=terms * terms * 2.0**-24)


def forward(case: Case, x: Array, w: Array, b: Array | None) -> Array:
    y = np.zeros(case.y)
    for to, here, weight in reference.conv_terms(case.x, case.w, **case.said):
        y[to] += float(x[here]) * float(w[weight])
    return y if b is None else y + b[:, None, None]


def terms(case: Case) -> int:
    """Products in an element of y, and the bias."""
    return int(np.prod(case.w[1:])) + 1


def test_conv_forward_is_the_sum_of_its_products(case: Case, kernels: Kernels) -> None:
    x, w, b, y = draw(case.x), draw(case.w), draw(case.w[:1]), np.full(case.y, 7, np.float32)
    kernels.conv_forward(x, w, b, y, **case.scratch(kernels))
    close(y, forward(case, x, w, b), terms(case))


def test_conv_forward_without_a_bias_adds_none(kernels: Kernels) -> None:
    case = CASES["all different"]
    x, w, y = draw(case.x), draw(case.w), np.full(case.y, 7, np.float32)
    kernels.conv_forward(x, w, None, y, **case.scratch(kernels))
    close(y, forward(case, x, w, None), terms(case))


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("biased", [True, False])
def test_conv_relu_forward_is_conv_and_then_relu(
    slope: float, *, biased: bool, kernels: Kernels
) -> None:
    case = CASES["all different"]
    x, w, y = draw(case.x), draw(case.w), np.full(case.y, 7, np.float32)
    b = draw(case.w[:1]) if biased else None
    kernels.conv_relu_forward(x, w, b, y, negative_slope=slope, **case.scratch(kernels))
    expected = reference.relu(forward(case, x, w, b), slope)
    assert (expected < 0).any() == (slope > 0)
    close(y, expected, terms(case))


def test_conv_relu_gives_the_bits_of_conv_followed_by_relu(kernels: Kernels) -> None:
    case = CASES["all different"]
    x, w, b = draw(case.x), draw(case.w), draw(case.w[:1])
    apart, joined = np.empty(case.y, np.float32), np.empty(case.y, np.float32)
    kernels.conv_forward(x, w, b, apart, **case.scratch(kernels))
    kernels.relu_forward(apart, apart, negative_slope=0.3)
    kernels.conv_relu_forward(x, w, b, joined, negative_slope=0.3, **case.scratch(kernels))
    np.testing.assert_array_equal(joined, apart)


def test_conv_backward_data_assigns_the_gradient(case: Case, kernels: Kernels) -> None:
    w, dy, dx = draw(case.w), draw(case.y), np.full(case.x, 7, np.float32)
    kernels.conv_backward_data(w, dy, dx, **case.scratch(kernels))
    expected = np.zeros(case.x)
    for to, here, weight in reference.conv_terms(case.x, case.w, **case.said):
        expected[here] += float(dy[to]) * float(w[weight])
    # An element of x meets each weight of its group at most once.
    close(dx, expected, int(np.prod(case.w)) // case.group)


def test_conv_backward_weights_adds_to_what_is_there(case: Case, kernels: Kernels) -> None:
    x, dy, dw, db = draw(case.x), draw(case.y), draw(case.w), draw(case.w[:1])
    dw_expected, db_expected = dw.astype(np.float64), db + dy.sum(axis=(0, 2, 3), dtype=np.float64)
    for to, here, weight in reference.conv_terms(case.x, case.w, **case.said):
        dw_expected[weight] += float(dy[to]) * float(x[here])
    kernels.conv_backward_weights(x, dy, dw, db, **case.scratch(kernels))
    # A weight has a product for each image and place of y, and what was there.
    sums = case.y[0] * case.y[2] * case.y[3] + 1
    close(dw, dw_expected, sums)
    close(db, db_expected, sums)


@pytest.mark.parametrize("wanted", ["dw", "db"])
def test_conv_backward_weights_makes_only_what_is_wanted(wanted: str, kernels: Kernels) -> None:
    case = CASES["all different"]
    x, dy, dw, db = draw(case.x), draw(case.y), draw(case.w), draw(case.w[:1])
    alone = {"dw": dw.copy(), "db": db.copy()}[wanted]
    kernels.conv_backward_weights(x, dy, dw, db, **case.scratch(kernels))
    only = {"dw": None, "db": None, wanted: alone}
    kernels.conv_backward_weights(x, dy, only["dw"], only["db"], **case.scratch(kernels))
    np.testing.assert_array_equal(alone, {"dw": dw, "db": db}[wanted])


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("in_place", [True, False])
def test_relu_bias_backward_masks_and_sums(
    slope: float, *, in_place: bool, kernels: Kernels
) -> None:
    y, dy, db = draw((5, 7, 11, 13)), draw((5, 7, 11, 13)), draw((7,))
    expected = np.where(y > 0, dy, np.float32(slope) * dy)
    db_expected = db + expected.sum(axis=(0, 2, 3), dtype=np.float64)
    dx = dy if in_place else np.full_like(dy, 7)
    kernels.relu_bias_backward(y, dy, dx, db, negative_slope=slope)
    np.testing.assert_array_equal(dx, expected)
    close(db, db_expected, 5 * 11 * 13 + 1)


def test_relu_bias_backward_without_a_bias_masks_alone(kernels: Kernels) -> None:
    y, dy, dx = draw((2, 3, 4, 5)), draw((2, 3, 4, 5)), np.full((2, 3, 4, 5), 7, np.float32)
    kernels.relu_bias_backward(y, dy, dx, None, negative_slope=0.0)
    np.testing.assert_array_equal(dx, np.where(y > 0, dy, np.float32(0)))
