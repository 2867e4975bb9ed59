"""Convolution: one image at a time is laid out as a matrix (im2col) and multiplied by BLAS."""

import numpy as np

from ..interface import Array, Pair
from . import _native
from .border import check, need, unwarned


def _out(length: int, size: int, stride: int, pad: int, dilation: int) -> int:
    return (length + 2 * pad - dilation * (size - 1) - 1) // stride + 1


def _plane(x: tuple[int, ...], w: tuple[int, ...], stride: Pair, pad: Pair, dilation: Pair) -> Pair:
    p, q = (_out(x[2 + i], w[2 + i], stride[i], pad[i], dilation[i]) for i in range(2))
    return p, q


def _pointwise(w: tuple[int, ...], stride: Pair, pad: Pair) -> bool:
    """The image is its own matrix."""
    return w[2:] == (1, 1) and stride == (1, 1) and pad == (0, 0)


def conv_workspace(
    x: tuple[int, ...],
    w: tuple[int, ...],
    *,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
) -> int:
    """The matrix of one image, and a place for one image's part of the weights' gradient."""
    p, q = _plane(x, w, stride, pad, dilation)
    columns = 0 if _pointwise(w, stride, pad) else x[1] * w[2] * w[3] * p * q
    return columns + w[0] * w[1] * w[2] * w[3]


def _check(
    function: str,
    x: Array,
    w: Array,
    y: Array,
    b: Array | None,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
    workspace: Array,
) -> None:
    check(function, x=x, w=w, y=y, b=b, workspace=workspace)
    k, c = w.shape[0], w.shape[1] * group
    need(
        function,
        x.shape[1] == c and k % group == 0,
        "w must be (k, c/group, r, s)",
        x=x.shape,
        w=w.shape,
        group=group,
    )
    expected = (x.shape[0], k, *_plane(x.shape, w.shape, stride, pad, dilation))
    need(function, y.shape == expected, f"y must be {expected}", y=y.shape)
    need(function, b is None or b.shape == (k,), f"b must be ({k},)", b=b is not None and b.shape)
    size = conv_workspace(x.shape, w.shape, stride=stride, pad=pad, dilation=dilation, group=group)
    need(function, workspace.size >= size, f"workspace must hold {size}", workspace=workspace.size)


class _Images:
    """Images of x as matrices (c r s, p q), one after the other in the same workspace."""

    def __init__(
        self,
        x: Array,
        w: Array,
        y: Array,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        workspace: Array,
    ) -> None:
        (_, c, self.h, self.w), (self.p, self.q) = x.shape, y.shape[2:]
        self.x, self.c = x, c
        self.rows = c * w.shape[2] * w.shape[3]
        self.pointwise = _pointwise(w.shape, stride, pad)
        size = 0 if self.pointwise else self.rows * self.p * self.q
        self.columns = workspace.reshape(-1)[:size]
        self.rest = workspace.reshape(-1)[size:]
        self.window = _native.Window(*w.shape[2:], *stride, *pad, *dilation)

    def matrix(self, image: int) -> Array:
        if self.pointwise:
            return self.x[image].reshape(self.rows, self.p * self.q)
        _native.im2col(
            self.x, image, self.columns, self.c, self.h, self.w, self.p, self.q, self.window
        )
        return self.columns.reshape(self.rows, self.p * self.q)

    def place(self, image: int) -> Array:
        """Where the gradient of an image's matrix goes."""
        whole = self.x[image] if self.pointwise else self.columns
        return whole.reshape(self.rows, self.p * self.q)

    def add_up(self, image: int) -> None:
        """The gradient of the image from that of its matrix."""
        if not self.pointwise:
            _native.col2im(
                self.columns, self.x, image, self.c, self.h, self.w, self.p, self.q, self.window
            )


@unwarned
def _forward(
    x: Array,
    w: Array,
    y: Array,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
    workspace: Array,
) -> None:
    images = _Images(x, w, y, stride, pad, dilation, workspace)
    n, k = y.shape[:2]
    weights = w.reshape(group, k // group, -1)
    for image in range(n):
        matrix = images.matrix(image).reshape(group, -1, y.shape[2] * y.shape[3])
        out = y[image].reshape(group, k // group, -1)
        for part in range(group):
            np.matmul(weights[part], matrix[part], out=out[part])


def conv_forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    *,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
    workspace: Array,
) -> None:
    _check("conv_forward", x, w, y, b, stride, pad, dilation, group, workspace)
    _forward(x, w, y, stride, pad, dilation, group, workspace)
    _native.bias_relu(y, b, *y.shape[:2], y.shape[2] * y.shape[3], False, 0.0)


def conv_relu_forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    *,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
    negative_slope: float,
    workspace: Array,
) -> None:
    _check("conv_relu_forward", x, w, y, b, stride, pad, dilation, group, workspace)
    _forward(x, w, y, stride, pad, dilation, group, workspace)
    _native.bias_relu(y, b, *y.shape[:2], y.shape[2] * y.shape[3], True, negative_slope)


@unwarned
def conv_backward_data(
    w: Array,
    dy: Array,
    dx: Array,
    *,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
    workspace: Array,
) -> None:
    _check("conv_backward_data", dx, w, dy, None, stride, pad, dilation, group, workspace)
    images = _Images(dx, w, dy, stride, pad, dilation, workspace)
    n, k = dy.shape[:2]
    weights = w.reshape(group, k // group, -1)
    for image in range(n):
        matrix = images.place(image).reshape(group, -1, dy.shape[2] * dy.shape[3])
        top = dy[image].reshape(group, k // group, -1)
        for part in range(group):
            np.matmul(weights[part].T, top[part], out=matrix[part])
        images.add_up(image)


@unwarned
def conv_backward_weights(
    x: Array,
    dy: Array,
    dw: Array | None,
    db: Array | None,
    *,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
    workspace: Array,
) -> None:
    function = "conv_backward_weights"
    check(function, x=x, dy=dy, dw=dw, db=db, workspace=workspace)
    n, k = dy.shape[:2]
    if db is not None:
        need(function, db.shape == (k,), f"db must be ({k},)", db=db.shape)
        _native.bias_backward(dy, db, n, k, dy.shape[2] * dy.shape[3])
    if dw is None:
        return
    _check(function, x, dw, dy, None, stride, pad, dilation, group, workspace)
    images = _Images(x, dw, dy, stride, pad, dilation, workspace)
    sums = dw.reshape(group, k // group, -1)
    one = images.rest[: dw.size].reshape(sums.shape)
    for image in range(n):
        matrix = images.matrix(image).reshape(group, -1, dy.shape[2] * dy.shape[3])
        top = dy[image].reshape(group, k // group, -1)
        for part in range(group):
            np.matmul(top[part], matrix[part].T, out=one[part])
        np.add(sums, one, out=sums)
