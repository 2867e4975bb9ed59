"""BatchNorm: statistics of the batch in TRAIN, running ones in TEST."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError
from cvgg.netdef.caffe_pb2 import TEST, TRAIN
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(23)
X = RANDOM.normal(size=(3, 4, 2, 5)) * 2 + 1
MEAN, VARIANCE, FACTOR = RANDOM.normal(size=4), RANDOM.uniform(1, 2, size=4), np.array([2.5])


def norm(settings: str = "", more: str = "") -> str:
    return f"""layer {{ name: "norm" type: "BatchNorm" bottom: "x" top: "y" {more}
      batch_norm_param {{ eps: 0.25 moving_average_fraction: 0.75 {settings} }} }}"""


def each(statistic: np.ndarray) -> np.ndarray:
    return statistic[:, None, None]


@pytest.mark.parametrize(("phase", "settings"), [(TRAIN, ""), (TEST, "use_global_stats: false")])
def test_in_train_each_channel_is_normalised_over_the_batch(
    phase: int, settings: str, engine: Engine
) -> None:
    one = OneLayer(norm(settings), [X], phase=phase, params=[MEAN, VARIANCE, FACTOR], engine=engine)
    (y,) = one.forward()
    mean, variance = X.mean((0, 2, 3)), X.var((0, 2, 3))
    expected = (X - each(mean)) / np.sqrt(each(variance) + 0.25)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)  # sums of 30, float32
    ours = one.params
    np.testing.assert_allclose(ours[0], 0.75 * MEAN + mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[1], 0.75 * VARIANCE + 30 / 29 * variance, rtol=1e-5)
    np.testing.assert_allclose(ours[2], [0.75 * 2.5 + 1], rtol=1e-6)


@pytest.mark.parametrize(("phase", "settings"), [(TEST, ""), (TRAIN, "use_global_stats: true")])
def test_in_test_the_running_statistics_are_used_and_stay(
    phase: int, settings: str, engine: Engine
) -> None:
    params = [MEAN, VARIANCE, FACTOR]
    one = OneLayer(norm(settings), [X], phase=phase, params=params, engine=engine)
    (y,) = one.forward()
    expected = (X - each(MEAN) / 2.5) / np.sqrt(each(VARIANCE) / 2.5 + 0.25)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    for ours, before in zip(one.params, params, strict=True):
        np.testing.assert_array_equal(ours, before.astype(np.float32))


def test_without_any_running_statistics_mean_and_variance_are_0(engine: Engine) -> None:
    (y,) = OneLayer(norm(), [X], engine=engine).forward()
    np.testing.assert_allclose(y, X / np.sqrt(0.25), rtol=1e-6)


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("shape", [(3, 4, 2, 2), (5, 3), (7,)])
def test_gradients_of_batch_norm(shape: tuple[int, ...], phase: int, engine: Engine) -> None:
    x = RANDOM.normal(size=shape) * 2
    c = shape[1] if len(shape) > 1 else 1
    params = [MEAN[:c], VARIANCE[:c], FACTOR]
    check_gradient(norm(), [x], phase=phase, params=params, engine=engine)


def test_only_the_batchs_statistics_couple_images_and_need_the_top() -> None:
    train, test = (OneLayer(norm(), [X], phase=phase).layer for phase in (TRAIN, TEST))
    assert (train.couples_images, train.reads_top) == (True, True)
    assert (test.couples_images, test.reads_top) == (False, False)


def test_its_three_params_are_not_learned() -> None:
    params = OneLayer(norm(), [X]).layer.params
    assert [param.shape for param in params] == [(4,), (4,), (1,)]
    assert [(param.lr_mult, param.decay_mult) for param in params] == [(0, 0)] * 3


def test_old_files_with_rates_in_all_three_params_are_accepted() -> None:
    params = OneLayer(norm(more="param { lr_mult: 1 } " * 3), [X]).layer.params
    assert [param.lr_mult for param in params] == [0, 0, 0]


def test_a_rate_for_one_of_the_statistics_is_refused() -> None:
    with pytest.raises(LayerError, match="the statistics are not learned; write lr_mult: 0"):
        OneLayer(norm(more="param { lr_mult: 0 } param { lr_mult: 1 }"), [X])
