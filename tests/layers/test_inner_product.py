"""InnerProduct: which axes are a row, which way the weights lie."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(16)
X = RANDOM.normal(size=(2, 3, 5, 4))
B = RANDOM.normal(size=7)


def fc(settings: str) -> str:
    return f"""layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "y"
      inner_product_param {{ num_output: 7 {settings} }} }}"""


@pytest.mark.parametrize(
    ("axis", "rows", "top"),
    [(1, 2, (2, 7)), (2, 6, (2, 3, 7)), (-1, 30, (2, 3, 5, 7)), (0, 1, (7,))],
)
def test_the_axes_from_axis_on_are_one_row(
    axis: int, rows: int, top: tuple[int, ...], engine: Engine
) -> None:
    w = RANDOM.normal(size=(7, 120 // rows))
    (y,) = OneLayer(fc(f"axis: {axis}"), [X], params=[w, B], engine=engine).forward()
    assert y.shape == top
    expected = X.reshape(rows, -1) @ w.T + B
    np.testing.assert_allclose(y, expected.reshape(top), rtol=1e-5, atol=3e-5)  # 120 products


def test_transpose_stores_the_weights_the_other_way(engine: Engine) -> None:
    w = RANDOM.normal(size=(60, 7))
    (y,) = OneLayer(fc("transpose: true"), [X], params=[w, B], engine=engine).forward()
    np.testing.assert_allclose(y, X.reshape(2, 60) @ w + B, rtol=1e-5, atol=3e-5)


def test_without_bias_term_there_is_one_param(engine: Engine) -> None:
    w = RANDOM.normal(size=(7, 60))
    (y,) = OneLayer(fc("bias_term: false"), [X], params=[w], engine=engine).forward()
    np.testing.assert_allclose(y, X.reshape(2, 60) @ w.T, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("settings", ["", "axis: 2", "transpose: true", "bias_term: false"])
def test_gradients_of_inner_product(settings: str, engine: Engine) -> None:
    check_gradient(
        fc(settings + ' weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'),
        [X[:, :, :2]],
        engine=engine,
    )


@pytest.mark.parametrize(("learned", "rates"), [([1], "0 1"), ([0], "1 0"), ([], "0 0")])
def test_a_param_with_rate_0_gets_no_diff(learned: list[int], rates: str, engine: Engine) -> None:
    params = " ".join(f"param {{ lr_mult: {rate} }}" for rate in rates.split())
    text = fc('weight_filler { type: "gaussian" }').replace('top: "y"', f'top: "y" {params}')
    one = OneLayer(text, [X], engine=engine)
    one.forward()
    one.backward([np.ones((2, 7))])
    assert [i for i, diff in enumerate(one.param_diffs) if diff is not None] == learned
    check_gradient(text, [X[:, :, :2]], engine=engine)


def test_a_row_over_all_images_couples_them() -> None:
    assert OneLayer(fc("axis: 0"), [X]).layer.couples_images
    assert not OneLayer(fc("axis: 1"), [X]).layer.couples_images


def test_num_output_is_needed() -> None:
    with pytest.raises(LayerError, match="num_output must be above 0"):
        OneLayer(fc("").replace("num_output: 7", ""), [X])


def test_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(ShapeError, match="axis 4 is outside a blob of 4 axes"):
        OneLayer(fc("axis: 4"), [X])
