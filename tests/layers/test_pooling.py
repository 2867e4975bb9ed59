"""Pooling: Caffe's rounding, padding and divisor. The tables were worked out by hand."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(14)


def pooling(settings: str) -> str:
    return f"""layer {{ name: "pool" type: "Pooling" bottom: "x" top: "y"
      pooling_param {{ {settings} }} }}"""


def distinct(*shape: int) -> np.ndarray:
    """Values at least 0.1 apart: a step of 0.01 changes no maximum."""
    return RANDOM.permutation(np.prod(shape)).reshape(shape) * 0.1


def image(rows: str) -> np.ndarray:
    return np.array([row.split() for row in rows.split("/")], np.float32)[None, None]


def test_max_pooling_takes_the_largest_and_remembers_its_place(engine: Engine) -> None:
    x = image("1 2 5 2 3 / 9 4 1 4 8 / 1 2 5 2 3")
    one = OneLayer(pooling("pool: MAX kernel_size: 2 stride: 1"), [x], engine=engine)
    (y,) = one.forward()
    np.testing.assert_array_equal(y, image("9 5 5 8 / 9 5 5 8"))
    np.testing.assert_array_equal(one.buffers["argmax"][0, 0], [[5, 2, 2, 9], [5, 12, 12, 9]])


def test_max_pooling_never_takes_padding(engine: Engine) -> None:
    x = image("-1 -2 -4 / -2 -3 -2 / -4 -2 -1")
    text = pooling("pool: MAX kernel_size: 3 stride: 2 pad: 2")
    (y,) = OneLayer(text, [x], engine=engine).forward()
    np.testing.assert_array_equal(y, image("-1 -1 -4 / -1 -1 -1 / -4 -1 -1"))


def test_the_mean_counts_padding_but_not_beyond_it(engine: Engine) -> None:
    x = np.full((1, 1, 3, 3), 18.0)
    (y,) = OneLayer(
        pooling("pool: AVE kernel_size: 3 stride: 1 pad: 1"), [x], engine=engine
    ).forward()
    np.testing.assert_allclose(y, image("8 12 8 / 12 18 12 / 8 12 8"), rtol=1e-6)
    # 4 rows, window 3, stride 2: the second window hangs over by 1 row, which does not count.
    (y,) = OneLayer(
        pooling("pool: AVE kernel_size: 3 stride: 2"), [np.full((1, 1, 4, 4), 18.0)], engine=engine
    ).forward()
    np.testing.assert_allclose(y, np.full((1, 1, 2, 2), 18.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "plane"),
    [
        ("kernel_size: 3 stride: 2", (3, 2)),
        ("kernel_size: 3 stride: 2 round_mode: FLOOR", (2, 2)),
        ("kernel_size: 3 stride: 2 pad: 1", (4, 3)),
        ("kernel_h: 2 kernel_w: 4 stride_h: 3 stride_w: 1", (3, 2)),
        ("global_pooling: true", (1, 1)),
        ("pool: AVE global_pooling: true", (1, 1)),
    ],
)
def test_planes_are_rounded_up_as_in_caffe(settings: str, plane: tuple[int, int]) -> None:
    assert OneLayer(pooling(settings), [np.zeros((2, 3, 6, 5))]).layer.tops == [(2, 3, *plane)]


def test_global_pooling_takes_the_whole_plane(engine: Engine) -> None:
    x = RANDOM.normal(size=(2, 3, 4, 5))
    (y,) = OneLayer(pooling("pool: AVE global_pooling: true"), [x], engine=engine).forward()
    np.testing.assert_allclose(y[:, :, 0, 0], x.mean((2, 3)), rtol=1e-5, atol=1e-6)
    (y,) = OneLayer(pooling("pool: MAX global_pooling: true"), [x], engine=engine).forward()
    np.testing.assert_array_equal(y[:, :, 0, 0], x.max((2, 3)).astype(np.float32))


@pytest.mark.parametrize(
    "settings",
    [
        "kernel_size: 3 stride: 2 pad: 1",
        "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0",
        "kernel_size: 2 stride: 2",
        "global_pooling: true",
    ],
)
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_gradients_of_pooling(pool: str, settings: str, engine: Engine) -> None:
    check_gradient(pooling(f"pool: {pool} {settings}"), [distinct(2, 3, 6, 5)], engine=engine)


def test_only_max_pooling_needs_a_buffer() -> None:
    x = np.zeros((2, 3, 6, 5))
    (buffer,) = OneLayer(pooling("kernel_size: 2"), [x]).layer.buffers
    assert (buffer.name, buffer.shape, buffer.dtype) == ("argmax", (2, 3, 5, 4), "int32")
    assert not OneLayer(pooling("pool: AVE kernel_size: 2"), [x]).layer.buffers


def test_stochastic_pooling_is_refused_at_its_place() -> None:
    text = pooling("\n  pool: STOCHASTIC kernel_size: 2")
    with pytest.raises(LayerError, match=r"<text>:3:3: layer 'pool' \(Pooling\): pool STOCHASTIC"):
        OneLayer(text, [np.zeros((1, 1, 4, 4))])


def test_a_bottom_without_height_and_width_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must have 4 axes .* has 2 3"):
        OneLayer(pooling("kernel_size: 2"), [np.zeros((2, 3))])
