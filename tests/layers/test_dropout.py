"""Dropout: what goes, what stays, and that it depends on the place in the batch alone."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError
from cvgg.netdef.caffe_pb2 import TEST, TRAIN
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(17)
X = RANDOM.normal(size=(6, 5, 7)) + 10  # nothing is 0


def dropout(ratio: float = 0.4, top: str = "y", more: str = "") -> str:
    return f"""layer {{ name: "drop" type: "Dropout" bottom: "x" top: "{top}" {more}
      dropout_param {{ dropout_ratio: {ratio} }} }}"""


def test_in_train_values_become_0_or_grow(engine: Engine) -> None:
    x = RANDOM.normal(size=(40, 50)) + 10
    (y,) = OneLayer(dropout(), [x], phase=TRAIN, engine=engine).forward()
    kept = y != 0
    np.testing.assert_allclose(y[kept], (x / 0.6)[kept], rtol=1e-6)  # one product
    # Four deviations of a share of 0.6 in 2000: 4 * sqrt(0.6 * 0.4 / 2000)
    assert abs(kept.mean() - 0.6) < 0.044


@pytest.mark.parametrize(("phase", "more"), [(TEST, ""), (TRAIN, "phase: TEST")])
@pytest.mark.parametrize("top", ["x", "y"])
def test_in_test_nothing_happens(phase: int, more: str, top: str, engine: Engine) -> None:
    one = OneLayer(dropout(top=top, more=more), [X], phase=phase, engine=engine)
    np.testing.assert_array_equal(one.forward()[0], X.astype(np.float32))
    dy = RANDOM.normal(size=X.shape).astype(np.float32)
    np.testing.assert_array_equal(one.backward([dy])[0], dy)


def test_ratio_0_drops_nothing(engine: Engine) -> None:
    (y,) = OneLayer(dropout(0), [X], phase=TRAIN, engine=engine).forward()
    np.testing.assert_array_equal(y, X.astype(np.float32))


def test_each_pass_and_each_layer_drops_others(engine: Engine) -> None:
    def kept(text: str, draw: int) -> np.ndarray:
        return OneLayer(text, [X], phase=TRAIN, engine=engine, draw=draw).forward()[0] != 0

    first = kept(dropout(), 3)
    np.testing.assert_array_equal(first, kept(dropout(), 3))
    assert np.any(first != kept(dropout(), 4))
    assert np.any(first != kept(dropout().replace('"drop"', '"drop2"'), 3))


def test_a_part_of_the_batch_drops_what_the_whole_batch_would(engine: Engine) -> None:
    (whole,) = OneLayer(dropout(), [X], phase=TRAIN, engine=engine).forward()
    part = OneLayer(dropout(), [X[2:5]], phase=TRAIN, engine=engine, first_image=2)
    np.testing.assert_array_equal(part.forward()[0], whole[2:5])


@pytest.mark.parametrize("top", ["x", "y"])
def test_gradient_of_dropout_in_place_and_beside(top: str, engine: Engine) -> None:
    check_gradient(dropout(top=top), [X[:2, :3]], phase=TRAIN, engine=engine)


@pytest.mark.parametrize("ratio", [-0.1, 1])
def test_a_ratio_that_is_no_probability_is_refused(ratio: float) -> None:
    with pytest.raises(LayerError, match="dropout_ratio must be at least 0 and below 1"):
        OneLayer(dropout(ratio), [X])
