"""Each backend has the functions of `Kernels`; the CPU's say what is wrong with their arguments."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cvgg.kernels import cpu
from cvgg.kernels.interface import FusedKernels, Kernels, Segment

FUNCTIONS = sorted(name for name in vars(Kernels) if not name.startswith("_"))
CONV: dict[str, Any] = {"stride": (1, 1), "pad": (0, 0), "dilation": (1, 1), "group": 1}
POOL: dict[str, Any] = {"window": (2, 2), "stride": (2, 2), "pad": (0, 0)}
WORKSPACE = cpu.conv_workspace((1, 3, 2, 2), (4, 3, 2, 2), **CONV)
LRN: dict[str, Any] = {"size": 3, "alpha": 1.0, "beta": 0.75}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_backend_takes_the_arguments_of_the_interface(name: str, kernels: Kernels) -> None:
    wanted = list(inspect.signature(getattr(Kernels, name)).parameters.values())[1:]
    own = inspect.signature(getattr(kernels, name)).parameters.values()
    assert [(each.name, each.kind, each.default) for each in own] == [
        (each.name, each.kind, each.default) for each in wanted
    ]


def test_the_cpu_backend_exports_the_interface_and_set_threads_alone() -> None:
    fused = [name for name in vars(FusedKernels) if not name.startswith("_")]
    assert sorted(cpu.__all__) == sorted([*FUNCTIONS, *fused, "set_threads"])


def f(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def i(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.int32)


def conv(x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], **said: Any) -> None:
    workspace = said.pop("workspace", f(999))
    cpu.conv_forward(f(*x), f(*w), None, f(*y), **{**CONV, **said}, workspace=workspace)


# A mistake, and everything the message must say: function, rule, values.
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "dtype": (
        lambda: cpu.copy(np.zeros(3), f(3)),
        "copy: x must be a float32 array, is float64",
    ),
    "no array": (
        lambda: cpu.fill([1.0], value=2),
        "fill: x must be a float32 array, is list",
    ),
    "not contiguous": (
        lambda: cpu.copy(f(3, 2).T, f(2, 3)),
        "copy: x must be C-contiguous, has strides (4, 8) for shape (2, 3)",
    ),
    "shapes": (
        lambda: cpu.relu_forward(f(2, 3), f(1, 3), negative_slope=0),
        "relu_forward: shapes must be equal: x (2, 3), y (1, 3)",
    ),
    "conv channels": (
        lambda: conv((2, 3, 4, 4), (4, 2, 1, 1), (2, 4, 4, 4)),
        "conv_forward: w must be (k, c/group, r, s): x (2, 3, 4, 4), w (4, 2, 1, 1), group 1",
    ),
    "conv group": (
        lambda: conv((2, 4, 4, 4), (3, 2, 1, 1), (2, 3, 4, 4), group=2),
        "conv_forward: w must be (k, c/group, r, s): x (2, 4, 4, 4), w (3, 2, 1, 1), group 2",
    ),
    "conv top": (
        lambda: conv((2, 3, 5, 4), (4, 3, 2, 3), (2, 4, 4, 3)),
        "conv_forward: y must be (2, 4, 4, 2): y (2, 4, 4, 3)",
    ),
    "conv axes": (
        lambda: conv((2, 3, 5, 4, 7), (4, 3, 2, 3), (2, 4, 4, 2)),
        "conv_forward: 4 axes: x (2, 3, 5, 4, 7), w (4, 3, 2, 3)",
    ),
    "conv workspace": (
        lambda: conv((1, 3, 2, 2), (4, 3, 2, 2), (1, 4, 1, 1), workspace=f(59)),
        f"conv_forward: workspace needs {WORKSPACE}: workspace 59",
    ),
    "conv bias": (
        lambda: cpu.conv_forward(
            f(1, 3, 2, 2), f(4, 3, 1, 1), f(3), f(1, 4, 2, 2), **CONV, workspace=f(99)
        ),
        "conv_forward: b must be (4,): b (3,)",
    ),
    "conv db": (
        lambda: cpu.conv_backward_weights(
            f(1, 3, 2, 2), f(1, 4, 2, 2), None, f(3), **CONV, workspace=f(99)
        ),
        "conv_backward_weights: db must be (4,): db (3,)",
    ),
    "pool axes": (
        lambda: cpu.pool_ave_forward(f(2, 4, 4), f(2, 2, 2), **POOL),
        "pool_ave_forward: x and y must be (n, c, h, w) and (n, c, p, q): x (2, 4, 4), y (2, 2, 2)",
    ),
    "pool argmax": (
        lambda: cpu.pool_max_forward(f(1, 1, 4, 4), f(1, 1, 2, 2), i(1, 1, 4, 4), **POOL),
        "pool_max_forward: argmax must have y's shape: argmax (1, 1, 4, 4)",
    ),
    "pool argmax dtype": (
        lambda: cpu.pool_max_backward(f(1, 1, 2, 2), f(1, 1, 2, 2), f(1, 1, 4, 4), **POOL),
        "pool_max_backward: argmax must be a int32 array, is float32",
    ),
    "pool diffs": (
        lambda: cpu.pool_max_backward(f(1, 2, 2, 2), i(1, 2, 2, 2), f(1, 1, 4, 4), **POOL),
        (
            "pool_max_backward: dx and dy must be (n, c, h, w) and (n, c, p, q): "
            "dx (1, 1, 4, 4), dy (1, 2, 2, 2)"
        ),
    ),
    "lrn size": (
        lambda: cpu.lrn_within_forward(*[f(1, 2, 3, 4)] * 3, **{**LRN, "size": 4}),
        "lrn_within_forward: size must be odd: size 4",
    ),
    "lrn axes": (
        lambda: cpu.lrn_across_backward(*[f(2, 3)] * 5, **LRN),
        "lrn_across_backward: x must be (n, c, h, w): x (2, 3)",
    ),
    "fc": (
        lambda: cpu.fc_forward(f(2, 3), f(4, 3), None, f(2, 4), transpose=True, workspace=f(0)),
        (
            "fc_forward: shapes must be x (n,c), w (c,k) or (k,c), y (n,k): "
            "x (2, 3), w (4, 3), y (2, 4), transpose True"
        ),
    ),
    "fc axes": (
        lambda: cpu.fc_forward(f(2, 3), f(4, 3, 1), None, f(2, 4), transpose=False, workspace=f(0)),
        "fc_forward: w must have 2 axes: w (4, 3, 1)",
    ),
    "fc db": (
        lambda: cpu.fc_backward_weights(
            f(2, 3), f(2, 4), None, f(3), transpose=False, workspace=f(0)
        ),
        "fc_backward_weights: db must be (k,): db (3,)",
    ),
    "dropout ratio": (
        lambda: cpu.dropout_forward(f(2), f(2), np.zeros(8, np.int64), layer=1, ratio=1.0),
        "dropout_forward: ratio must be at least 0 and below 1: ratio 1.0",
    ),
    "concat": (
        lambda: cpu.concat_forward(f(2, 3, 5), f(2, 4, 5), at=2),
        "concat_forward: the part must lie inside the whole: part (2, 3, 5), whole (2, 4, 5), at 2",
    ),
    "eltwise coeff": (
        lambda: cpu.eltwise_sum_forward([f(2), f(2)], f(2), coeff=[1.0]),
        "eltwise_sum_forward: one coeff for each x: coeff [1.0]",
    ),
    "eltwise max of one": (
        lambda: cpu.eltwise_max_forward([f(2)], f(2), i(2)),
        "eltwise_max_forward: at least two inputs: inputs 1",
    ),
    "softmax axes": (
        lambda: cpu.softmax_forward(f(2, 3), f(2, 3)),
        "softmax_forward: x must be (outer, c, inner): x (2, 3)",
    ),
    "label": (
        lambda: cpu.softmax_loss_forward(
            f(2, 3, 4), f(2, 3), f(2, 3, 4), f(1), f(1), ignore_label=None
        ),
        (
            "softmax_loss_forward: x must be (outer, c, inner) and label (outer, inner): "
            "x (2, 3, 4), label (2, 3)"
        ),
    ),
    "top_k": (
        lambda: cpu.accuracy_forward(f(2, 3, 4), f(2, 4), f(1), f(1), top_k=4, ignore_label=None),
        "accuracy_forward: top_k must be 1 to c: top_k 4, c 3",
    ),
    "per class": (
        lambda: cpu.accuracy_per_class_forward(
            f(2, 3, 4), f(2, 4), f(4), top_k=1, ignore_label=None
        ),
        "accuracy_per_class_forward: y must be (c,): y (4,)",
    ),
    "scale": (
        lambda: cpu.scale_forward(f(2, 3, 4), f(4), None, f(2, 3, 4)),
        "scale_forward: x must be (n, c, inner) and g (c,): x (2, 3, 4), g (4,)",
    ),
    "transform place": (
        lambda: cpu.transform_forward(f(2, 3, 4, 4), i(3, 3), None, f(2, 3, 4, 4), scale=1),
        (
            "transform_forward: x and y must be (n,c,h,w) and place (n,3): "
            "x (2, 3, 4, 4), y (2, 3, 4, 4), place (3, 3)"
        ),
    ),
    "transform mean": (
        lambda: cpu.transform_forward(f(1, 3, 2, 2), i(1, 3), f(1, 1, 1), f(1, 3, 2, 2), scale=1),
        "transform_forward: mean must be (c,H,W): mean (1, 1, 1)",
    ),
    "transform crop": (
        lambda: cpu.transform_forward(
            f(1, 3, 2, 2), i(1, 3) + 1, f(3, 3, 2), f(1, 3, 2, 2), scale=1
        ),
        "transform_forward: crops must lie inside the mean image: mean (3, 3, 2), crop (2, 2)",
    ),
    "segment": (
        lambda: cpu.sgd_update(
            f(4), f(4), f(4), f(3), segments=[Segment(2, 5, 1, 1)], momentum=0, l1=0, l2=0
        ),
        "sgd_update: outside w: segment Segment(start=2, stop=5, lr_mult=1, decay_mult=1)",
    ),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_by_function_rule_and_values(
    call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
