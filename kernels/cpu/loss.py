"""Softmax, its loss, and accuracy, over the middle axis of (outer, c, inner)."""

import numpy as np

from ..interface import Array
from . import _native
from .border import check, has_shape, need, same, unwarned


def softmax_forward(x: Array, y: Array) -> None:
    same("softmax_forward", x=x, y=y)
    need("softmax_forward", x.ndim == 3, "x must be (outer, c, inner)", x=x.shape)
    _native.softmax_forward(x, y, *x.shape)


def softmax_backward(y: Array, dy: Array, dx: Array) -> None:
    same("softmax_backward", y=y, dy=dy, dx=dx)
    need("softmax_backward", y.ndim == 3, "y must be (outer, c, inner)", y=y.shape)
    _native.softmax_backward(y, dy, dx, *y.shape)


def count_labels(label: Array, count: Array, *, ignore_label: int) -> None:
    check("count_labels", label=label)
    has_shape("count_labels", (1,), count=count)
    count[0] = max(1.0, _native.count_labels(label, ignore_label))


def _check(function: str, x: Array, label: Array) -> None:
    check(function, x=x, label=label)
    need(
        function,
        x.ndim == 3 and label.shape == (x.shape[0], x.shape[2]),
        "x must be (outer, c, inner) and label (outer, inner)",
        x=x.shape,
        label=label.shape,
    )


def softmax_loss_forward(
    x: Array, label: Array, prob: Array, loss: Array, count: Array, *, ignore_label: int | None
) -> None:
    same("softmax_loss_forward", x=x, prob=prob)
    _check("softmax_loss_forward", x, label)
    has_shape("softmax_loss_forward", (1,), loss=loss, count=count)
    _native.softmax_forward(x, prob, *x.shape)
    outer, c, inner = x.shape
    ignoring = ignore_label is not None
    total = _native.loss_sum(prob, label, outer, c, inner, ignoring, ignore_label or 0)
    loss[0] = total / float(count[0])


def softmax_loss_backward(
    prob: Array, label: Array, dloss: Array, count: Array, dx: Array, *, ignore_label: int | None
) -> None:
    same("softmax_loss_backward", prob=prob, dx=dx)
    _check("softmax_loss_backward", prob, label)
    has_shape("softmax_loss_backward", (1,), dloss=dloss, count=count)
    factor = float(dloss[0]) / float(count[0])
    ignoring = ignore_label is not None
    outer, c, inner = prob.shape
    _native.loss_backward(prob, label, dx, outer, c, inner, ignoring, ignore_label or 0, factor)


def _right(
    function: str, x: Array, label: Array, top_k: int, ignore_label: int | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """For each position 1 or 0; -1 where ignored, NaN where the label is no class."""
    _check(function, x, label)
    need(function, 1 <= top_k <= x.shape[1], "top_k must be 1 to c", top_k=top_k, c=x.shape[1])
    right = np.empty(label.shape, dtype=np.float32)
    ignoring = ignore_label is not None
    outer, c, inner = x.shape
    _native.rank_labels(x, label, right, outer, c, inner, top_k, ignoring, ignore_label or 0)
    return right


@unwarned
def accuracy_forward(
    x: Array, label: Array, y: Array, count: Array, *, top_k: int, ignore_label: int | None
) -> None:
    has_shape("accuracy_forward", (1,), y=y, count=count)
    right = _right("accuracy_forward", x, label, top_k, ignore_label)
    y[0] = right[right != -1].sum(dtype=np.float64) / float(count[0])


def accuracy_per_class_forward(
    x: Array, label: Array, y: Array, *, top_k: int, ignore_label: int | None
) -> None:
    function = "accuracy_per_class_forward"
    check(function, y=y)
    need(function, y.shape == (x.shape[1],), "y must be (c,)", y=y.shape)
    right = _right(function, x, label, top_k, ignore_label).reshape(-1)
    if np.isnan(right).any():
        y.fill(np.nan)
        return
    counted = right != -1
    which = label.reshape(-1)[counted].astype(np.int64)
    hits = np.bincount(which, weights=right[counted], minlength=len(y))
    np.copyto(y, hits / np.maximum(np.bincount(which, minlength=len(y)), 1), casting="same_kind")
