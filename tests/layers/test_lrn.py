"""LRN across channels and within one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(15)
X = RANDOM.normal(size=(2, 7, 4, 5))


def lrn(settings: str) -> str:
    return f'layer {{ name: "lrn" type: "LRN" bottom: "x" top: "y" lrn_param {{ {settings} }} }}'


def across(x: NDArray[np.float64], size: int, alpha: float, beta: float, k: float) -> NDArray:
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(0, c - size // 2) : c + size // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (near**2).sum(1)) ** beta
    return y


def within(x: NDArray[np.float64], size: int, alpha: float, beta: float) -> NDArray:
    y, half, (h, w) = np.empty_like(x), size // 2, x.shape[2:]
    for i, j in np.ndindex(h, w):
        near = x[:, :, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1]
        scale = 1 + alpha * (near**2).sum((2, 3)) / size**2  # what lies outside counts as 0
        y[:, :, i, j] = x[:, :, i, j] / scale**beta
    return y


@pytest.mark.parametrize(("size", "k"), [(5, 2.0), (3, 1.0), (15, 0.5)])
def test_across_channels_alpha_is_divided_by_the_size(size: int, k: float, engine: Engine) -> None:
    text = lrn(f"local_size: {size} alpha: 1.5 beta: 0.75 k: {k}")
    (y,) = OneLayer(text, [X], engine=engine).forward()
    # a power of a sum of up to 7 squares, float32
    np.testing.assert_allclose(y, across(X, size, 1.5, 0.75, k), rtol=1e-5, atol=1e-6)


def test_within_a_channel_the_mean_is_over_pixels(engine: Engine) -> None:
    text = lrn("norm_region: WITHIN_CHANNEL local_size: 3 alpha: 1.5 beta: 0.6")
    (y,) = OneLayer(text, [X], engine=engine).forward()
    np.testing.assert_allclose(y, within(X, 3, 1.5, 0.6), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_gradients_of_lrn(region: str, engine: Engine) -> None:
    text = lrn(f"norm_region: {region} local_size: 3 alpha: 1.5 beta: 0.75")
    # The third derivative is about 10, times step**2 / 6.
    check_gradient(text, [X[:, :5, :3, :4]], engine=engine, step=5e-3)


def test_its_top_is_not_to_be_changed_in_place() -> None:
    assert OneLayer(lrn(""), [X]).layer.reads_top


def test_an_even_local_size_has_no_centre() -> None:
    with pytest.raises(LayerError, match=r"local_size must be odd, .* is 4"):
        OneLayer(lrn("local_size: 4"), [X])


def test_k_is_refused_within_a_channel_where_caffe_ignores_it() -> None:
    with pytest.raises(LayerError, match="k is always 1 WITHIN_CHANNEL"):
        OneLayer(lrn("norm_region: WITHIN_CHANNEL k: 2"), [X])


def test_a_bottom_without_height_and_width_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must have 4 axes .* has 2 7"):
        OneLayer(lrn(""), [X[:, :, 0, 0]])
