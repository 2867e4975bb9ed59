"""Local response normalisation: constants so large that every term shows."""

import numpy as np
import pytest
import reference

from cvgg.kernels.interface import Kernels

RANDOM = np.random.default_rng(3)
SHAPE = (2, 7, 5, 3)
BETAS = [0.75, 0.6]  # the first has a way of its own: two roots

# Squares summed, a power, a quotient: fewer than 40 steps in float32, each rounds by 2**-24 of its
# result, and nothing cancels.
FORWARD = 40 * 2.0**-24
# Two terms cancel here. Each is below 8 for numbers in (-2, 2) and comes of about 60 such steps.
BACKWARD = 60 * 8 * 2.0**-24


def draw(*shape: int) -> reference.Array:
    """Numbers in (-2, 2)."""
    return RANDOM.uniform(-2, 2, shape or SHAPE).astype(np.float32)


def stale(*shape: int) -> reference.Array:
    return np.full(shape or SHAPE, 7, np.float32)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(
    ("size", "k", "alpha"), [(3, 1.0, 1.0), (5, 2.0, 0.5), (1, 1.0, 1.0), (15, 1.5, 2.0)]
)
def test_lrn_across_divides_by_the_squares_of_its_neighbours(
    size: int, k: float, alpha: float, beta: float, kernels: Kernels
) -> None:
    x, y, scale = draw(), stale(), stale()
    kernels.lrn_across_forward(x, y, scale, size=size, alpha=alpha, beta=beta, k=k)
    expected, scales = reference.lrn_across(x.astype(np.float64), size, alpha, beta, k)
    np.testing.assert_allclose(scale, scales, rtol=FORWARD)
    np.testing.assert_allclose(y, expected, rtol=FORWARD)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("size", "k", "alpha"), [(3, 1.0, 1.0), (5, 2.0, 0.5), (15, 1.5, 2.0)])
def test_lrn_across_backward_is_the_gradient(
    size: int, k: float, alpha: float, beta: float, kernels: Kernels
) -> None:
    x, dy, dx = draw(), draw(), stale()
    kept = reference.lrn_across(x.astype(np.float64), size, alpha, beta, k)
    y, scale = (each.astype(np.float32) for each in kept)
    kernels.lrn_across_backward(x, y, scale, dy, dx, size=size, alpha=alpha, beta=beta)
    expected = reference.gradient(lambda x: reference.lrn_across(x, size, alpha, beta, k)[0], x, dy)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=BACKWARD)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("size", "alpha"), [(1, 1.0), (3, 1.0), (5, 2.0)])
def test_lrn_within_divides_by_the_mean_square_around(
    size: int, alpha: float, beta: float, kernels: Kernels
) -> None:
    x, y, scale = draw(), stale(), stale()
    kernels.lrn_within_forward(x, y, scale, size=size, alpha=alpha, beta=beta)
    expected, scales = reference.lrn_within(x.astype(np.float64), size, alpha, beta)
    np.testing.assert_allclose(scale, scales, rtol=FORWARD)
    np.testing.assert_allclose(y, expected, rtol=FORWARD)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("size", "alpha"), [(3, 1.0), (5, 2.0)])
def test_lrn_within_backward_is_the_gradient(
    size: int, alpha: float, beta: float, kernels: Kernels
) -> None:
    x, dy, dx = draw(1, 2, 5, 3), draw(1, 2, 5, 3), stale(1, 2, 5, 3)
    kept = reference.lrn_within(x.astype(np.float64), size, alpha, beta)
    y, scale = (each.astype(np.float32) for each in kept)
    kernels.lrn_within_backward(x, y, scale, dy, dx, size=size, alpha=alpha, beta=beta)
    expected = reference.gradient(lambda x: reference.lrn_within(x, size, alpha, beta)[0], x, dy)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=BACKWARD)
