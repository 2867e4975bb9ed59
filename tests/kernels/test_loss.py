"""Softmax, its loss, accuracy, and labels that are ignored or no class."""

import math

import numpy as np
import pytest
import reference
from reference import Array

from cvgg.kernels.interface import Kernels

RANDOM = np.random.default_rng(6)
OUTER, C, INNER = 2, 5, 3
SHAPE = (OUTER, C, INNER)

# A difference of at most 8 in float32 (an error of 2**-22 in the power), exp, the sum in double, a
# product: below 8 roundings.
SOFTMAX = 8 * 2.0**-23


def draw(*shape: int) -> Array:
    """Numbers in (-4, 4)."""
    return RANDOM.uniform(-4, 4, shape or SHAPE).astype(np.float32)


def stale(*shape: int) -> Array:
    return np.full(shape or SHAPE, 7, np.float32)


def one(value: float = 7) -> Array:
    return np.full(1, value, np.float32)


def labels() -> Array:
    """Every class; class 4 twice."""
    return np.array([[1, 0, 4], [3, 2, 4]], np.float32)


def test_softmax_sums_to_one_over_the_middle_axis(kernels: Kernels) -> None:
    x, y = draw(), stale()
    kernels.softmax_forward(x, y)
    np.testing.assert_allclose(y, reference.softmax(x), rtol=SOFTMAX)


def test_softmax_of_large_scores_is_finite(kernels: Kernels) -> None:
    x, y = np.array([-1e38, 1e38, 1e38], np.float32).reshape(1, 3, 1), stale(1, 3, 1)
    kernels.softmax_forward(x, y)
    assert y.ravel().tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("place", range(3))
def test_softmax_passes_nan_on(place: int, kernels: Kernels) -> None:
    x, y = np.ones((1, 3, 2), np.float32), stale(1, 3, 2)
    x[0, place, 1] = np.nan
    kernels.softmax_forward(x, y)
    assert np.isnan(y[0, :, 1]).all()
    assert np.isfinite(y[0, :, 0]).all()


def test_softmax_backward_is_the_gradient(kernels: Kernels) -> None:
    x, dy, dx = draw(), draw(), stale()
    kernels.softmax_backward(reference.softmax(x).astype(np.float32), dy, dx)
    # (dy - mean) y: numbers below 8, three roundings, and those of y and the mean.
    expected = reference.gradient(reference.softmax, x, dy)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=6 * 8 * 2.0**-24)


@pytest.mark.parametrize("ignore_label", [None, 0, 4, 255])
def test_softmax_loss_and_its_gradient(ignore_label: int | None, kernels: Kernels) -> None:
    x, label, prob, loss, dx = draw(), labels(), stale(), one(), stale()
    if ignore_label == 255:
        label[0, 1] = 255
    count, dloss = 2.5, 1.5
    said = {"ignore_label": ignore_label}
    kernels.softmax_loss_forward(x, label, prob, loss, one(count), **said)
    np.testing.assert_allclose(prob, reference.softmax(x), rtol=SOFTMAX)
    expected = reference.softmax_loss(x, label, ignore_label)[0] / count
    # The relative errors of 6 probabilities are absolute ones of their logarithms.
    np.testing.assert_allclose(loss[0], expected, rtol=2.0**-23, atol=6 * SOFTMAX)

    kernels.softmax_loss_backward(prob, label, one(dloss), one(count), dx, **said)
    gradient = reference.gradient(
        lambda x: reference.softmax_loss(x, label, ignore_label), x, np.array([dloss / count])
    )
    # Of prob, at most 1, and three more roundings.
    np.testing.assert_allclose(dx, gradient, rtol=0, atol=SOFTMAX + 3 * 2.0**-24)
    assert (dx.transpose(0, 2, 1)[label == ignore_label] == 0).all()


def test_the_loss_of_a_probability_of_zero_is_that_of_the_smallest_number(
    kernels: Kernels,
) -> None:
    x, loss = np.array([0, 1000], np.float32).reshape(1, 2, 1), one()
    label = np.zeros((1, 1), np.float32)
    kernels.softmax_loss_forward(x, label, stale(1, 2, 1), loss, one(1), ignore_label=None)
    assert loss[0] == np.float32(-math.log(np.finfo(np.float32).tiny))


def test_the_loss_of_a_nan_score_is_nan(kernels: Kernels) -> None:
    x, loss = np.array([0, np.nan], np.float32).reshape(1, 2, 1), one()
    label = np.zeros((1, 1), np.float32)
    kernels.softmax_loss_forward(x, label, stale(1, 2, 1), loss, one(1), ignore_label=None)
    assert np.isnan(loss[0])


@pytest.mark.parametrize("label", [-1, C, 1.5, np.nan, np.inf])
@pytest.mark.parametrize("ignore_label", [None, 3])
def test_a_label_that_is_no_class_makes_loss_and_accuracy_nan(
    label: float, ignore_label: int | None, kernels: Kernels
) -> None:
    x, wrong, loss, y, per_class = draw(), labels(), one(), one(), stale(C)
    wrong[1, 1] = label
    said = {"ignore_label": ignore_label}
    kernels.softmax_loss_forward(x, wrong, stale(), loss, one(6), **said)
    kernels.accuracy_forward(x, wrong, y, one(6), top_k=1, **said)
    kernels.accuracy_per_class_forward(x, wrong, per_class, top_k=1, **said)
    assert np.isnan([loss[0], y[0], *per_class]).all()


def test_a_label_of_minus_one_may_be_ignored(kernels: Kernels) -> None:
    x, label, loss, y = draw(), labels(), one(), one()
    label[1, 1] = -1
    kernels.softmax_loss_forward(x, label, stale(), loss, one(1), ignore_label=-1)
    expected = reference.softmax_loss(x, label, -1)[0]
    np.testing.assert_allclose(loss[0], expected, rtol=2.0**-23, atol=6 * SOFTMAX)
    kernels.accuracy_forward(x, label, y, one(1), top_k=1, ignore_label=-1)
    assert y[0] == reference.accuracy(x, label, 1, -1)[0].sum()


@pytest.mark.parametrize(("ignore_label", "expected"), [(4, 4), (1, 5), (7, 6)])
def test_count_labels_counts_what_is_not_ignored(
    ignore_label: int, expected: int, kernels: Kernels
) -> None:
    count = one()
    kernels.count_labels(labels(), count, ignore_label=ignore_label)
    assert count[0] == expected


@pytest.mark.parametrize("counted", range(4))
def test_count_labels_is_one_at_least(counted: int, kernels: Kernels) -> None:
    label, count = np.full((2, 3), 9, np.float32), one()
    label.flat[:counted] = 4
    kernels.count_labels(label, count, ignore_label=9)
    assert count[0] == max(counted, 1)


@pytest.mark.parametrize("ignore_label", [None, 4])
@pytest.mark.parametrize("top_k", [1, 2, 4, C])
def test_accuracy_is_the_share_of_labels_among_the_best(
    top_k: int, ignore_label: int | None, kernels: Kernels
) -> None:
    x = RANDOM.integers(0, 6, (40, C, INNER)).astype(np.float32)  # many ties
    label = RANDOM.integers(0, C - 1, (40, INNER)).astype(np.float32)
    label[:2] = labels()[:, ::-1]
    label[label == 2] = 3  # no position has class 2
    y, per_class, count = one(), stale(C), 90.0
    said = {"top_k": top_k, "ignore_label": ignore_label}
    right, total = reference.accuracy(x, label, **said)
    kernels.accuracy_forward(x, label, y, one(count), **said)
    np.testing.assert_allclose(y[0], right.sum() / count, rtol=2.0**-24)  # rounded once
    kernels.accuracy_per_class_forward(x, label, per_class, **said)
    np.testing.assert_allclose(per_class, right / np.maximum(total, 1), rtol=2.0**-24)
    assert total[2] == per_class[2] == 0


def test_a_score_that_equals_the_labels_counts_as_better(kernels: Kernels) -> None:
    x, label, y = np.ones((1, 3, 1), np.float32), np.ones((1, 1), np.float32), one()
    kernels.accuracy_forward(x, label, y, one(1), top_k=2, ignore_label=None)
    assert y[0] == 0
    kernels.accuracy_forward(x, label, y, one(1), top_k=3, ignore_label=None)
    assert y[0] == 1


@pytest.mark.parametrize("place", range(3))
def test_nan_among_the_scores_is_never_right(place: int, kernels: Kernels) -> None:
    x, y = np.array([1, 2, 0], np.float32).reshape(1, 3, 1), one()
    x[0, place] = np.nan
    kernels.accuracy_forward(x, np.ones((1, 1), np.float32), y, one(1), top_k=1, ignore_label=None)
    assert y[0] == 0


# ---- more classes than a warp has lanes, more positions than a block has threads

MANY = (150, 131, 2)


def many() -> tuple[Array, Array]:
    """Scores with ties, and labels: 0 to 130, each about twice, the last one not at all."""
    scores = RANDOM.integers(-40, 41, MANY).astype(np.float32) / 10
    return scores, RANDOM.integers(0, 130, (150, 2)).astype(np.float32)


def test_softmax_and_its_loss_of_many_classes(kernels: Kernels) -> None:
    (x, label), prob, loss, dx = many(), stale(*MANY), one(), stale(*MANY)
    kernels.softmax_loss_forward(x, label, prob, loss, one(4), ignore_label=7)
    exact = np.exp(x.astype(float))
    exact /= exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prob, exact, rtol=SOFTMAX)
    hit = np.arange(131)[:, None] == label[:, None]
    counted = np.broadcast_to(label[:, None] != 7, MANY)
    expected = -np.log(exact[hit & counted]).sum() / 4
    # The relative errors of 300 probabilities are absolute ones of their logarithms.
    np.testing.assert_allclose(loss[0], expected, rtol=2.0**-23, atol=300 * SOFTMAX / 4)
    kernels.softmax_loss_backward(prob, label, one(2), one(4), dx, ignore_label=7)
    np.testing.assert_allclose(dx, (exact - hit) * counted / 2, rtol=0, atol=SOFTMAX)

    dy, alone = draw(*MANY), stale(*MANY)
    kernels.softmax_forward(x, alone)
    np.testing.assert_array_equal(alone, prob)
    kernels.softmax_backward(prob, dy, dx)
    mean = (dy * exact).sum(axis=1, keepdims=True)
    # (dy - mean) y: numbers below 8 and 1, three roundings, and those of y and the mean.
    np.testing.assert_allclose(dx, (dy - mean) * exact, rtol=0, atol=6 * 8 * 2.0**-24 + 8 * SOFTMAX)


@pytest.mark.parametrize("top_k", [1, 60])
def test_accuracy_of_many_classes_and_positions(top_k: int, kernels: Kernels) -> None:
    (x, label), y, per_class = many(), one(), stale(131)
    right, total = reference.accuracy(x, label, top_k, 7)
    assert total.max() > 3
    assert total[130] == 0
    kernels.accuracy_forward(x, label, y, one(3), top_k=top_k, ignore_label=7)
    np.testing.assert_allclose(y[0], right.sum() / 3, rtol=2.0**-24)  # rounded once
    kernels.accuracy_per_class_forward(x, label, per_class, top_k=top_k, ignore_label=7)
    np.testing.assert_allclose(per_class, right / np.maximum(total, 1), rtol=2.0**-24)


def test_count_labels_counts_a_large_map(kernels: Kernels) -> None:
    """More partial sums than a block has threads."""
    label, count = np.zeros(264 * 1024 + 1, np.float32), one()
    label[::7] = 3
    kernels.count_labels(label, count, ignore_label=3)
    assert count[0] == (label == 0).sum()
