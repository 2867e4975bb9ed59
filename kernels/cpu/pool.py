"""Pooling over windows in Caffe's geometry; the caller gives the output's shape."""

from ..interface import Array, Pair
from . import _native
from .border import check, need


def _pooling(
    function: str, x: Array, y: Array, window: Pair, stride: Pair, pad: Pair
) -> tuple[int, _native.Pooling]:
    check(function, x=x, y=y)
    need(
        function,
        x.ndim == y.ndim == 4 and x.shape[:2] == y.shape[:2],
        "x and y must be (n, c, h, w) and (n, c, p, q)",
        x=x.shape,
        y=y.shape,
    )
    need(function, min(*window, *stride) > 0, "window and stride must be above 0", window=window)
    planes = x.shape[0] * x.shape[1]
    return planes, _native.Pooling(*x.shape[2:], *y.shape[2:], *window, *stride, *pad)


def pool_max_forward(
    x: Array, y: Array, argmax: Array, *, window: Pair, stride: Pair, pad: Pair
) -> None:
    function = "pool_max_forward"
    planes, geometry = _pooling(function, x, y, window, stride, pad)
    check(function, dtype="int32", argmax=argmax)
    need(function, argmax.shape == y.shape, "argmax must have y's shape", argmax=argmax.shape)
    _native.pool_max_forward(x, y, argmax, planes, geometry)


def pool_max_backward(dy: Array, argmax: Array, dx: Array) -> None:
    function = "pool_max_backward"
    check(function, dy=dy, dx=dx)
    check(function, dtype="int32", argmax=argmax)
    need(function, argmax.shape == dy.shape, "argmax must have dy's shape", argmax=argmax.shape)
    need(
        function,
        dx.ndim == dy.ndim == 4 and dx.shape[:2] == dy.shape[:2],
        "dx and dy must be (n, c, h, w) and (n, c, p, q)",
        dx=dx.shape,
        dy=dy.shape,
    )
    plane, out = dx.shape[2] * dx.shape[3], dy.shape[2] * dy.shape[3]
    _native.pool_max_backward(dy, argmax, dx, dx.shape[0] * dx.shape[1], plane, out)


def pool_ave_forward(x: Array, y: Array, *, window: Pair, stride: Pair, pad: Pair) -> None:
    _native.pool_ave_forward(x, y, *_pooling("pool_ave_forward", x, y, window, stride, pad))


def pool_ave_backward(dy: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair) -> None:
    _native.pool_ave_backward(dy, dx, *_pooling("pool_ave_backward", dx, dy, window, stride, pad))
