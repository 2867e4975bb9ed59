"""Some elements of large results in float64, where all of them would take hours.

Convolutions have stride 1 and a pad that keeps the image's size. x (n,c,h,w)  w (k,c,r,s)
y (n,k,h,w); `at` is a tuple of equally long arrays: the places of the elements that are wanted."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Host = NDArray[Any]
Places = tuple[Host, ...]


def places(random: np.random.Generator, shape: tuple[int, ...], count: int) -> Places:
    """Random places of an array, and its corners, where the border matters most."""
    corners = itertools.product(*({0, size - 1} for size in shape))
    drawn = np.stack([random.integers(0, size, count) for size in shape], axis=1)
    return tuple(np.concatenate([np.array(list(corners)), drawn]).T)


def conv(x: Host, w: Host, b: Host | None, at: Places) -> Host:
    """Elements of y: sum over c, r, s of x w, plus b."""
    n, k, p, q = at
    pad = w.shape[2] // 2
    y = np.zeros(n.size) if b is None else b[k].astype(np.float64)
    for r, s in itertools.product(range(w.shape[2]), range(w.shape[3])):
        rows, columns = p + r - pad, q + s - pad
        seen = _inside(rows, x.shape[2]) & _inside(columns, x.shape[3])
        image = x[n[seen], :, rows[seen], columns[seen]].astype(np.float64)
        y[seen] += (image * w[k[seen], :, r, s]).sum(1)
    return y


def conv_data(w: Host, dy: Host, at: Places) -> Host:
    """Elements of dx: sum over k, r, s of dy w."""
    n, c, h, v = at
    pad = w.shape[2] // 2
    dx = np.zeros(n.size)
    for r, s in itertools.product(range(w.shape[2]), range(w.shape[3])):
        rows, columns = h - r + pad, v - s + pad
        seen = _inside(rows, dy.shape[2]) & _inside(columns, dy.shape[3])
        diff = dy[n[seen], :, rows[seen], columns[seen]].astype(np.float64)
        dx[seen] += (diff * w[:, c[seen], r, s].T).sum(1)
    return dx


def conv_weights(x: Host, dy: Host, window: int, at: Places) -> Host:
    """Elements of dw: sum over images and pixels of x dy."""
    pad, (h, v) = window // 2, x.shape[2:]
    found = []
    for k, c, r, s in zip(*at, strict=True):
        rows, columns = _shifted(int(r) - pad, h), _shifted(int(s) - pad, v)
        image = x[:, c, rows[0], columns[0]].astype(np.float64)
        found.append((image * dy[:, k, rows[1], columns[1]]).sum())
    return np.array(found)


def pooled(x: Host, w: Host, b: Host, at: Places) -> tuple[Host, Host]:
    """Elements of the 2x2 maximum of relu(conv(x)), and the four values of each window (m, 4)."""
    n, k, p, q = at
    corners = [conv(x, w, b, (n, k, 2 * p + i, 2 * q + j)) for i in (0, 1) for j in (0, 1)]
    four = np.maximum(np.stack(corners, axis=1), 0)
    return four.max(1), four


def _inside(place: Host, size: int) -> Host:
    inside: Host = (place >= 0) & (place < size)
    return inside


def _shifted(by: int, size: int) -> tuple[slice, slice]:
    """Where an image moved `by` and the output overlap: the image's part, the output's part."""
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size + min(-by, 0))
