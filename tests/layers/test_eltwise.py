"""Eltwise: SUM, PROD and MAX."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import STALE, OneLayer, check_gradient

RANDOM = np.random.default_rng(22)
# Nothing is nearer than 0.1 to another value: a step of 0.01 changes no maximum.
XS = list(RANDOM.permutation(72).reshape(3, 2, 3, 4) * 0.1 - 3.55)


def eltwise(settings: str = "", bottoms: str = "abc") -> str:
    names = " ".join(f'bottom: "{name}"' for name in bottoms)
    return f"""layer {{ name: "join" type: "Eltwise" {names} top: "y"
      eltwise_param {{ {settings} }} }}"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", XS[0] + XS[1] + XS[2]),
        ("coeff: 0.5 coeff: -2 coeff: 3", 0.5 * XS[0] - 2 * XS[1] + 3 * XS[2]),
        ("operation: PROD", XS[0] * XS[1] * XS[2]),
        ("operation: MAX", np.max(XS, axis=0)),
    ],
)
def test_the_top_is_sum_product_or_maximum(
    settings: str, expected: np.ndarray, engine: Engine
) -> None:
    (y,) = OneLayer(eltwise(settings), XS, engine=engine).forward()
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=2e-6)  # three terms, float32


@pytest.mark.parametrize(
    "settings", ["", "coeff: 0.5 coeff: -2 coeff: 3", "operation: PROD", "operation: MAX"]
)
def test_gradients_of_eltwise(settings: str, engine: Engine) -> None:
    # A product of three is linear in each of them.
    check_gradient(eltwise(settings), XS, engine=engine)


def test_the_products_gradient_is_right_where_a_factor_is_0(engine: Engine) -> None:
    one = OneLayer(eltwise("operation: PROD"), [[[0.0]], [[2.0]], [[3.0]]], engine=engine)
    one.forward()
    assert [diff.item() for diff in one.backward([[[1.5]]])] == [9.0, 0.0, 0.0]


def test_of_equal_maxima_the_second_of_the_first_two_bottoms_gets_the_gradient(
    engine: Engine,
) -> None:
    one = OneLayer(eltwise("operation: MAX"), [[[2.0]], [[2.0]], [[2.0]]], engine=engine)
    one.forward()
    assert [diff.item() for diff in one.backward([[[1.5]]])] == [0.0, 1.5, 0.0]


def test_gradient_goes_only_where_it_is_wanted(engine: Engine) -> None:
    one = OneLayer(eltwise(), XS, engine=engine)
    one.forward()
    diffs = one.backward([np.zeros((2, 3, 4))], [False, True, False])
    assert [bool(np.all(diff == STALE)) for diff in diffs] == [True, False, True]


def test_only_max_needs_a_buffer() -> None:
    (buffer,) = OneLayer(eltwise("operation: MAX"), XS).layer.buffers
    assert (buffer.shape, buffer.dtype) == ((2, 3, 4), "int32")
    assert not OneLayer(eltwise(), XS).layer.buffers


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("coeff: 1", "1 coeff for 3 bottoms"),
        ("operation: MAX coeff: 1 coeff: 1 coeff: 1", "coeff is for operation SUM only"),
    ],
)
def test_coefficients_that_do_not_fit_are_refused(settings: str, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        OneLayer(eltwise(settings), XS)


def test_all_shapes_must_be_equal() -> None:
    with pytest.raises(ShapeError, match="'a' has 2 3 4, 'b' has 2 3 2"):
        OneLayer(eltwise(bottoms="ab"), [XS[0], XS[1][..., :2]])
