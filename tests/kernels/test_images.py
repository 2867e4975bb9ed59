"""Images of a database to input of a net."""

import numpy as np
import pytest
import reference
from hosted import HostedKernels
from reference import Array

from cvgg.kernels.interface import Kernels, Pair

RANDOM = np.random.default_rng(8)
N, C, H, W = SHAPE = (3, 2, 4, 5)
WHOLE = (C, 7, 9)
# Row, column and mirror: both corners, and a place in between; the middle one is mirrored.
PLACE = np.array([[0, 0, 0], [2, 1, 1], [3, 4, 0]], np.int32)


def pixels(dtype: str) -> Array:
    """0 to 255, and with a fraction where there may be one."""
    x = RANDOM.integers(0, 256, SHAPE) + (0.25 if dtype == "float32" else 0)
    x[0, 0, 0, :2] = 0, 255
    return x.astype(dtype)


MEANS = {
    "whole": RANDOM.uniform(0, 255, WHOLE).astype(np.float32),
    "by channel": RANDOM.uniform(0, 255, (C, 1, 1)).astype(np.float32),
    "none": None,
}


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS.keys())
def test_transform_subtracts_the_mean_under_the_crop_scales_and_mirrors(
    mean: Array | None, dtype: str, kernels: Kernels
) -> None:
    x, y = pixels(dtype), np.full(SHAPE, 7, np.float32)
    kernels.transform_forward(x, PLACE, mean, y, scale=0.017)
    zero = np.zeros((C, 1, 1), np.float32)
    expected = reference.transform(x, PLACE, zero if mean is None else mean, 0.017)
    # A difference, a product, and the factor itself: each rounded once.
    np.testing.assert_allclose(y, expected, rtol=3 * 2.0**-24)


def test_the_mean_is_mirrored_with_the_image(kernels: Kernels) -> None:
    """An image that is its mean gives 0 at any place."""
    mean = MEANS["whole"]
    crops = [mean[:, row : row + H, column : column + W] for row, column, _ in PLACE]
    y = np.full(SHAPE, 7, np.float32)
    kernels.transform_forward(np.stack(crops), PLACE, mean, y, scale=2.0)
    assert (y == 0).all()


@pytest.mark.parametrize("size", [(1, 2), (2, 1)])
def test_a_mean_of_one_row_or_column_is_a_mean_of_places(size: Pair, kernels: Kernels) -> None:
    x, mean = np.full((1, C, *size), 9, np.float32), np.zeros((C, *size), np.float32)
    mean[:, -1, -1] = 3, 4
    y, place = np.empty_like(x), np.zeros((1, 3), np.int32)
    kernels.transform_forward(x, place, mean, y, scale=2.0)
    assert y.reshape(C, 2).tolist() == [[18, 12], [18, 10]]


@pytest.mark.parametrize("place", [(4, 0), (0, 5), (-1, 0), (0, -1)])
def test_on_a_device_a_crop_that_leaves_the_mean_image_gives_nan_there(
    place: Pair, kernels: Kernels
) -> None:
    """The host does not see the places. One row or column of the crop lies outside."""
    if not isinstance(kernels, HostedKernels):
        with pytest.raises(ValueError, match="inside the mean image"):
            transform_at(place, kernels)
        return
    nan = np.isnan(transform_at(place, kernels))
    expected = np.zeros(SHAPE, bool)
    rows, columns = (
        list(range(first, first + of)) for first, of in zip(place, (H, W), strict=True)
    )
    expected[:, :, [not 0 <= row < WHOLE[1] for row in rows]] = True
    expected[:, :, :, [not 0 <= column < WHOLE[2] for column in columns]] = True
    assert expected.any()
    np.testing.assert_array_equal(nan, expected)


def transform_at(place: Pair, kernels: Kernels) -> Array:
    y, at = np.full(SHAPE, 7, np.float32), np.array([(*place, 0)] * N, np.int32)
    kernels.transform_forward(pixels("uint8"), at, MEANS["whole"], y, scale=1.0)
    return y


def test_bytes_and_floats_give_the_same_bits(kernels: Kernels) -> None:
    x, by_bytes, by_floats = (
        pixels("uint8"),
        np.empty(SHAPE, np.float32),
        np.empty(SHAPE, np.float32),
    )
    kernels.transform_forward(x, PLACE, MEANS["whole"], by_bytes, scale=0.017)
    kernels.transform_forward(x.astype(np.float32), PLACE, MEANS["whole"], by_floats, scale=0.017)
    np.testing.assert_array_equal(by_bytes, by_floats)
