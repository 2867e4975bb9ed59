"""Fillers: distributions, reproducible numbers, errors."""

import re

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from cvgg import fillers
from cvgg.errors import LayerError
from cvgg.kernels.philox import Purpose, hash_name, normal, uniform
from cvgg.netdef.caffe_pb2 import FillerParameter

SHAPE = (40, 25, 3, 5)  # 15000 elements; fan in 375, fan out 600
SIZE = 15000


def filler(text: str) -> FillerParameter:
    return text_format.Parse(text, FillerParameter())


def fill(
    text: str,
    shape: tuple[int, ...] = SHAPE,
    *,
    seed: int = 7,
    layer: str = "conv1",
    index: int = 0,
) -> NDArray[np.float32]:
    values = np.full(shape, np.nan, np.float32)
    fillers.fill(filler(text), values, seed=seed, layer=layer, index=index)
    return values


def has_moments(values: NDArray[np.float32], mean: float, deviation: float) -> bool:
    """Within four standard errors: of the mean, s / sqrt(m), and of s, at most s / sqrt(2 m)."""
    error = deviation / np.sqrt(values.size)
    near = abs(values.mean(dtype=np.float64) - mean) < 4 * error
    return bool(near and abs(values.std(dtype=np.float64) - deviation) < 4 * error / np.sqrt(2))


def test_constant_is_0_or_the_value() -> None:
    assert np.all(fill("") == 0)
    assert np.all(fill("value: 2.5") == 2.5)
    assert fill("value: 2.5", ()) == 2.5


def test_uniform_is_between_min_and_max() -> None:
    values = fill('type: "uniform" min: -1 max: 5')
    assert values.min() >= -1
    assert values.max() <= 5
    assert has_moments(values, 2, 6 / np.sqrt(12))


def test_gaussian_has_mean_and_deviation() -> None:
    assert has_moments(fill('type: "gaussian" mean: 3 std: 0.5'), 3, 0.5)


def test_sparse_gaussian_keeps_about_that_many_inputs_of_each_output() -> None:
    dense, sparse = (fill(f'type: "gaussian" mean: 3 {more}') for more in ("", "sparse: 10"))
    kept = sparse != 0
    np.testing.assert_array_equal(sparse[kept], dense[kept])
    assert has_moments(sparse[kept], 3, 1)  # which ones are kept does not depend on their values
    # A share of 10 in 40, to four deviations of a coin thrown 15000 times
    assert abs(kept.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / SIZE)
    assert not np.any(fill('type: "gaussian" mean: 3 sparse: 0'))
    assert np.all(fill('type: "gaussian" mean: 30 sparse: 40'))


@pytest.mark.parametrize(
    ("norm", "n"), [("", 375), ("FAN_IN", 375), ("FAN_OUT", 600), ("AVERAGE", 487.5)]
)
def test_xavier_and_msra_take_their_deviation_from_the_fan(norm: str, n: float) -> None:
    more = f"variance_norm: {norm}" if norm else ""
    xavier, msra = fill(f'type: "xavier" {more}'), fill(f'type: "msra" {more}')
    assert np.abs(xavier).max() <= np.float32(np.sqrt(3 / n))
    assert has_moments(xavier, 0, np.sqrt(1 / n))
    assert has_moments(msra, 0, np.sqrt(2 / n))
    assert np.abs(msra).max() > np.sqrt(3 * 2 / n)  # it has tails


def test_a_param_of_one_axis_has_one_input_for_each_output() -> None:
    assert np.abs(fill('type: "xavier"', (999,))).max() > 1.7  # sqrt(3)
    assert np.abs(fill('type: "xavier" variance_norm: FAN_OUT', (999,))).max() < 0.055


def test_positive_unitball_sums_to_1_for_each_output() -> None:
    values = fill('type: "positive_unitball"')
    assert values.min() > 0
    np.testing.assert_allclose(values.reshape(40, -1).sum(1), 1, rtol=1e-5)
    assert np.ptp(values) > 0


@pytest.mark.parametrize(
    ("size", "side"), [(4, [0.25, 0.75, 0.75, 0.25]), (3, [0.5, 1, 0.5]), (1, [1])]
)
def test_bilinear_is_a_tent(size: int, side: list[float]) -> None:
    values = fill('type: "bilinear"', (2, 3, size, size))
    for window in values.reshape(6, size, size):
        np.testing.assert_allclose(window, np.outer(side, side), rtol=1e-6)


def test_the_numbers_are_philoxs_however_many_are_drawn() -> None:
    size = 4 * fillers.CHUNK + 7  # one chunk and a part that ends within four words
    keys = {"layer": hash_name("conv1"), "purpose": Purpose.FILLER + 1, "seed": 7}
    ours = fill('type: "uniform"', (size,), index=1)
    np.testing.assert_array_equal(ours, uniform(size, draw=0, **keys).astype(np.float32))
    ours = fill('type: "gaussian"', (size,), index=1)
    np.testing.assert_array_equal(ours, normal(size, draw=0, **keys).astype(np.float32))


def test_seed_layer_and_place_each_give_other_numbers() -> None:
    text = 'type: "uniform"'
    first = fill(text)
    np.testing.assert_array_equal(first, fill(text))
    for other in (fill(text, seed=8), fill(text, layer="conv2"), fill(text, index=1)):
        assert np.all(first.reshape(-1)[:100] != other.reshape(-1)[:100])


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ('type: "xavir"', SHAPE, "w type 'xavir' is no filler; did you mean \"xavier\"?; the"),
        ('type: "xavier" sparse: 3', SHAPE, "w: sparse is for type gaussian only"),
        ('type: "gaussian" sparse: -2', SHAPE, "w: sparse must be 0 or more, is -2"),
        ('type: "msra"', (), "w msra needs at least one axis"),
        ('type: "positive_unitball"', (), "w positive_unitball needs at least one axis"),
        ('type: "gaussian" sparse: 3', (), "w gaussian needs at least one axis"),
        ('type: "bilinear"', (2, 3, 4), "w bilinear needs a square window in 4 axes, has 2 3 4"),
        ('type: "bilinear"', (2, 3, 4, 5), "w bilinear needs a square window in 4 axes, has 2 3 4"),
    ],
)
def test_what_a_filler_cannot_do_is_named(text: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(LayerError, match=re.escape(words)):
        fillers.checked(filler(text), shape, "w")
