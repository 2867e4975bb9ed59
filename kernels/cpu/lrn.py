"""Local response normalisation, across channels and within a channel."""

from ..interface import Array
from . import _native
from .border import need, same


def _window(function: str, x: Array, size: int) -> None:
    need(function, x.ndim == 4, "x must be (n, c, h, w)", x=x.shape)
    need(function, size > 0 and size % 2, "size must be odd", size=size)


def lrn_across_forward(
    x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float, k: float
) -> None:
    same("lrn_across_forward", x=x, y=y, scale=scale)
    _window("lrn_across_forward", x, size)
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
    _window("lrn_across_backward", x, size)
    n, c, h, w = x.shape
    _native.lrn_across_backward(x, y, scale, dy, dx, n, c, h * w, size, alpha, beta)


def lrn_within_forward(
    x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float
) -> None:
    same("lrn_within_forward", x=x, y=y, scale=scale)
    _window("lrn_within_forward", x, size)
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
    _window("lrn_within_backward", x, size)
    n, c, h, w = x.shape
    _native.lrn_within_backward(x, y, scale, dy, dx, n * c, h, w, size, alpha, beta)
