"""Concat along each axis."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import STALE, OneLayer, check_gradient

RANDOM = np.random.default_rng(21)


def concat(settings: str = "", bottoms: str = "abc") -> str:
    names = " ".join(f'bottom: "{name}"' for name in bottoms)
    return f"""layer {{ name: "join" type: "Concat" {names} top: "y"
      concat_param {{ {settings} }} }}"""


def parts(axis: int) -> list[np.ndarray]:
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for length, shape in zip((1, 5, 2), shapes, strict=True):
        shape[axis] = length
    return [RANDOM.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize(
    ("settings", "axis"),
    [("", 1), ("axis: 0", 0), ("axis: 2", 2), ("axis: -2", 1), ("concat_dim: 2", 2)],
)
def test_bottoms_lie_side_by_side_along_the_axis(settings: str, axis: int, engine: Engine) -> None:
    xs = parts(axis)
    one = OneLayer(concat(settings), xs, engine=engine)
    whole = np.concatenate(xs, axis).astype(np.float32)
    np.testing.assert_array_equal(one.forward()[0], whole)
    assert one.layer.couples_images == (axis == 0)
    for diff, x in zip(one.backward([whole]), xs, strict=True):
        np.testing.assert_array_equal(diff, x.astype(np.float32))


def test_one_bottom_is_copied(engine: Engine) -> None:
    (x,) = parts(1)[1:2]
    (y,) = OneLayer(concat(bottoms="a"), [x], engine=engine).forward()
    np.testing.assert_array_equal(y, x.astype(np.float32))


def test_gradient_goes_only_where_it_is_wanted(engine: Engine) -> None:
    down = [True, False, True]
    check_gradient(concat("axis: 2"), parts(2), engine=engine, propagate_down=down)
    one = OneLayer(concat(), parts(1), engine=engine)
    assert np.all(one.backward([np.zeros((2, 8, 4))], down)[1] == STALE)


def test_the_other_axes_must_be_equal() -> None:
    with pytest.raises(ShapeError, match=r"axis 1 .* 'a' has shape 1 3 4, .*'b' has 5"):
        OneLayer(concat(), parts(0))
    with pytest.raises(ShapeError, match=r"'b' has 2 3\n"):
        OneLayer(concat(bottoms="ab"), [np.zeros((2, 3, 4)), np.zeros((2, 3))])
    with pytest.raises(ShapeError, match=r"'b' has 2\n"):
        OneLayer(concat(bottoms="ab"), [np.zeros((2, 3)), np.zeros(2)])


def test_the_old_and_the_new_name_of_the_axis_exclude_each_other() -> None:
    with pytest.raises(LayerError, match="write axis or concat_dim, not both"):
        OneLayer(concat("axis: 1 concat_dim: 1"), parts(1))
    with pytest.raises(ShapeError, match="concat_dim 3 is outside"):
        OneLayer(concat("concat_dim: 3"), parts(1))
