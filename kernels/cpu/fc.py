"""Fully connected: BLAS does the work."""

import numpy as np

from ..interface import Array
from . import _native
from .border import check, need, unwarned

_BLOCK = 1 << 20  # elements of a weight gradient made at once, before it is added


def _check(
    function: str, x: Array, w: Array, y: Array, b: Array | None, *, transpose: bool
) -> None:
    check(function, x=x, w=w, y=y, b=b)
    c, k = w.shape if transpose else w.shape[::-1]
    need(
        function,
        x.ndim == 2 and x.shape[1] == c and y.shape == (x.shape[0], k),
        "shapes must be x (n,c), w (c,k) or (k,c), y (n,k)",
        x=x.shape,
        w=w.shape,
        y=y.shape,
        transpose=transpose,
    )
    need(function, b is None or b.shape == (k,), f"b must be ({k},)", b=b is not None and b.shape)


@unwarned
def fc_forward(x: Array, w: Array, b: Array | None, y: Array, *, transpose: bool) -> None:
    _check("fc_forward", x, w, y, b, transpose=transpose)
    np.matmul(x, w if transpose else w.T, out=y)
    if b is not None:
        np.add(y, b, out=y)


@unwarned
def fc_backward_data(w: Array, dy: Array, dx: Array, *, transpose: bool) -> None:
    _check("fc_backward_data", dx, w, dy, None, transpose=transpose)
    np.matmul(dy, w.T if transpose else w, out=dx)


@unwarned
def fc_backward_weights(
    x: Array, dy: Array, dw: Array | None, db: Array | None, *, transpose: bool
) -> None:
    check("fc_backward_weights", x=x, dy=dy, dw=dw, db=db)
    if db is not None:
        need("fc_backward_weights", db.shape == dy.shape[1:], "db must be (k,)", db=db.shape)
        _native.bias_backward(dy, db, *dy.shape, 1)
    if dw is None:
        return
    _check("fc_backward_weights", x, dw, dy, None, transpose=transpose)
    left, right = (x, dy) if transpose else (dy, x)
    rows = max(1, _BLOCK // dw.shape[1])
    block = np.empty((min(rows, dw.shape[0]), dw.shape[1]), dtype=np.float32)
    for start in range(0, dw.shape[0], rows):
        part = dw[start : start + rows]
        np.matmul(left[:, start : start + rows].T, right, out=block[: len(part)])
        np.add(part, block[: len(part)], out=part)
