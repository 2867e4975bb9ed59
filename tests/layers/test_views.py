"""Flatten and Split, whose tops lie in their bottom's memory."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import ShapeError
from cvgg.testing import OneLayer, check_gradient

X = np.random.default_rng(25).normal(size=(2, 3, 5, 4)).astype(np.float32)


def flatten(settings: str = "") -> str:
    return f"""layer {{ name: "flat" type: "Flatten" bottom: "x" top: "y"
      flatten_param {{ {settings} }} }}"""


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ("", (2, 60)),
        ("axis: 2", (2, 3, 20)),
        ("end_axis: 2", (2, 15, 4)),
        ("axis: -3 end_axis: -2", (2, 15, 4)),
        ("axis: 1 end_axis: 1", (2, 3, 5, 4)),
        ("axis: 0", (120,)),
    ],
)
def test_flatten_makes_one_axis_of_several(
    settings: str, shape: tuple[int, ...], engine: Engine
) -> None:
    one = OneLayer(flatten(settings), [X], engine=engine)
    np.testing.assert_array_equal(one.forward()[0], X.reshape(shape))
    np.testing.assert_array_equal(one.backward([X.reshape(shape)])[0], X)
    assert one.layer.couples_images == (settings == "axis: 0")


def test_flatten_needs_axes_in_order() -> None:
    with pytest.raises(ShapeError, match="end_axis 1 lies before axis 2"):
        OneLayer(flatten("axis: 2 end_axis: 1"), [X])


SPLIT = 'layer { name: "s" type: "Split" bottom: "x" top: "a" top: "b" top: "c" }'


def test_splits_tops_are_its_bottom_and_their_diffs_add_up(engine: Engine) -> None:
    one = OneLayer(SPLIT, [X], engine=engine)
    assert all(np.array_equal(top, X) for top in one.forward())
    (diff,) = one.backward([X, 2 * X, 4 * X])
    np.testing.assert_allclose(diff, 7 * X, rtol=1e-6)
    check_gradient(SPLIT, [X[..., :2]], engine=engine)


def test_a_split_top_that_no_gradient_comes_to_is_left_out(engine: Engine) -> None:
    one = OneLayer(SPLIT, [X], engine=engine)
    one.drop_diff(1)
    (diff,) = one.backward([X, 2 * X, 4 * X])
    np.testing.assert_allclose(diff, 5 * X, rtol=1e-6)
