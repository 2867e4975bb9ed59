"""One element at a time: ReLU, dropout, eltwise, split, concat, fill and copy."""

from collections.abc import Sequence

import numpy as np

from .. import rules
from ..interface import Array, State
from ..philox import Purpose
from . import _native
from .border import check, same, unwarned


def relu_forward(x: Array, y: Array, *, negative_slope: float) -> None:
    same("relu_forward", x=x, y=y)
    _native.relu_forward(x, y, negative_slope)


def relu_backward(x: Array, dy: Array, dx: Array, *, negative_slope: float) -> None:
    same("relu_backward", x=x, dy=dy, dx=dx)
    _native.relu_backward(x, dy, dx, negative_slope)


def _dropout(function: str, x: Array, y: Array, state: Array, layer: int, ratio: float) -> None:
    same(function, x=x, y=y)
    check(function, dtype="int64", state=state)
    rules.dropout(function, state, ratio)
    first = int(state[State.FIRST_IMAGE]) * (x.size // x.shape[0] if x.ndim and x.size else 1)
    _native.dropout(
        x,
        y,
        int(state[State.SEED]) & (2**64 - 1),
        int(state[State.DRAW]) & 0xFFFFFFFF,
        layer,
        Purpose.DROPOUT,
        first,
        int(ratio * 2**32),
        1.0 / (1.0 - ratio),
    )


def dropout_forward(x: Array, y: Array, state: Array, *, layer: int, ratio: float) -> None:
    _dropout("dropout_forward", x, y, state, layer, ratio)


def dropout_backward(dy: Array, dx: Array, state: Array, *, layer: int, ratio: float) -> None:
    _dropout("dropout_backward", dy, dx, state, layer, ratio)


def concat_forward(part: Array, whole: Array, *, at: int) -> None:
    _check_concat("concat_forward", part, whole, at)
    np.copyto(whole[:, at : at + part.shape[1]], part)


def concat_backward(whole: Array, part: Array, *, at: int) -> None:
    _check_concat("concat_backward", part, whole, at)
    np.copyto(part, whole[:, at : at + part.shape[1]])


def _check_concat(function: str, part: Array, whole: Array, at: int) -> None:
    check(function, part=part, whole=whole)
    rules.concat(function, part, whole, at)


def _check_all(function: str, xs: Sequence[Array], y: Array) -> None:
    rules.inputs(function, xs)
    same(function, y=y, **{f"x{i}": x for i, x in enumerate(xs)})


@unwarned
def eltwise_sum_forward(xs: Sequence[Array], y: Array, *, coeff: Sequence[float]) -> None:
    _check_all("eltwise_sum_forward", xs, y)
    rules.coefficients("eltwise_sum_forward", xs, coeff)
    np.multiply(xs[0], np.float32(coeff[0]), out=y)
    for x, factor in zip(xs[1:], coeff[1:], strict=True):
        np.add(y, x if factor == 1 else x * np.float32(factor), out=y)


@unwarned
def eltwise_sum_backward(dy: Array, dx: Array, *, coeff: float) -> None:
    same("eltwise_sum_backward", dy=dy, dx=dx)
    np.multiply(dy, np.float32(coeff), out=dx)


@unwarned
def eltwise_prod_forward(xs: Sequence[Array], y: Array) -> None:
    _check_all("eltwise_prod_forward", xs, y)
    np.copyto(y, xs[0])
    for x in xs[1:]:
        np.multiply(y, x, out=y)


@unwarned
def eltwise_prod_backward(xs: Sequence[Array], dy: Array, dx: Array, *, index: int) -> None:
    _check_all("eltwise_prod_backward", [*xs, dy], dx)
    rules.input_index("eltwise_prod_backward", xs, index)
    np.copyto(dx, dy)
    for i, x in enumerate(xs):
        if i != index:
            np.multiply(dx, x, out=dx)


def eltwise_max_forward(xs: Sequence[Array], y: Array, argmax: Array) -> None:
    _check_all("eltwise_max_forward", xs, y)
    check("eltwise_max_forward", dtype="int32", argmax=argmax)
    rules.eltwise_max("eltwise_max_forward", xs, y, argmax)
    _native.max_first(xs[0], xs[1], y, argmax)
    for i, x in enumerate(xs[2:], start=2):
        _native.max_next(x, y, argmax, i)


def eltwise_max_backward(dy: Array, argmax: Array, dx: Array, *, index: int) -> None:
    function = "eltwise_max_backward"
    same(function, dy=dy, dx=dx)
    check(function, dtype="int32", argmax=argmax)
    rules.argmax(function, argmax, dy=dy)
    _native.max_backward(dy, argmax, dx, index)


@unwarned
def split_backward(dys: Sequence[Array], dx: Array) -> None:
    _check_all("split_backward", dys, dx)
    np.copyto(dx, dys[0])
    for dy in dys[1:]:
        np.add(dx, dy, out=dx)


def fill(x: Array, *, value: float) -> None:
    check("fill", x=x)
    x.fill(value)


def copy(x: Array, y: Array) -> None:
    same("copy", x=x, y=y)
    np.copyto(y, x)


def convert(x: Array, y: Array) -> None:
    """There is one layout."""
    copy(x, y)


def find_nonfinite(x: Array) -> int:
    check("find_nonfinite", x=x)
    return int(_native.find_nonfinite(x))
