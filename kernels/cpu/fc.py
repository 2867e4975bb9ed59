"""Fully connected: fc.h where the processor has AVX2 and FMA, else BLAS.

With transposed weights each of the three products is another one's: forward is backward-data of the
weights as they lie, and the other way round."""

import numpy as np

from .. import product_rules as rules
from ..interface import Array
from . import _native
from .border import check, need, unwarned
from .processor import AVX2
from .team import TEAM

_PIECES, _LEAST_ROWS = 8, 4  # of the images of a product
_BLOCK = 1 << 20  # elements of a weight gradient made at once, before it is added


def _check(
    function: str, x: Array, w: Array, y: Array, b: Array | None, *, transpose: bool
) -> None:
    check(function, x=x, w=w, y=y, b=b)
    rules.fc(function, x.shape, w.shape, y.shape, b, transpose=transpose)


def _rows(rows: int) -> int:
    """How many pieces `rows` are cut into; depends on the shape alone, so results do too."""
    return max(1, min(_PIECES, rows // _LEAST_ROWS))


def _product(left: Array, right: Array, out: Array) -> None:
    """out = left right, pieces of its rows side by side."""
    pieces = _rows(len(left))

    def work(_: int, piece: int) -> None:
        begin, end = (len(left) * i // pieces for i in (piece, piece + 1))
        np.matmul(left[begin:end], right, out=out[begin:end])

    TEAM.share(pieces, work)


def fc_workspace(n: int, c: int, k: int) -> int:
    """None: BLAS has its own."""
    return 0


@unwarned
def fc_forward(
    x: Array, w: Array, b: Array | None, y: Array, *, transpose: bool, workspace: Array
) -> None:
    _check("fc_forward", x, w, y, b, transpose=transpose)
    (n, c), k = x.shape, y.shape[1]
    if AVX2 is not None and not transpose:
        AVX2.fc_forward(n, c, k, x, w, b, y)
        return
    if AVX2 is not None:
        AVX2.fc_backward_data(n, k, c, w, x, y)
    else:
        _product(x, w if transpose else w.T, y)
    if b is not None:
        np.add(y, b, out=y)


@unwarned
def fc_backward_data(w: Array, dy: Array, dx: Array, *, transpose: bool, workspace: Array) -> None:
    _check("fc_backward_data", dx, w, dy, None, transpose=transpose)
    (n, c), k = dx.shape, dy.shape[1]
    if AVX2 is not None and transpose:
        AVX2.fc_forward(n, k, c, dy, w, None, dx)
        return
    if AVX2 is not None:
        AVX2.fc_backward_data(n, c, k, w, dy, dx)
        return
    _product(dy, w.T if transpose else w, dx)


@unwarned
def fc_backward_weights(
    x: Array,
    dy: Array,
    dw: Array | None,
    db: Array | None,
    *,
    transpose: bool,
    workspace: Array,
) -> None:
    check("fc_backward_weights", x=x, dy=dy, dw=dw, db=db)
    need("fc_backward_weights", dy.ndim == 2, "dy must be (n, k)", dy=dy.shape)
    if db is not None:
        rules.fc_bias_diff("fc_backward_weights", dy, db)
        _native.bias_backward(dy, db, len(dy), dy.shape[1], 1)
    if dw is None:
        return
    _check("fc_backward_weights", x, dw, dy, None, transpose=transpose)
    left, right = (x, dy) if transpose else (dy, x)
    if AVX2 is not None:
        AVX2.fc_backward_weights(len(x), right.shape[1], left.shape[1], right, left, dw)
        return
    rows = max(1, _BLOCK // dw.shape[1])
    blocks = np.empty((TEAM.size, min(rows, len(dw)), dw.shape[1]), dtype=np.float32)

    def work(thread: int, block: int) -> None:
        part = dw[block * rows : (block + 1) * rows]
        product = blocks[thread, : len(part)]
        np.matmul(left[:, block * rows : (block + 1) * rows].T, right, out=product)
        np.add(part, product, out=part)

    TEAM.share(-(-len(dw) // rows), work)
