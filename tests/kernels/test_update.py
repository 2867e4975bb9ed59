"""The solver's arithmetic: gradients clipped, the update, numbers that are none."""

from typing import Any

import numpy as np
import pytest
import reference
from reference import Array

from cvgg.kernels.interface import Kernels, Scalars, Segment

RANDOM = np.random.default_rng(9)
SIZE = 23
# Apart, with other factors, and an end that belongs to none.
SEGMENTS = [Segment(2, 9, 1.0, 1.0), Segment(9, 14, 2.0, 0.0), Segment(16, 21, 0.5, 3.0)]
RATE, SCALE = 0.3, 0.25


def draw(size: int = SIZE) -> Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, size).astype(np.float32)


def scalars() -> Array:
    result = np.zeros(Scalars.SLOTS, np.float32)
    result[Scalars.RATE], result[Scalars.SCALE] = RATE, SCALE
    return result


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.4), (0.5, 0.4)])
def test_the_update_is_caffes_formula(
    momentum: float, l1: float, l2: float, kernels: Kernels
) -> None:
    w, dw, history = draw(), draw(), draw()
    w[[3, 17]] = 0, -0.0  # the sign of zero is 0
    said: dict[str, Any] = {"segments": SEGMENTS, "momentum": momentum, "l1": l1, "l2": l2}
    expected = reference.sgd_update(w, dw, history, RATE, SCALE, **said)
    before, gradient = (w.copy(), history.copy()), dw.copy()
    kernels.sgd_update(w, dw, history, scalars(), **said)
    # About 10 products, sums and rounded settings, of numbers below 2.
    for actual, wanted in zip((w, history), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=10 * 2 * 2.0**-24)
    outside = np.ones(SIZE, bool)
    for each in SEGMENTS:
        outside[each.start : each.stop] = False
    for actual, was in zip((w, history), before, strict=True):
        np.testing.assert_array_equal(actual[outside], was[outside])
    np.testing.assert_array_equal(dw, gradient)


def test_an_empty_segment_changes_nothing(kernels: Kernels) -> None:
    w, dw, history = draw(), draw(), draw()
    before = w.copy()
    said: dict[str, Any] = {"momentum": 0.9, "l1": 0.5, "l2": 0.4}
    kernels.sgd_update(w, dw, history, scalars(), segments=[Segment(5, 5, 1, 1)], **said)
    np.testing.assert_array_equal(w, before)


@pytest.mark.parametrize(
    ("threshold", "factor"),
    [(2.5, 0.5), (5.0, 1.0), (7.0, 1.0)],  # the norm of (3, -4) is 5
)
def test_gradients_beyond_the_threshold_are_scaled_down(
    threshold: float, factor: float, kernels: Kernels
) -> None:
    dw, slots = np.array([3, 0, -4], np.float32), scalars()
    kernels.clip_gradients(dw, slots, threshold=threshold, scale=0.75)
    assert slots[Scalars.SCALE] == 0.75 * factor
    assert slots[Scalars.RATE] == np.float32(RATE)
    assert dw.tolist() == [3, 0, -4]


def test_gradients_of_zero_are_within_a_threshold_of_zero(kernels: Kernels) -> None:
    slots = scalars()
    kernels.clip_gradients(np.zeros(5, np.float32), slots, threshold=0.0, scale=0.75)
    assert slots[Scalars.SCALE] == 0.75


def test_the_norm_is_summed_in_double(kernels: Kernels) -> None:
    """In float32 the squares of 1 are lost beside 2**30, and those of 1e30 are infinite."""
    dw, slots = np.ones(70_001, np.float32), scalars()
    dw[0] = 2.0**15
    kernels.clip_gradients(dw, slots, threshold=100.0, scale=1.0)
    expected = 100 / (2.0**30 + 70_000) ** 0.5
    np.testing.assert_allclose(slots[Scalars.SCALE], expected, rtol=2.0**-24)  # rounded once
    kernels.clip_gradients(np.full(4, 1e30, np.float32), slots, threshold=1e30, scale=1.0)
    assert slots[Scalars.SCALE] == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threshold", [0.5, np.inf])
def test_a_gradient_that_is_not_finite_is_flagged(
    threshold: float, value: float, kernels: Kernels
) -> None:
    dw, slots = np.full(9_001, np.finfo(np.float32).max, np.float32), scalars()
    slots[Scalars.NONFINITE] = 5
    kernels.clip_gradients(dw, slots, threshold=threshold, scale=0.75)
    assert slots[Scalars.NONFINITE] == 0
    assert (slots[Scalars.SCALE] == 0.75) == (threshold == np.inf)
    dw[8_999] = value
    kernels.clip_gradients(dw, slots, threshold=threshold, scale=0.75)
    assert slots[Scalars.NONFINITE] == 1


def test_a_flagged_gradient_updates_nothing(kernels: Kernels) -> None:
    w, dw, history, slots = draw(), draw(), draw(), scalars()
    before, speed = w.copy(), history.copy()
    slots[Scalars.NONFINITE] = 1
    said: dict[str, Any] = {"segments": SEGMENTS, "momentum": 0.9, "l1": 0.5, "l2": 0.4}
    kernels.sgd_update(w, dw, history, slots, **said)
    np.testing.assert_array_equal(w, before)
    np.testing.assert_array_equal(history, speed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 16_384, 70_000])  # first and last, and where a chunk begins
def test_find_nonfinite_says_where_the_first_is(place: int, value: float, kernels: Kernels) -> None:
    x = np.full(70_001, np.finfo(np.float32).max, np.float32)
    assert kernels.find_nonfinite(x) == -1
    x[[place, -1]] = value
    assert kernels.find_nonfinite(x) == place


@pytest.mark.parametrize("warp", range(8))
def test_find_nonfinite_sees_the_first_and_last_number_of_each_32(
    warp: int, kernels: Kernels
) -> None:
    for place in (32 * warp, 32 * warp + 31):
        x = np.zeros(256, np.float32)
        x[place] = np.inf
        assert kernels.find_nonfinite(x) == place


def test_find_nonfinite_counts_flat_places(kernels: Kernels) -> None:
    x = np.zeros((3, 4, 5), np.float32)
    x[1, 2, 3] = np.nan
    assert kernels.find_nonfinite(x) == 33
    assert kernels.find_nonfinite(np.zeros(0, np.float32)) == -1
