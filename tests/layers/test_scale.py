"""Scale: along which axes, with and without bias, learned or from a bottom."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import STALE, OneLayer, check_gradient

RANDOM = np.random.default_rng(24)
X = RANDOM.normal(size=(2, 3, 5, 4))


def scale(settings: str = "", more: str = "") -> str:
    return f"""layer {{ name: "scale" type: "Scale" bottom: "x" {more} top: "y"
      scale_param {{ {settings} }} }}"""


SHAPES = [
    ("", (3,), (3, 1, 1)),
    ("axis: 2 num_axes: 2", (5, 4), (5, 4)),
    ("axis: -3 num_axes: 2", (3, 5), (3, 5, 1)),
    ("axis: 1 num_axes: -1", (3, 5, 4), (3, 5, 4)),
    ("num_axes: 0", (), (1,)),
    ("axis: 0 num_axes: 1", (2,), (2, 1, 1, 1)),
]


@pytest.mark.parametrize(("settings", "shape", "seen"), SHAPES)
def test_a_learned_factor_has_the_shape_of_some_axes(
    settings: str, shape: tuple[int, ...], seen: tuple[int, ...], engine: Engine
) -> None:
    g, b = RANDOM.normal(size=shape), RANDOM.normal(size=shape)
    text = scale("bias_term: true " + settings)
    (y,) = OneLayer(text, [X], params=[g, b], engine=engine).forward()
    expected = X * np.reshape(g, seen) + np.reshape(b, seen)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)  # a product and a sum
    check_gradient(text, [X], params=[g, b], engine=engine)


def test_without_a_filler_the_factor_is_1_and_the_bias_0(engine: Engine) -> None:
    one = OneLayer(scale("bias_term: true"), [X], engine=engine)
    np.testing.assert_array_equal(one.forward()[0], X.astype(np.float32))
    one = OneLayer(scale("filler { value: 3 }"), [X], engine=engine)
    np.testing.assert_array_equal(one.params[0], [3, 3, 3])


@pytest.mark.parametrize(
    ("settings", "shape", "seen"),
    [
        ("", (3, 5), (3, 5, 1)),
        ("axis: 0", (2, 3), (2, 3, 1, 1)),
        ("", (), (1,)),
        ("bias_term: true", (3,), (3, 1, 1)),
    ],
)
def test_the_factor_may_be_a_second_bottom(
    settings: str, shape: tuple[int, ...], seen: tuple[int, ...], engine: Engine
) -> None:
    g = RANDOM.normal(size=shape)
    text = scale(settings + ' bias_filler { type: "gaussian" }', 'bottom: "g"')
    one = OneLayer(text, [X, g], engine=engine)
    bias = np.reshape(one.params[0], seen) if one.params else 0
    expected = X * np.reshape(g, seen) + bias
    np.testing.assert_allclose(one.forward()[0], expected, rtol=1e-6, atol=1e-6)
    check_gradient(text, [X, g], engine=engine)


def test_each_bottom_gets_a_gradient_only_if_it_is_wanted(engine: Engine) -> None:
    one = OneLayer(scale("", 'bottom: "g"'), [X, np.ones(3)], engine=engine)
    one.forward()
    for down in ([True, False], [False, True]):
        diffs = one.backward([X], down)
        assert [bool(np.all(diff == STALE)) for diff in diffs] == [not wanted for wanted in down]


@pytest.mark.parametrize(("learned", "rates"), [([1], "0 1"), ([0], "1 0"), ([], "0 0")])
def test_a_param_with_rate_0_gets_no_diff(learned: list[int], rates: str, engine: Engine) -> None:
    params = " ".join(f"param {{ lr_mult: {rate} }}" for rate in rates.split())
    text = scale("bias_term: true", params)
    one = OneLayer(text, [X], engine=engine)
    one.forward()
    one.backward([X])
    assert [i for i, diff in enumerate(one.param_diffs) if diff is not None] == learned
    check_gradient(text, [X[..., :2]], engine=engine)


def test_a_learned_factor_along_the_images_couples_them() -> None:
    assert OneLayer(scale("axis: 0"), [X]).layer.couples_images
    assert not OneLayer(scale("axis: 0 num_axes: 0"), [X]).layer.couples_images
    assert not OneLayer(scale(), [X]).layer.couples_images


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("axis: 2 num_axes: 3", "axis 2 and num_axes 3 go beyond the bottom's shape 2 3 5 4"),
        ("num_axes: -2", "num_axes must be -1 or more, is -2"),
    ],
)
def test_axes_that_are_not_there_are_refused(settings: str, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        OneLayer(scale(settings), [X])


def test_a_second_bottom_must_fit_and_leaves_no_factor_to_fill() -> None:
    with pytest.raises(ShapeError, match="second bottom's shape 5 must be that of the first, 2 3"):
        OneLayer(scale("", 'bottom: "g"'), [X, np.ones(5)])
    with pytest.raises(LayerError, match="num_axes has no effect where a second bottom scales"):
        OneLayer(scale("num_axes: 2", 'bottom: "g"'), [X, np.ones(3)])
