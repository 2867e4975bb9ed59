"""Batch normalisation and scale, by channel: x and y are (n, c, inner)."""

import numpy as np

from .. import rules
from ..interface import Array
from . import _native
from .border import check, has_shape, same, unwarned


def _check(function: str, x: Array, **of_channels: Array | None) -> None:
    check(function, x=x)
    for name, array in of_channels.items():
        check(function, **{name: array})  # type: ignore[arg-type]
    rules.by_channel(function, x, **of_channels)


@unwarned
def batch_norm_train_forward(
    x: Array,
    y: Array,
    batch_mean: Array,
    batch_std: Array,
    mean: Array,
    variance: Array,
    scale_factor: Array,
    *,
    fraction: float,
    eps: float,
) -> None:
    function = "batch_norm_train_forward"
    same(function, x=x, y=y)
    has_shape(function, (1,), scale_factor=scale_factor)
    of_channels = {"batch_mean": batch_mean, "batch_std": batch_std, "mean": mean}
    _check(function, x, variance=variance, **of_channels)
    n, c, inner = x.shape
    means, variances = np.empty(c), np.empty(c)
    _native.moments(x, means, variances, n, c, inner)
    count = n * inner
    scale_factor[0] = fraction * scale_factor[0] + 1
    mean[:] = fraction * mean + means
    variance[:] = fraction * variance + count / max(count - 1, 1) * variances
    _normalise(x, y, batch_mean, batch_std, means, variances, eps)


@unwarned
def batch_norm_test_forward(
    x: Array,
    y: Array,
    batch_mean: Array,
    batch_std: Array,
    mean: Array,
    variance: Array,
    scale_factor: Array,
    *,
    eps: float,
) -> None:
    function = "batch_norm_test_forward"
    same(function, x=x, y=y)
    has_shape(function, (1,), scale_factor=scale_factor)
    of_channels = {"batch_mean": batch_mean, "batch_std": batch_std, "mean": mean}
    _check(function, x, variance=variance, **of_channels)
    factor = float(scale_factor[0])
    share = 1 / factor if factor else 0.0
    means, variances = mean.astype(np.float64) * share, variance.astype(np.float64) * share
    _normalise(x, y, batch_mean, batch_std, means, variances, eps)


def _normalise(
    x: Array,
    y: Array,
    batch_mean: Array,
    batch_std: Array,
    means: Array,
    variances: Array,
    eps: float,
) -> None:
    std = np.sqrt(variances + eps)
    batch_mean[:], batch_std[:] = means, std
    _native.affine(x, 1 / std, -means / std, y, *x.shape)


def batch_norm_train_backward(y: Array, batch_std: Array, dy: Array, dx: Array) -> None:
    same("batch_norm_train_backward", y=y, dy=dy, dx=dx)
    _check("batch_norm_train_backward", y, batch_std=batch_std)
    _native.batch_norm_backward(y, batch_std, dy, dx, *y.shape)


@unwarned
def batch_norm_test_backward(batch_std: Array, dy: Array, dx: Array) -> None:
    same("batch_norm_test_backward", dy=dy, dx=dx)
    _check("batch_norm_test_backward", dy, batch_std=batch_std)
    factors = 1 / batch_std.astype(np.float64)
    _native.affine(dy, factors, np.zeros_like(factors), dx, *dy.shape)


def scale_forward(x: Array, g: Array, b: Array | None, y: Array) -> None:
    same("scale_forward", x=x, y=y)
    _check("scale_forward", x, g=g, b=b)
    shift = np.zeros(len(g)) if b is None else b.astype(np.float64)
    _native.affine(x, g.astype(np.float64), shift, y, *x.shape)


def scale_backward_data(g: Array, dy: Array, dx: Array) -> None:
    same("scale_backward_data", dy=dy, dx=dx)
    _check("scale_backward_data", dy, g=g)
    _native.affine(dy, g.astype(np.float64), np.zeros(len(g)), dx, *dy.shape)


def scale_backward_weights(x: Array, dy: Array, dg: Array | None, db: Array | None) -> None:
    same("scale_backward_weights", x=x, dy=dy)
    _check("scale_backward_weights", x, dg=dg, db=db)
    if dg is not None:
        _native.scale_backward(x, dy, dg, *x.shape)
    if db is not None:
        _native.bias_backward(dy, db, *dy.shape)
