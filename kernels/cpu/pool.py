"""Pooling over windows in Caffe's geometry; the caller gives the output's shape."""

from .. import rules
from ..interface import Array, Pair
from . import _native
from .border import check
from .processor import AVX2


def _geometry(x: Array, y: Array, window: Pair, stride: Pair, pad: Pair) -> _native.Pooling:
    return _native.Pooling(*x.shape[2:], *y.shape[2:], *window, *stride, *pad)


def _halves(x: Array, y: Array, window: Pair, stride: Pair, pad: Pair) -> bool:
    """Windows of 2 x 2 that cover the plane without a rest, on a processor with a kernel for it."""
    h, w = x.shape[2:]
    plain = window == stride == (2, 2) and pad == (0, 0)
    return AVX2 is not None and plain and (h, w) == tuple(2 * each for each in y.shape[2:])


def pool_max_forward(
    x: Array, y: Array, argmax: Array, *, window: Pair, stride: Pair, pad: Pair
) -> None:
    function = "pool_max_forward"
    check(function, x=x, y=y)
    rules.pooling(function, window, stride, x=x, y=y)
    check(function, dtype="int32", argmax=argmax)
    rules.argmax(function, argmax, y=y)
    planes = x.shape[0] * x.shape[1]
    if _halves(x, y, window, stride, pad):
        AVX2.pool2_forward(x, y, argmax, planes, *x.shape[2:])
        return
    _native.pool_max_forward(x, y, argmax, planes, _geometry(x, y, window, stride, pad))


def pool_max_backward(
    dy: Array, argmax: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair
) -> None:
    """argmax says it all: `pad` is for backends that look from dx for the windows."""
    function = "pool_max_backward"
    check(function, dy=dy, dx=dx)
    check(function, dtype="int32", argmax=argmax)
    rules.argmax(function, argmax, dy=dy)
    rules.pooling(function, window, stride, dx=dx, dy=dy)
    if _halves(dx, dy, window, stride, pad):
        AVX2.pool2_backward(dy, argmax, dx, dx.shape[0] * dx.shape[1], *dx.shape[2:])
        return
    plane, out = dx.shape[2] * dx.shape[3], dy.shape[2] * dy.shape[3]
    _native.pool_max_backward(dy, argmax, dx, dx.shape[0] * dx.shape[1], plane, out)


def pool_ave_forward(x: Array, y: Array, *, window: Pair, stride: Pair, pad: Pair) -> None:
    check("pool_ave_forward", x=x, y=y)
    rules.pooling("pool_ave_forward", window, stride, x=x, y=y)
    planes, geometry = x.shape[0] * x.shape[1], _geometry(x, y, window, stride, pad)
    _native.pool_ave_forward(x, y, planes, geometry)


def pool_ave_backward(dy: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair) -> None:
    check("pool_ave_backward", x=dx, y=dy)
    rules.pooling("pool_ave_backward", window, stride, x=dx, y=dy)
    planes, geometry = dx.shape[0] * dx.shape[1], _geometry(dx, dy, window, stride, pad)
    _native.pool_ave_backward(dy, dx, planes, geometry)
