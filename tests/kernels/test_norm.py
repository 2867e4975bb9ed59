"""Batch normalisation and scale, by channel of (n, c, inner)."""

import numpy as np
import pytest
import reference
from reference import Array

from cvgg.kernels.interface import Kernels

RANDOM = np.random.default_rng(7)
SHAPE = (4, 3, 5)
EPS = 0.25  # near the variances: a wrong place would show


def draw(*shape: int) -> Array:
    """Numbers in (-2, 2)."""
    return RANDOM.uniform(-2, 2, shape or SHAPE).astype(np.float32)


def stale(*shape: int) -> Array:
    return np.full(shape or SHAPE, 7, np.float32)


def train(kernels: Kernels, x: Array, fraction: float, eps: float = EPS) -> dict[str, Array]:
    """Everything that the forward pass in training writes, and what the running sums were."""
    c = x.shape[1]
    arrays = {"y": stale(*x.shape), "batch_mean": stale(c), "batch_std": stale(c)}
    running = {
        "mean": draw(c),
        "variance": draw(c) + 3,
        "scale_factor": np.full(1, 2.5, np.float32),
    }
    before = {f"{name}_before": array.copy() for name, array in running.items()}
    kernels.batch_norm_train_forward(
        x, *arrays.values(), *running.values(), fraction=fraction, eps=eps
    )
    return {**arrays, **running, **before}


def test_training_normalises_by_the_batch(kernels: Kernels) -> None:
    x = draw() + np.array([0, 5, -3], np.float32)[:, None]
    mean, variance = reference.batch_moments(x)
    got = train(kernels, x, 0.9)
    # Double inside: one rounding at the end; x - mean cancels, so against 8, the size of x.
    rounding = {"rtol": 2.0**-23, "atol": 8 * 2.0**-50}
    np.testing.assert_allclose(got["y"], reference.batch_norm(x, mean, variance, EPS), **rounding)
    np.testing.assert_allclose(got["batch_mean"], mean, **rounding)
    np.testing.assert_allclose(got["batch_std"], np.sqrt(variance + EPS), **rounding)


def test_the_running_sums_decay_and_gain_the_batch(kernels: Kernels) -> None:
    x, fraction = draw(), 0.75
    mean, variance = reference.batch_moments(x)
    got = train(kernels, x, fraction)
    m = SHAPE[0] * SHAPE[2]
    # A product and a sum, of numbers below 8.
    rounding = {"rtol": 0, "atol": 3 * 8 * 2.0**-24}
    np.testing.assert_allclose(got["mean"], fraction * got["mean_before"] + mean, **rounding)
    expected = fraction * got["variance_before"] + m / (m - 1) * variance
    np.testing.assert_allclose(got["variance"], expected, **rounding)
    assert got["scale_factor"][0] == fraction * 2.5 + 1


def test_of_two_values_the_running_variance_gains_twice_the_batchs(kernels: Kernels) -> None:
    x = draw(2, 3, 1)
    got = train(kernels, x, 0.5)
    expected = 0.5 * got["variance_before"] + 2 * reference.batch_moments(x)[1]
    # A product and a sum, of numbers below 16.
    np.testing.assert_allclose(got["variance"], expected, rtol=0, atol=3 * 16 * 2.0**-24)


# Channels of several blocks; positions of several chunks; more channels than have room at once.
LARGE = [(3, 37, 211), (2, 16_391, 1)]


@pytest.mark.parametrize("shape", LARGE)
def test_many_channels_and_positions_are_normalised(
    shape: tuple[int, int, int], kernels: Kernels
) -> None:
    x, dy, dx = draw(*shape), draw(*shape), stale(*shape)
    got = train(kernels, x, 0.75)
    mean, variance = x.mean(axis=(0, 2), dtype=float), x.var(axis=(0, 2), dtype=float)
    m, std = shape[0] * shape[2], np.sqrt(variance + EPS)
    expected = (x - mean[:, None]) / std[:, None]
    np.testing.assert_allclose(got["y"], expected, rtol=2.0**-23, atol=2.0**-46)  # rounded once
    # A product and a sum, of numbers below 16.
    rounding = {"rtol": 0, "atol": 3 * 16 * 2.0**-24}
    np.testing.assert_allclose(got["mean"], 0.75 * got["mean_before"] + mean, **rounding)
    running = 0.75 * got["variance_before"] + m / (m - 1) * variance
    np.testing.assert_allclose(got["variance"], running, **rounding)
    assert got["scale_factor"][0] == 0.75 * 2.5 + 1
    kernels.batch_norm_train_backward(got["y"], got["batch_std"], dy, dx)
    through = [each.mean(axis=(0, 2), keepdims=True) for each in (dy.astype(float), dy * expected)]
    gradient = (dy - through[0] - expected * through[1]) / std[:, None]
    # y and std are rounded once; terms below 2 std**-1 (1 + y**2) < 32.
    np.testing.assert_allclose(dx, gradient, rtol=0, atol=4 * 32 * 2.0**-24)


@pytest.mark.parametrize("shape", LARGE)
def test_many_channels_and_positions_are_scaled(
    shape: tuple[int, int, int], kernels: Kernels
) -> None:
    x, dy, dg, db = draw(*shape), draw(*shape), draw(shape[1]), draw(shape[1])
    expected = dg + (dy.astype(float) * x).sum(axis=(0, 2)), db + dy.sum(axis=(0, 2), dtype=float)
    kernels.scale_backward_weights(x, dy, dg, db)
    # Sums below 633 * 4, in double, rounded to float32, and added.
    for actual, wanted in zip((dg, db), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2 * 2532 * 2.0**-24)


@pytest.mark.parametrize("shape", LARGE)
def test_many_channels_are_normalised_by_the_running_means(
    shape: tuple[int, int, int], kernels: Kernels
) -> None:
    c = shape[1]
    x, y, batch_mean, batch_std, dx = draw(*shape), stale(*shape), stale(c), stale(c), stale(*shape)
    mean, variance, factor = draw(c), draw(c) + 3, np.full(1, 4, np.float32)
    kernels.batch_norm_test_forward(x, y, batch_mean, batch_std, mean, variance, factor, eps=EPS)
    std = np.sqrt(variance.astype(float) / 4 + EPS)[:, None]
    np.testing.assert_allclose(y, (x - mean[:, None] / 4) / std, rtol=2.0**-23, atol=2.0**-46)
    np.testing.assert_array_equal(batch_mean, mean / 4)
    kernels.batch_norm_test_backward(batch_std, x, dx)
    np.testing.assert_allclose(dx, x / std, rtol=2.0**-22)  # the deviation and the quotient


def test_a_single_value_has_a_variance_of_zero(kernels: Kernels) -> None:
    got = train(kernels, draw(1, 3, 1), 0.5)
    np.testing.assert_array_equal(got["variance"], 0.5 * got["variance_before"])
    np.testing.assert_array_equal(got["batch_std"], EPS**0.5)
    np.testing.assert_allclose(got["y"], 0, atol=2.0**-50)  # x - x in double


def test_a_channel_without_variance_and_eps_is_nan_and_no_warning(kernels: Kernels) -> None:
    x, dx = draw(), stale()
    x[:, 1] = 0.5
    got = train(kernels, x, 0.9, eps=0.0)
    assert np.isnan(got["y"][:, 1]).all()
    assert np.isfinite(got["y"][:, [0, 2]]).all()
    kernels.batch_norm_test_backward(got["batch_std"], np.ones_like(x), dx)
    assert np.isinf(dx[:, 1]).all()


@pytest.mark.parametrize("factor", [4.0, 0.0])
def test_testing_normalises_by_the_running_means(factor: float, kernels: Kernels) -> None:
    x, y, batch_mean, batch_std = draw(), stale(), stale(3), stale(3)
    mean, variance, scale_factor = draw(3), draw(3) + 3, np.full(1, factor, np.float32)
    said = mean.copy(), variance.copy(), scale_factor.copy()
    kernels.batch_norm_test_forward(
        x, y, batch_mean, batch_std, mean, variance, scale_factor, eps=EPS
    )
    share = 1 / factor if factor else 0
    expected = reference.batch_norm(x, share * mean, share * variance.astype(float), EPS)
    np.testing.assert_allclose(y, expected, rtol=2.0**-23, atol=2.0**-50)  # rounded once
    np.testing.assert_allclose(batch_std, np.sqrt(share * variance + EPS), rtol=2.0**-22)
    for array, before in zip((mean, variance, scale_factor), said, strict=True):
        np.testing.assert_array_equal(array, before)


def test_the_gradient_in_training_goes_through_mean_and_variance(kernels: Kernels) -> None:
    x, dy, dx = draw(), draw(), stale()

    def forward(x: Array) -> Array:
        return reference.batch_norm(x, *reference.batch_moments(x), EPS)

    got = train(kernels, x, 0.9)
    kernels.batch_norm_train_backward(got["y"], got["batch_std"], dy, dx)
    # y and std are rounded once; terms below 2 std**-1 (1 + y**2) < 32.
    np.testing.assert_allclose(
        dx, reference.gradient(forward, x, dy), rtol=0, atol=4 * 32 * 2.0**-24
    )


def test_the_gradient_in_testing_takes_them_for_constants(kernels: Kernels) -> None:
    std, dy, dx = draw(3) + 3, draw(), stale()
    kernels.batch_norm_test_backward(std, dy, dx)
    np.testing.assert_allclose(dx, dy / std[:, None].astype(float), rtol=2.0**-23)  # rounded once


def test_scale_is_a_factor_and_a_shift_for_each_channel(kernels: Kernels) -> None:
    x, g, b, y = draw(), draw(3), draw(3), stale()
    product = x * g[:, None].astype(float)
    kernels.scale_forward(x, g, b, y)
    np.testing.assert_allclose(y, product + b[:, None], rtol=2.0**-23, atol=2.0**-50)
    kernels.scale_forward(x, g, None, y)
    np.testing.assert_allclose(y, product, rtol=2.0**-23)  # double inside: rounded once


def test_scale_backward_data_multiplies_by_the_factor(kernels: Kernels) -> None:
    g, dy, dx = draw(3), draw(), stale()
    kernels.scale_backward_data(g, dy, dx)
    np.testing.assert_allclose(dx, dy * g[:, None].astype(float), rtol=2.0**-23)  # rounded once


@pytest.mark.parametrize("wanted", [("dg", "db"), ("dg",), ("db",)])
def test_scale_backward_weights_adds_what_is_wanted(
    wanted: tuple[str, ...], kernels: Kernels
) -> None:
    x, dy, was = draw(), draw(), {"dg": draw(3), "db": draw(3)}
    now = {name: array.copy() if name in wanted else None for name, array in was.items()}
    kernels.scale_backward_weights(x, dy, now["dg"], now["db"])
    made = {"dg": dy.astype(float) * x, "db": dy.astype(float)}
    for name in wanted:
        # A double sum below 80 rounded to float32, and added.
        expected = was[name] + made[name].sum(axis=(0, 2))
        np.testing.assert_allclose(now[name], expected, rtol=0, atol=2 * 80 * 2.0**-24)
