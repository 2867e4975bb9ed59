"""ReLU: values, slopes, in place."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.testing import OneLayer, check_gradient

X = np.random.default_rng(13).normal(size=(2, 3, 5))


def relu(settings: str = "", top: str = "y") -> str:
    return f"""layer {{ name: "relu" type: "ReLU" bottom: "x" top: "{top}"
      relu_param {{ {settings} }} }}"""


def test_negative_values_become_0(engine: Engine) -> None:
    (y,) = OneLayer(relu(), [X], engine=engine).forward()
    np.testing.assert_array_equal(y, np.maximum(X.astype(np.float32), 0))


def test_with_a_slope_negative_values_are_multiplied(engine: Engine) -> None:
    (y,) = OneLayer(relu("negative_slope: 0.25"), [X], engine=engine).forward()
    np.testing.assert_array_equal(y, np.where(X > 0, X, 0.25 * X).astype(np.float32))


@pytest.mark.parametrize("top", ["x", "y"])
@pytest.mark.parametrize("slope", [0, 0.25, -0.5])
def test_gradient_of_relu_in_place_and_beside(slope: float, top: str, engine: Engine) -> None:
    settings = f"negative_slope: {slope}"
    check_gradient(relu(settings, top), [X], engine=engine, kink=0.0)


def test_a_negative_slope_forbids_in_place_because_the_sign_is_lost() -> None:
    assert OneLayer(relu("negative_slope: 0.25"), [X]).layer.may_be_in_place
    assert not OneLayer(relu("negative_slope: -0.25"), [X]).layer.may_be_in_place
