"""Local response normalisation, across channels and within a channel."""

from .. import rules
from ..interface import Array
from . import _native
from .border import same


def lrn_across_forward(
    x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float, k: float
) -> None:
    same("lrn_across_forward", x=x, y=y, scale=scale)
    rules.lrn("lrn_across_forward", x, size)
    n, c, h, w = x.shape
    _native.lrn_across_forward(x, y, scale, n, c, h * w, size, alpha, beta, k)


def lrn_across_backward(
    x: Array,
    y: Array,
    scale: Array,
    dy: Array,
    dx: Array,
    *,
    size: int,
    alpha: float,
    beta: float,
) -> None:
    same("lrn_across_backward", x=x, y=y, scale=scale, dy=dy, dx=dx)
    rules.lrn("lrn_across_backward", x, size)
    n, c, h, w = x.shape
    _native.lrn_across_backward(x, y, scale, dy, dx, n, c, h * w, size, alpha, beta)


def lrn_within_forward(
    x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float
) -> None:
    same("lrn_within_forward", x=x, y=y, scale=scale)
    rules.lrn("lrn_within_forward", x, size)
    n, c, h, w = x.shape
    _native.lrn_within_forward(x, y, scale, n * c, h, w, size, alpha, beta)


def lrn_within_backward(
    x: Array,
    y: Array,
    scale: Array,
    dy: Array,
    dx: Array,
    *,
    size: int,
    alpha: float,
    beta: float,
) -> None:
    same("lrn_within_backward", x=x, y=y, scale=scale, dy=dy, dx=dx)
    rules.lrn("lrn_within_backward", x, size)
    n, c, h, w = x.shape
    _native.lrn_within_backward(x, y, scale, dy, dx, n * c, h, w, size, alpha, beta)
