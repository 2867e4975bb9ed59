"""What a kernel cannot work with is refused before it reads or writes: ValueError with the rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import Array

from cvgg.kernels import cpu
from cvgg.kernels.interface import Segment

CONV: dict[str, Any] = {"stride": (1, 1), "pad": (1, 1), "dilation": (1, 1), "group": 1}
X, W = (3, 2, 5, 4), (3, 2, 3, 3)  # y (3,3,5,4)
SEGMENTS = [Segment(0, 3, 1.0, 1.0)]


def floats(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def convolve(**changes: Any) -> None:
    said = {"x": floats(*X), "w": floats(*W), "b": None, "y": floats(3, 3, 5, 4), **CONV}
    said["workspace"] = floats(cpu.conv_workspace(X, W, **CONV))
    cpu.conv_forward(**{**said, **changes})


def update(scalars: Array) -> None:
    w, dw, history = floats(3), floats(3), floats(3)
    cpu.sgd_update(w, dw, history, scalars, segments=SEGMENTS, momentum=0.5, l1=0.0, l2=0.5)


def softmax_loss(loss: Array, count: Array) -> None:
    x, label = floats(1, 2, 1), floats(1, 1)
    cpu.softmax_loss_forward(x, label, floats(1, 2, 1), loss, count, ignore_label=None)


def softmax_loss_diff(dloss: Array, count: Array) -> None:
    x, label = floats(1, 2, 1), floats(1, 1)
    cpu.softmax_loss_backward(x, label, dloss, count, floats(1, 2, 1), ignore_label=None)


def accuracy(y: Array, count: Array) -> None:
    x, label = floats(1, 2, 1), floats(1, 1)
    cpu.accuracy_forward(x, label, y, count, top_k=1, ignore_label=None)


def batch_norm(factor: Array) -> None:
    x, y, c = floats(2, 3, 4), floats(2, 3, 4), floats(3)
    cpu.batch_norm_test_forward(x, y, c, c, c, c, factor, eps=0.5)


def batch_norm_in_training(factor: Array) -> None:
    x, y, c = floats(2, 3, 4), floats(2, 3, 4), floats(3)
    cpu.batch_norm_train_forward(x, y, c, c, c, c, factor, fraction=0.5, eps=0.5)


def eltwise_max_diff(argmax: Array) -> None:
    cpu.eltwise_max_backward(floats(30), argmax, floats(30), index=0)


def eltwise_prod_diff(index: int) -> None:
    cpu.eltwise_prod_backward([floats(2), floats(2)], floats(2), floats(2), index=index)


def dropout(state: Array) -> None:
    cpu.dropout_forward(floats(2), floats(2), state, layer=1, ratio=0.5)


MISTAKES: dict[str, tuple[Callable[[], None], str]] = {
    "a list": (lambda: convolve(x=[1]), "conv_forward: x must be a float32 array, is list"),
    "axes": (lambda: convolve(x=floats(2, 5, 4)), "conv_forward: 4 axes: x (2, 5, 4)"),
    "stride": (lambda: convolve(stride=(0, 1)), "above 0, pad at least 0: stride (0, 1)"),
    "dilation": (lambda: convolve(dilation=(1, 0)), "dilation (1, 0)"),
    "group": (lambda: convolve(group=0), "dilation (1, 1), group 0"),
    "pad": (lambda: convolve(pad=(1, -1)), "pad (1, -1)"),
    "workspace": (
        lambda: convolve(workspace=floats(7)),
        f"workspace needs {cpu.conv_workspace(X, W, **CONV)}: workspace 7",
    ),
    "argmax": (
        lambda: eltwise_max_diff(np.zeros(2, np.int32)),
        "eltwise_max_backward: argmax must have dy's shape: argmax (2,)",
    ),
    "no input": (
        lambda: cpu.eltwise_sum_forward([], floats(2), coeff=[]),
        "eltwise_sum_forward: at least one input: inputs 0",
    ),
    "index": (lambda: eltwise_prod_diff(2), "index must be an input: index 2"),
    "index below 0": (lambda: eltwise_prod_diff(-1), "index must be an input: index -1"),
    "state": (
        lambda: dropout(np.zeros(1, np.int64)),
        "dropout_forward: state must have its slots: state (1,)",
    ),
    "scalars": (
        lambda: update(floats(1)),
        "sgd_update: scalars must be (3,): scalars (1,)",
    ),
    "scalars of clipping": (
        lambda: cpu.clip_gradients(floats(3), floats(2), threshold=1.0, scale=1.0),
        "clip_gradients: scalars must be (3,): scalars (2,)",
    ),
    "loss": (lambda: softmax_loss(floats(0), floats(1)), "loss must be (1,): loss (0,)"),
    "count": (lambda: softmax_loss(floats(1), floats(2)), "count must be (1,): count (2,)"),
    "dloss": (lambda: softmax_loss_diff(floats(2), floats(1)), "dloss must be (1,): dloss (2,)"),
    "accuracy": (lambda: accuracy(floats(2), floats(1)), "y must be (1,): y (2,)"),
    "labels": (
        lambda: cpu.count_labels(floats(3), floats(0), ignore_label=0),
        "count_labels: count must be (1,): count (0,)",
    ),
    "factor": (lambda: batch_norm(floats(0)), "scale_factor must be (1,): scale_factor (0,)"),
    "factor in training": (
        lambda: batch_norm_in_training(floats(2)),
        "batch_norm_train_forward: scale_factor must be (1,): scale_factor (2,)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_with_the_rule_and_the_values(name: str) -> None:
    call, words = MISTAKES[name]
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        call()
    assert words in str(raised.value)


@pytest.mark.parametrize("planned", [1, 2])
def test_a_workspace_of_fewer_threads_serves_a_larger_team(planned: int) -> None:
    """Another engine with more threads may be opened after a plan was made."""
    numbers = np.random.default_rng(9)
    x, w = (numbers.uniform(-1, 1, shape).astype(np.float32) for shape in (X, W))
    before = cpu.team.TEAM.size
    results = []
    try:
        cpu.set_threads(planned)
        workspace = np.full(cpu.conv_workspace(X, W, **CONV), np.nan, np.float32)
        for threads in (1, 3):
            cpu.set_threads(threads)
            y, dx, dw = floats(3, 3, 5, 4), floats(*X), floats(*W)
            cpu.conv_forward(x, w, None, y, **CONV, workspace=workspace)
            cpu.conv_backward_data(w, y, dx, **CONV, workspace=workspace)
            cpu.conv_backward_weights(x, y, dw, None, **CONV, workspace=workspace)
            results.append([each.tobytes() for each in (y, dx, dw)])
    finally:
        cpu.set_threads(before)
    assert results[0] == results[1]
