"""What every kernel computes, as naive loops in float64: slow, short, and to be read at a glance.

Shapes and names are those of kernels/interface.py. Diffs are `gradient` of the forward loops unless
the forward has kinks or many params."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from cvgg.kernels.interface import Pair, Segment
from cvgg.kernels.philox import Purpose, philox

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int, ...]


def places(shape: Sequence[int]) -> Iterator[Shape]:
    """Every index of an array of this shape, in C order."""
    return itertools.product(*map(range, shape))


def gradient(forward: Callable[[Array], Array], x: Array, dy: Array) -> Array:
    """d(sum of dy forward(x))/dx by central differences: right to about 1e-9 of its size."""
    x, dx, step = x.astype(np.float64), np.zeros(x.shape), 1e-5
    for at in places(x.shape):
        here = x[at]
        x[at] = here + step
        above = forward(x)
        x[at] = here - step
        dx[at] = ((above - forward(x)) * dy).sum() / (2 * step)
        x[at] = here
    return dx


# ---- convolution


def conv_shape(x: Shape, w: Shape, stride: Pair, pad: Pair, dilation: Pair) -> Shape:
    """(n, k, p, q)."""
    p, q = (
        (x[2 + i] + 2 * pad[i] - dilation[i] * (w[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    )
    return x[0], w[0], p, q


def conv_terms(
    x: Shape, w: Shape, *, stride: Pair, pad: Pair, dilation: Pair, group: int
) -> Iterator[tuple[Shape, Shape, Shape]]:
    """The places in y, x and w of every product: y is the sum of x w over them."""
    for n, k, p, q in places(conv_shape(x, w, stride, pad, dilation)):
        for c, r, s in places(w[1:]):
            h = p * stride[0] - pad[0] + r * dilation[0]
            v = q * stride[1] - pad[1] + s * dilation[1]
            if 0 <= h < x[2] and 0 <= v < x[3]:
                yield (n, k, p, q), (n, k // (w[0] // group) * w[1] + c, h, v), (k, c, r, s)


# ---- pooling


def window_cells(place: int, window: int, stride: int, pad: int, size: int) -> tuple[range, int]:
    """Rows (or columns) of a window inside the image, and its length cut at size + pad."""
    start = place * stride - pad
    stop = min(start + window, size + pad)
    return range(max(start, 0), min(stop, size)), stop - start


def pool_max(x: Array, out: Pair, window: Pair, stride: Pair, pad: Pair) -> tuple[Array, Array]:
    """y and argmax; no cell above -FLT_MAX: -FLT_MAX and -1."""
    y = np.full((*x.shape[:2], *out), -float(np.finfo(np.float32).max))
    argmax = np.full(y.shape, -1)
    for n, c, p, q in places(y.shape):
        rows, _ = window_cells(p, window[0], stride[0], pad[0], x.shape[2])
        columns, _ = window_cells(q, window[1], stride[1], pad[1], x.shape[3])
        for h, w in itertools.product(rows, columns):
            if x[n, c, h, w] > y[n, c, p, q]:
                y[n, c, p, q], argmax[n, c, p, q] = x[n, c, h, w], h * x.shape[3] + w
    return y, argmax


def pool_ave(x: Array, out: Pair, window: Pair, stride: Pair, pad: Pair) -> Array:
    """Sum inside the image / size cut at h + pad, w + pad."""
    y = np.zeros((*x.shape[:2], *out))
    for p, q in places(out):
        rows, height = window_cells(p, window[0], stride[0], pad[0], x.shape[2])
        columns, width = window_cells(q, window[1], stride[1], pad[1], x.shape[3])
        for h, w in itertools.product(rows, columns):
            y[:, :, p, q] += x[:, :, h, w] / (height * width)
    return y


# ---- local response normalisation


def lrn_across(x: Array, size: int, alpha: float, beta: float, k: float) -> tuple[Array, Array]:
    """y and scale."""
    scale, half = np.full(x.shape, k, np.float64), size // 2
    for c, other in places((x.shape[1], x.shape[1])):
        if abs(c - other) <= half:
            scale[:, c] += alpha / size * x[:, other] ** 2
    return x / scale**beta, scale


def lrn_within(x: Array, size: int, alpha: float, beta: float) -> tuple[Array, Array]:
    """y and scale, by average pooling as the definition says."""
    half = (size - 1) // 2
    pooled = pool_ave(x.astype(np.float64) ** 2, x.shape[2:], (size, size), (1, 1), (half, half))
    scale = 1 + alpha * pooled
    return x / scale**beta, scale


# ---- elementwise


def relu(x: Array, slope: float) -> Array:
    return np.array([v if v > 0 else slope * v for v in x.flat]).reshape(x.shape)


def dropout_kept(shape: Shape, first_image: int, draw: int, seed: int, layer: int, ratio: float
) -> Array:  # fmt: skip
    """Which elements are kept."""
    kept, count = np.zeros(shape, bool), int(np.prod(shape[1:]))
    for i, at in enumerate(places(shape)):
        element = first_image * count + i
        words = philox((element // 4, draw, layer, Purpose.DROPOUT), seed)
        kept[at] = int(words[0, element % 4]) >= int(ratio * 2**32)
    return kept


def eltwise_max(xs: Sequence[Array]) -> tuple[Array, Array]:
    """y and argmax: the second of two equals that come first, then only what is larger."""
    y, argmax = np.zeros(xs[0].shape), np.zeros(xs[0].shape, int)
    for at in places(y.shape):
        values = [x[at] for x in xs]
        best = 0 if values[0] > values[1] else 1
        for i in range(2, len(xs)):
            best = i if values[i] > values[best] else best
        y[at], argmax[at] = values[best], best
    return y, argmax


# ---- softmax and what follows it: x (outer, c, inner)  label (outer, inner)


def softmax(x: Array) -> Array:
    y = np.zeros(x.shape)
    for o, i in places((x.shape[0], x.shape[2])):
        powers = [np.exp(float(v) - x[o, :, i].max()) for v in x[o, :, i]]
        y[o, :, i] = np.array(powers) / sum(powers)
    return y


def softmax_loss(x: Array, label: Array, ignore_label: int | None) -> Array:
    """Sum of the losses, shape (1,); divide it by the count."""
    prob = softmax(x)
    return np.array([sum(
        -np.log(max(prob[o, int(label[o, i]), i], float(np.finfo(np.float32).tiny)))
        for o, i in places(label.shape) if label[o, i] != ignore_label
    )])  # fmt: skip


def accuracy(x: Array, label: Array, top_k: int, ignore_label: int | None) -> tuple[Array, Array]:
    """By class: how many positions are right, and how many there are."""
    right, total = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for o, i in places(label.shape):
        if label[o, i] != ignore_label:
            own = int(label[o, i])
            better = sum(x[o, j, i] >= x[o, own, i] for j in range(x.shape[1]) if j != own)
            right[own] += better < top_k
            total[own] += 1
    return right, total


# ---- batch normalisation: x (n, c, inner)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance of each channel."""
    mean = np.array([x[:, c].astype(np.float64).mean() for c in range(x.shape[1])])
    square = [((x[:, c] - mean[c]) ** 2).mean() for c in range(x.shape[1])]
    return mean, np.array(square)


def batch_norm(x: Array, mean: Array, variance: Array, eps: float) -> Array:
    y = np.zeros(x.shape)
    for n, c, i in places(x.shape):
        y[n, c, i] = (x[n, c, i] - mean[c]) / np.sqrt(variance[c] + eps)
    return y


# ---- images and the update


def transform(x: Array, place: Array, mean: Array, scale: float) -> Array:
    """`mean` (c, H, W) or (c, 1, 1)."""
    y = np.zeros(x.shape)
    for n, c, h, w in places(x.shape):
        row, column, mirror = place[n]
        u, v = (0, 0) if mean.shape[1:] == (1, 1) else (row + h, column + w)
        to = x.shape[3] - 1 - w if mirror else w
        y[n, c, h, to] = (float(x[n, c, h, w]) - mean[c, u, v]) * scale
    return y


def sgd_update(w: Array, dw: Array, history: Array, rate: float, scale: float, *,
               segments: Sequence[Segment], momentum: float, l1: float, l2: float,
) -> tuple[Array, Array]:  # fmt: skip
    """The new w and history."""
    w, v = w.astype(np.float64), history.astype(np.float64)
    for each in segments:
        for i in range(each.start, each.stop):
            decay = l2 * w[i] + l1 * np.sign(w[i])
            v[i] = momentum * v[i] + rate * each.lr_mult * (scale * dw[i] + each.decay_mult * decay)
            w[i] -= v[i]
    return w, v
