"""Softmax, its loss, and accuracy, over the middle axis of (outer, c, inner)."""

import numpy as np

from .. import rules
from ..interface import Array
from . import _native
from .border import check, has_shape, same, unwarned


def softmax_forward(x: Array, y: Array) -> None:
    same("softmax_forward", x=x, y=y)
    rules.softmax("softmax_forward", x=x)
    _native.softmax_forward(x, y, *x.shape)


def softmax_backward(y: Array, dy: Array, dx: Array) -> None:
    same("softmax_backward", y=y, dy=dy, dx=dx)
    rules.softmax("softmax_backward", y=y)
    _native.softmax_backward(y, dy, dx, *y.shape)


def count_labels(label: Array, count: Array, *, ignore_label: int) -> None:
    check("count_labels", label=label)
    has_shape("count_labels", (1,), count=count)
    count[0] = max(1.0, _native.count_labels(label, ignore_label))


def _check(function: str, x: Array, label: Array) -> None:
    check(function, x=x, label=label)
    rules.labelled(function, x, label)


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
    rules.top_k(function, x, top_k)
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
    rules.per_class(function, x, y)
    right = _right(function, x, label, top_k, ignore_label).reshape(-1)
    if np.isnan(right).any():
        y.fill(np.nan)
        return
    counted = right != -1
    which = label.reshape(-1)[counted].astype(np.int64)
    hits = np.bincount(which, weights=right[counted], minlength=len(y))
    np.copyto(y, hits / np.maximum(np.bincount(which, minlength=len(y)), 1), casting="same_kind")
