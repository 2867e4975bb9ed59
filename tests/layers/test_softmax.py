"""Softmax along each axis."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(18)
X = RANDOM.normal(size=(2, 5, 3, 4))


def softmax(settings: str = "") -> str:
    return f"""layer {{ name: "prob" type: "Softmax" bottom: "x" top: "y"
      softmax_param {{ {settings} }} }}"""


@pytest.mark.parametrize(("settings", "axis"), [("", 1), ("axis: 2", 2), ("axis: -1", 3)])
def test_softmax_is_normalised_along_its_axis(settings: str, axis: int, engine: Engine) -> None:
    (y,) = OneLayer(softmax(settings), [X], engine=engine).forward()
    expected = np.exp(X) / np.exp(X).sum(axis, keepdims=True)
    np.testing.assert_allclose(y, expected, rtol=1e-5)  # an exponential and 5 sums, float32


def test_large_scores_do_not_overflow(engine: Engine) -> None:
    (y,) = OneLayer(softmax(), [[[1000.0, 999.0, -1000.0]]], engine=engine).forward()
    expected = [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0]
    np.testing.assert_allclose(y[0], expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_gradient_of_softmax(axis: int, engine: Engine) -> None:
    check_gradient(softmax(f"axis: {axis}"), [X[:, :, :, :2]], engine=engine)


def test_along_the_images_softmax_couples_them() -> None:
    assert OneLayer(softmax("axis: 0"), [X]).layer.couples_images
    assert not OneLayer(softmax(), [X]).layer.couples_images
    assert OneLayer(softmax(), [X]).layer.reads_top
