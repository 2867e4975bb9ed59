"""ReLU, dropout, eltwise, concat, split, fill and copy."""

import numpy as np
import pytest
import reference
from reference import Array

from cvgg.kernels.interface import Kernels, State
from cvgg.kernels.philox import hash_name

RANDOM = np.random.default_rng(5)
SHAPE = (2, 3, 5, 4)


def draw(*shape: int) -> Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, shape or SHAPE).astype(np.float32)


def stale(*shape: int) -> Array:
    return np.full(shape or SHAPE, 7, np.float32)


# ---- relu


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_relu_keeps_what_is_above_zero(slope: float, kernels: Kernels) -> None:
    x, y = draw(), stale()
    x[0, 0, 0] = [0, -0.0, 1e-38, -1e-38]
    kernels.relu_forward(x, y, negative_slope=slope)
    np.testing.assert_array_equal(y, reference.relu(x, slope))  # 1/4 is exact
    kernels.relu_forward(x, x, negative_slope=slope)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_relu_backward_looks_at_the_sign(slope: float, kernels: Kernels) -> None:
    x, dy, dx = draw(), draw(), stale()
    x[0, 0, 0, :2] = [0, -0.0]
    kernels.relu_backward(x, dy, dx, negative_slope=slope)
    expected = [d if v > 0 else slope * d for v, d in zip(x.flat, dy.flat, strict=True)]
    np.testing.assert_array_equal(dx.ravel(), np.array(expected))
    kernels.relu_backward(reference.relu(x, slope).astype(np.float32), dy, dy, negative_slope=slope)
    np.testing.assert_array_equal(dy, dx)


# ---- dropout

RATIO = 0.3
LAYER = hash_name("drop6")


def state(seed: int, draw: int, first_image: int) -> Array:
    result = np.zeros(State.SLOTS, np.int64)
    result[[State.SEED, State.DRAW, State.FIRST_IMAGE]] = seed, draw, first_image
    return result


@pytest.mark.parametrize(
    ("seed", "number", "first_image"),
    [
        (1, 0, 0),
        (0x299F31D0A4093822, 3, 3),  # images of 15 elements: begins in lane 1 of its counter
        (-2, 2**32 + 5, 1),  # a key's 64 bits, the low 32 of DRAW
        (7, 11, 2**31 + 2),  # elements beyond 2**34: e // 4 in 33 bits would wrap
    ],
)
def test_dropout_keeps_what_philox_says(
    seed: int, number: int, first_image: int, kernels: Kernels
) -> None:
    x, y, dx = draw(4, 3, 5) + 2, stale(4, 3, 5), stale(4, 3, 5)
    said = state(seed, number, first_image)
    first = first_image % 2**30  # the counter's first word has 32 bits: 2**30 images of 15 wrap
    kept = reference.dropout_kept(x.shape, first_image if first_image < 2**31 else first, number, seed, LAYER, RATIO)  # fmt: skip  # noqa: E501
    kernels.dropout_forward(x, y, said, layer=LAYER, ratio=RATIO)
    np.testing.assert_array_equal(y, np.where(kept, x * np.float32(1 / (1 - RATIO)), 0))
    kernels.dropout_backward(x, dx, said, layer=LAYER, ratio=RATIO)
    np.testing.assert_array_equal(dx, y)
