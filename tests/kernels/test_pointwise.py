"""ReLU, dropout, eltwise, concat, split, fill and copy."""

import numpy as np
import pytest
import reference
from reference import Array

from cvgg.kernels.interface import Kernels, State
from cvgg.kernels.philox import Purpose, hash_name, philox

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
        (-2, 2**32 + 5, 1),  # a key of 64 bits, the low 32 of DRAW
        (7, 11, 2**28 + 2),  # elements beyond 2**31
    ],
)
def test_dropout_keeps_what_philox_says(
    seed: int, number: int, first_image: int, kernels: Kernels
) -> None:
    x, y, dx = draw(4, 3, 5) + 2, stale(4, 3, 5), stale(4, 3, 5)
    said = state(seed, number, first_image)
    kept = reference.dropout_kept(x.shape, first_image, number, seed, LAYER, RATIO)
    kernels.dropout_forward(x, y, said, layer=LAYER, ratio=RATIO)
    np.testing.assert_array_equal(y, np.where(kept, x * np.float32(1 / (1 - RATIO)), 0))
    kernels.dropout_backward(x, dx, said, layer=LAYER, ratio=RATIO)
    np.testing.assert_array_equal(dx, y)
    kernels.dropout_forward(x, x, said, layer=LAYER, ratio=RATIO)
    np.testing.assert_array_equal(x, y)


def test_dropout_of_a_part_of_the_batch_is_a_part_of_the_dropout(kernels: Kernels) -> None:
    x = np.ones((7, 3, 5), np.float32)
    whole, parts = np.empty_like(x), np.empty_like(x)
    kernels.dropout_forward(x, whole, state(9, 4, 10), layer=LAYER, ratio=RATIO)
    for begin, end in [(0, 1), (1, 5), (5, 7)]:
        part = np.empty((end - begin, 3, 5), np.float32)
        said = state(9, 4, 10 + begin)
        kernels.dropout_forward(x[begin:end], part, said, layer=LAYER, ratio=RATIO)
        parts[begin:end] = part
    np.testing.assert_array_equal(parts, whole)


def test_dropout_keeps_the_share_and_the_mean(kernels: Kernels) -> None:
    x, y = np.ones((10, 9_999), np.float32), stale(10, 9_999)
    kernels.dropout_forward(x, y, state(3, 1, 0), layer=LAYER, ratio=RATIO)
    # Five deviations of a share of 0.7 in 99 990 draws.
    assert abs((y > 0).mean() - 0.7) < 5 * (0.3 * 0.7 / 99_990) ** 0.5


def test_an_element_whose_word_is_the_threshold_is_kept(kernels: Kernels) -> None:
    words = philox((0, 5, LAYER, Purpose.DROPOUT), 3)[0]
    for lane, word in enumerate(words):
        y = stale(1, 4)
        # The threshold is the ratio times 2**32: of a double, exact.
        kernels.dropout_forward(
            np.ones((1, 4), np.float32), y, state(3, 5, 0), layer=LAYER, ratio=int(word) / 2**32
        )
        assert ((y > 0) == (words >= word)).all()
        assert y[0, lane] > 0


def test_a_ratio_of_zero_drops_nothing(kernels: Kernels) -> None:
    x, y = draw(), stale()
    kernels.dropout_forward(x, y, state(3, 1, 0), layer=LAYER, ratio=0.0)
    np.testing.assert_array_equal(y, x)


# ---- concat and split


def test_concat_forward_writes_its_channels_only(kernels: Kernels) -> None:
    part, whole = draw(3, 4, 2), stale(3, 9, 2)
    kernels.concat_forward(part, whole, at=2)
    np.testing.assert_array_equal(whole[:, 2:6], part)
    assert (whole[:, :2] == 7).all()
    assert (whole[:, 6:] == 7).all()


def test_concat_backward_reads_its_channels(kernels: Kernels) -> None:
    part, whole = stale(3, 4, 2), draw(3, 9, 2)
    kernels.concat_backward(whole, part, at=5)
    np.testing.assert_array_equal(part, whole[:, 5:])


def test_split_backward_is_the_sum_of_the_tops(kernels: Kernels) -> None:
    dys, dx = [draw(), draw(), draw()], stale()
    kernels.split_backward(dys, dx)
    # Two float32 additions of numbers below 3.
    np.testing.assert_allclose(dx, np.sum(dys, axis=0, dtype=np.float64), rtol=0, atol=6 * 2.0**-24)


# ---- eltwise


@pytest.mark.parametrize("coeff", [(1.0, 1.0, 1.0), (0.5, -2.0, 3.0)])
def test_eltwise_sum_weighs_each_input(coeff: tuple[float, ...], kernels: Kernels) -> None:
    xs, y, dx = [draw(), draw(), draw()], stale(), stale()
    kernels.eltwise_sum_forward(xs, y, coeff=coeff)
    expected = sum(factor * x.astype(np.float64) for factor, x in zip(coeff, xs, strict=True))
    # Three products and two sums, none above 5.5.
    np.testing.assert_allclose(y, expected, rtol=0, atol=5 * 5.5 * 2.0**-24)
    kernels.eltwise_sum_backward(xs[0], dx, coeff=coeff[1])
    np.testing.assert_array_equal(dx, coeff[1] * xs[0])  # -2 is exact


def test_eltwise_prod_is_the_product_also_beside_zeros(kernels: Kernels) -> None:
    xs, dy, y = [draw(), draw(), draw()], draw(), stale()
    xs[0][0, 0, 0], xs[1][0, 0, 0, :2] = 0, 0
    kernels.eltwise_prod_forward(xs, y)
    rounding = 3 * 2.0**-24  # of at most three products, relative
    np.testing.assert_allclose(y, np.prod(xs, axis=0, dtype=np.float64), rtol=rounding)
    for index in range(3):
        dx, others = stale(), [x for i, x in enumerate(xs) if i != index]
        kernels.eltwise_prod_backward(xs, dy, dx, index=index)
        expected = dy * np.prod(others, axis=0, dtype=np.float64)
        np.testing.assert_allclose(dx, expected, rtol=rounding)


def test_eltwise_max_and_its_ties(kernels: Kernels) -> None:
    xs = [RANDOM.integers(0, 3, SHAPE).astype(np.float32) for _ in range(4)]  # many ties
    y, argmax = stale(), np.full(SHAPE, 7, np.int32)
    kernels.eltwise_max_forward(xs, y, argmax)
    expected, places = reference.eltwise_max(xs)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, places)
    assert set(argmax.flat) == {0, 1, 2, 3}
    dy = draw()
    for index in range(4):
        dx = stale()
        kernels.eltwise_max_backward(dy, argmax, dx, index=index)
        np.testing.assert_array_equal(dx, np.where(places == index, dy, 0))


# ---- arrays


def test_fill_and_copy_reach_every_element(kernels: Kernels) -> None:
    x, y = draw(), stale()
    kernels.copy(x, y)
    np.testing.assert_array_equal(y, x)
    kernels.fill(x, value=0.1)
    assert (x == np.float32(0.1)).all()


def test_every_thread_takes_several_elements_of_a_large_array(kernels: Kernels) -> None:
    """Four at a time as long as there are four: here once, and up to two are left."""
    x = np.arange(4 * 32768 + 32768 + 32769, dtype=np.float32)
    y, total, argmax = np.full_like(x, 7), np.full_like(x, 7), np.full(x.shape, 7, np.int32)
    kernels.copy(x, y)
    np.testing.assert_array_equal(y, x)
    kernels.eltwise_sum_forward([x, y], total, coeff=(0.5, 0.25))
    np.testing.assert_array_equal(total, 0.75 * x)  # exact: x has 18 bits
    kernels.eltwise_max_forward([x, total], y, argmax)
    np.testing.assert_array_equal(y, x)
    part, whole = x[:-1].reshape(3, 8, 8192)[:, :5].copy(), np.full((3, 8, 8192), 7, np.float32)
    kernels.concat_forward(part, whole, at=2)
    np.testing.assert_array_equal(whole[:, 2:7], part)
    kernels.concat_backward(whole, part, at=3)
    np.testing.assert_array_equal(part, whole[:, 3:])
