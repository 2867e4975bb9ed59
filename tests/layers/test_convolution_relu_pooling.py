"""Convolution, ReLU and 2 x 2 max-pooling as one layer: what the three do one by one."""

from dataclasses import replace

import numpy as np
import pytest
from emulator.driver import EmulatorDriver
from nets import TRAIN, conv, dummy_data, fc, loss, pool, relu

from cvgg.engine import Engine, open_engine
from cvgg.engine.cuda import CudaEngine
from cvgg.layers import infer
from cvgg.layers.base import Setting
from cvgg.netdef.graph import build
from cvgg.netdef.prototxt import read_net
from cvgg.plan import plan
from cvgg.testing import OneLayer

RANDOM = np.random.default_rng(9)
BLOCKS = conv("c", "x", 6) + relu("r", "c") + pool("p", "c")
X = RANDOM.uniform(-1, 1, (3, 5, 4, 8)).astype(np.float32)
W = RANDOM.uniform(-1, 1, (6, 5, 3, 3)).astype(np.float32)
B = RANDOM.uniform(-1, 1, 6).astype(np.float32)


def emulated(seed: int = 0) -> CudaEngine:
    return CudaEngine(EmulatorDriver(seed))


def apart(x: np.ndarray, w: np.ndarray, b: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, ...]:
    """y, dx, dw, db of the three layers on the CPU, convolution the direct way."""
    cpu = open_engine("cpu:direct", threads=2)
    text = conv("c", "x", len(w))
    blocks = [OneLayer(text, [x], params=[w, b], engine=cpu, phase=TRAIN)]
    for text in (relu("r", "c", "r"), pool("p", "r")):
        blocks.append(OneLayer(text, blocks[-1].forward(), engine=cpu, phase=TRAIN))
    (y,) = blocks[-1].forward()
    diffs = [dy]
    for block in reversed(blocks):
        diffs = block.backward(diffs)
    dw, db = blocks[0].param_diffs
    assert dw is not None
    assert db is not None
    return y, diffs[0], dw, db


SHAPES = {
    "few channels": ((3, 5, 4, 8), 6),
    "a rest of channels and columns": ((2, 9, 6, 22), 19),
    "four": ((9, 3, 2, 38), 4),
}


@pytest.mark.parametrize(("shape", "k"), SHAPES.values(), ids=SHAPES.keys())
def test_it_gives_what_the_three_layers_give(
    shape: tuple[int, ...], k: int, engine: Engine
) -> None:
    n, c, h, width = shape
    x, w, b = (
        RANDOM.uniform(-1, 1, each).astype(np.float32) for each in (shape, (k, c, 3, 3), (k,))
    )
    b -= np.sqrt(c, dtype=np.float32)  # so that some windows are below 0 all over
    dy = RANDOM.uniform(-1, 1, (n, k, h // 2, width // 2)).astype(np.float32)
    text = conv("c", "x", k) + relu("r", "c") + pool("p", "c")
    one = OneLayer(text, [x], params=[w, b], engine=engine, phase=TRAIN)
    assert one.layer.type == "Convolution+ReLU+Pooling"
    (y,) = one.forward()
    (dx,) = one.backward([dy])
    expected = apart(x, w, b, dy)
    assert 0.05 < (expected[0] == 0).mean() < 0.9
    # Of the largest value, as tests/kernels/test_winograd.py has it for each pass.
    bounds = (2e-5, 2e-5, 4e-5, 4e-5)
    for ours, theirs, bound in zip((y, dx, *one.param_diffs), expected, bounds, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound * np.abs(theirs).max())


def test_the_first_of_equals_takes_the_gradient_and_nan_none(engine: Engine) -> None:
    x = np.ones((1, 5, 4, 4), np.float32)  # equal everywhere but at the border
    x[0, 0, :2, :2] = np.nan
    dy = np.arange(24, dtype=np.float32).reshape(1, 6, 2, 2) + 1
    one = OneLayer(BLOCKS, [x], params=[np.abs(W), B * 0], engine=engine, phase=TRAIN)
    (y,) = one.forward()
    (dx,) = one.backward([dy])
    expected_y, expected_dx, *_ = apart(x, np.abs(W), B * 0, dy)
    assert (expected_y < 0).any()  # a window of NaN alone
    np.testing.assert_allclose(y, expected_y, rtol=1e-5)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-5, atol=1e-5)


def planned(blocks: str) -> list[str]:
    """Types of the steps that the CUDA engine would run."""
    graph = build(read_net(dummy_data(2, side=8) + blocks), phase=TRAIN)
    traits = replace(emulated().traits, copies=0)
    setting = Setting(TRAIN)
    made = plan(graph, infer(graph, setting), traits, setting, backward=True, keep=False)
    return [step.layer.type for step in made.steps]


def block(more_conv: str = "", more_relu: str = "", pooling: str = "pool: MAX") -> str:
    return f"""
    layer {{ name: "c" type: "Convolution" bottom: "data" top: "c"
      convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 {more_conv} }} }}
    layer {{ name: "r" type: "ReLU" bottom: "c" top: "c" {more_relu} }}
    layer {{ name: "p" type: "Pooling" bottom: "c" top: "p"
      pooling_param {{ kernel_size: 2 stride: 2 {pooling} }} }}
    {fc("f", "p", 3)} {loss("f")}"""


def test_the_plan_puts_it_in_the_place_of_the_three() -> None:
    assert planned(block())[1] == "Convolution+ReLU+Pooling"


@pytest.mark.parametrize(
    "blocks",
    [
        block(more_relu="relu_param { negative_slope: 0.1 }"),
        block(pooling="pool: AVE"),
        block(pooling="pool: MAX pad: 1"),
        block(more_conv="group: 2"),
        block().replace("kernel_size: 3 pad: 1", "kernel_size: 4 pad: 1"),  # a plane of 7 x 7
        block().replace("kernel_size: 2 stride: 2", "kernel_size: 3 stride: 2"),
    ],
    ids=["slope", "average", "padding", "groups", "odd plane", "other window"],
)
def test_the_plan_leaves_what_it_cannot_do(blocks: str) -> None:
    assert planned(blocks)[1:3] == ["Convolution+ReLU", "Pooling"]
