"""Convolution: shapes, groups, dilation, shared weights, gradients, errors."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import STALE, OneLayer, check_gradient

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(size=(2, 6, 7, 5))
SMALL = X[:1, :, :3, :4]  # for gradients: each element costs two passes
W = RANDOM.normal(size=(4, 3, 3, 2))  # num_output 4, two groups of 3 channels
B = RANDOM.normal(size=4)
SETTINGS = """num_output: 4 group: 2 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1
  pad_h: 1 pad_w: 2 dilation: 1 dilation: 2"""


def layer(settings: str = SETTINGS, more: str = "") -> str:
    return f"""layer {{ name: "conv" type: "Convolution" bottom: "x" top: "y" {more}
      convolution_param {{ {settings} }} }}"""


def naive(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What SETTINGS ask for, product by product."""
    y = np.zeros((2, 4, 4, 7)) + B[:, None, None]
    for n, k, p, q, c, r, s in np.ndindex(2, 4, 4, 7, 3, 3, 2):
        i, j = 2 * p + r - 1, q + 2 * s - 2
        if 0 <= i < 7 and 0 <= j < 5:
            y[n, k, p, q] += x[n, k // 2 * 3 + c, i, j] * W[k, c, r, s]
    return y


def test_convolution_is_the_sum_of_products_over_window_and_group(engine: Engine) -> None:
    (y,) = OneLayer(layer(), [X], params=[W, B], engine=engine).forward()
    # 18 products and a bias, float32; Winograd would round a little more
    np.testing.assert_allclose(y, naive(X), rtol=1e-5, atol=2e-5)


def test_several_bottoms_go_through_the_same_weights(engine: Engine) -> None:
    other = RANDOM.normal(size=X.shape)
    text = layer(more='bottom: "x2" top: "y2"')
    first, second = OneLayer(text, [X, other], params=[W, B], engine=engine).forward()
    np.testing.assert_allclose(first, naive(X), rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(second, naive(other), rtol=1e-5, atol=2e-5)


def test_without_bias_term_there_is_one_param(engine: Engine) -> None:
    one = OneLayer(layer(SETTINGS + " bias_term: false"), [X], params=[W], engine=engine)
    (y,) = one.forward()
    assert len(one.params) == 1
    np.testing.assert_allclose(y, naive(X) - B[:, None, None], rtol=1e-5, atol=2e-5)


def test_gradients_of_a_grouped_dilated_convolution(engine: Engine) -> None:
    # The output is linear in each of bottom, weights and bias: only rounding is left.
    check_gradient(layer(), [SMALL], params=[W, B], engine=engine)


def test_gradients_of_a_3x3_convolution_as_in_vgg(engine: Engine) -> None:
    x, w = RANDOM.normal(size=(2, 3, 5, 4)), RANDOM.normal(size=(4, 3, 3, 3))
    check_gradient(layer("num_output: 4 kernel_size: 3 pad: 1"), [x], params=[w, B], engine=engine)


def test_gradients_of_two_bottoms_add_up_in_the_weights(engine: Engine) -> None:
    text = layer("num_output: 4 kernel_size: 2 bias_term: false", 'bottom: "x2" top: "y2"')
    xs = [RANDOM.normal(size=(2, 3, 3, 4)) for _ in range(2)]
    check_gradient(text, xs, params=[RANDOM.normal(size=(4, 3, 2, 2))], engine=engine)


@pytest.mark.parametrize(("learned", "rates"), [([1], "0 1"), ([0], "1 0"), ([], "0 0")])
def test_a_param_with_rate_0_gets_no_diff_and_the_other_is_right(
    learned: list[int], rates: str, engine: Engine
) -> None:
    more = " ".join(f"param {{ lr_mult: {rate} }}" for rate in rates.split())
    one = OneLayer(layer(more=more), [X], params=[W, B], engine=engine)
    one.forward()
    one.backward([np.ones((2, 4, 4, 7))])
    assert [i for i, diff in enumerate(one.param_diffs) if diff is not None] == learned
    check_gradient(layer(more=more), [SMALL], params=[W, B], engine=engine)


def test_a_bottom_without_propagate_down_is_left_alone(engine: Engine) -> None:
    one = OneLayer(layer(), [X], params=[W, B], engine=engine)
    one.forward()
    (diff,) = one.backward([np.ones((2, 4, 4, 7))], [False])
    assert np.all(diff == STALE)
    assert one.param_diffs[0] is not None
    assert np.any(one.param_diffs[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("num_output: 4 kernel_size: 3 group: 4", "group 4 must divide input channels 6 and"),
        ("num_output: 5 kernel_size: 3 group: 3", "group 3 must divide input channels 6 and"),
        ("kernel_size: 3", "num_output must be above 0"),
        ("num_output: 4 kernel_size: 3 axis: 2", "the channels must be on axis 1"),
        ("num_output: 4", "kernel_size is missing"),
        ("num_output: 4 kernel_size: 9", "a window of 9 9 does not fit a plane of 7 5"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: str, words: str) -> None:
    with pytest.raises(LayerError, match=r"layer 'conv' \(Convolution\): " + re.escape(words)):
        OneLayer(layer(settings), [X])


def test_a_bottom_without_height_and_width_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must have 4 axes .* has 2 6"):
        OneLayer(layer(), [X[:, :, 0, 0]])


def test_bottoms_of_different_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="they are 2 6 7 5 and 2 6 7 4"):
        OneLayer(layer(more='bottom: "x2" top: "y2"'), [X, X[..., :4]])


def test_two_bottoms_with_one_top_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 bottoms need as many tops, not 1"):
        OneLayer(layer(more='bottom: "x2"'), [X, X])
