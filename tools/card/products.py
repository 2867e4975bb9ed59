"""Checks of convolutions and fully connected layers, forward and backward."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import exact
from .case import Case, Host, Results
from .device import Card
from .scale import Conv, Fc, Scale

MOST_PLACES = 4096  # of a result that are compared
BACKWARD_PLACES = 48  # of a gradient of weights: each is a sum over all pixels


def conv_settings(conv: Conv) -> dict[str, Any]:
    pair = (conv.pad, conv.pad)
    return {"stride": (1, 1), "pad": pair, "dilation": (1, 1), "group": 1}


def conv_cases(card: Card, conv: Conv, scale: Scale) -> Iterator[Case]:
    """Every function of one convolution; it is alone, with ReLU, and with ReLU and pooling."""
    n, side, kernels = conv.images or scale.batch, conv.side, card.kernels
    shape_x, shape_y = (n, conv.c, side, side), (n, conv.k, side, side)
    terms = conv.c * conv.window**2
    x = card.draw(*shape_x)
    w = card.random.standard_normal((conv.k, conv.c, conv.window, conv.window), np.float32)
    w *= np.float32(np.sqrt(2 / terms))
    b = card.draw(conv.k)
    settings = conv_settings(conv)
    size = kernels.conv_workspace(shape_x, w.shape, **settings)
    settings["workspace"] = card.blank((max(1, size),))
    there_x, there_w, there_b = card.put(x), card.put_plain(w), card.put(b)
    there_y = card.blank(shape_y)
    count = min(MOST_PLACES, scale.products // terms)

    def compare_forward(found: Results) -> Iterator[tuple[Host, Host]]:
        at = exact.places(card.random, shape_y, count)
        yield found["y"][at], exact.conv(x, w, b, at)

    def compare_relu(found: Results) -> Iterator[tuple[Host, Host]]:
        at = exact.places(card.random, shape_y, count)
        yield found["y"][at], np.maximum(exact.conv(x, w, b, at), 0)

    yield Case(
        f"conv_forward {conv.name}",
        lambda: kernels.conv_forward(there_x, there_w, there_b, there_y, **settings),
        {"y": there_y},
        compare_forward,
    )
    yield Case(
        f"conv_relu_forward {conv.name}",
        lambda: kernels.conv_relu_forward(
            there_x, there_w, there_b, there_y, negative_slope=0.0, **settings
        ),
        {"y": there_y},
        compare_relu,
    )
    if conv.pooled:
        yield _pooled(card, conv, scale, x, w, b, (there_x, there_w, there_b), settings)
    dy = card.draw(*shape_y)
    card.write(there_y, dy)
    yield from _conv_backward(card, conv, scale, x, w, dy, (there_x, there_w, there_y), settings)


def _pooled(
    card: Card,
    conv: Conv,
    scale: Scale,
    x: Host,
    w: Host,
    b: Host,
    there: tuple[Any, ...],
    settings: dict[str, Any],
) -> Case:
    shape = (x.shape[0], conv.k, conv.side // 2, conv.side // 2)
    y = card.blank(shape)
    argmax = card.blank((shape[0], *shape[2:], (conv.k + 3) // 4), "uint8", "NCHW")
    count = min(MOST_PLACES, scale.products // (4 * conv.c * conv.window**2))

    def compare(found: Results) -> Iterator[tuple[Host, Host]]:
        at = n, k, p, q = exact.places(card.random, shape, count)
        right, four = exact.pooled(x, w, b, at)
        yield found["y"][at], right
        place = found["argmax"][n, p, q, k // 4] >> 2 * (k % 4) & 3
        yield four[np.arange(k.size), place], right  # where it says, the maximum is

    return Case(
        f"conv_relu_pool_forward {conv.name}",
        lambda: card.kernels.conv_relu_pool_forward(*there, y, argmax, **settings),
        {"y": y, "argmax": argmax},
        compare,
    )


def _conv_backward(
    card: Card,
    conv: Conv,
    scale: Scale,
    x: Host,
    w: Host,
    dy: Host,
    there: tuple[Any, ...],
    settings: dict[str, Any],
) -> Iterator[Case]:
    kernels, (there_x, there_w, there_dy) = card.kernels, there
    dx, dw, db = card.blank(x.shape), card.blank(w.shape, layout="NCHW"), card.blank((conv.k,))
    terms, pixels = conv.k * conv.window**2, dy.size // conv.k
    count = min(MOST_PLACES, scale.products // terms)
    places = max(8, min(BACKWARD_PLACES, scale.products // pixels))

    def compare_data(found: Results) -> Iterator[tuple[Host, Host]]:
        at = exact.places(card.random, x.shape, count)
        yield found["dx"][at], exact.conv_data(w, dy, at)

    def compare_weights(found: Results) -> Iterator[tuple[Host, Host]]:
        at = exact.places(card.random, w.shape, places)
        yield found["dw"][at], start["dw"][at] + exact.conv_weights(x, dy, conv.window, at)
        yield found["db"], start["db"] + dy.sum((0, 2, 3), dtype=np.float64)

    yield Case(
        f"conv_backward_data {conv.name}",
        lambda: kernels.conv_backward_data(there_w, there_dy, dx, **settings),
        {"dx": dx},
        compare_data,
    )
    start = {"dw": card.random.standard_normal(w.shape, np.float32), "db": card.draw(conv.k)}
    yield Case(
        f"conv_backward_weights {conv.name}",
        lambda: kernels.conv_backward_weights(there_x, there_dy, dw, db, **settings),
        {"dw": dw, "db": db},
        compare_weights,
        start,
    )


def mask_cases(card: Card, conv: Conv, scale: Scale) -> Iterator[Case]:
    """The way back through ReLU, and through pooling and ReLU, with the bias' gradient."""
    n, k, side, kernels = conv.images or scale.batch, conv.k, conv.side, card.kernels
    y, dy, start = card.draw(n, k, side, side), card.draw(n, k, side, side), card.draw(k)
    there_y, there_dy, db = card.put(y), card.put(dy), card.blank((k,))
    dx = card.blank(y.shape)

    def compare(found: Results) -> Iterator[tuple[Host, Host]]:
        yield ends(found["dx"]), np.where(ends(y) > 0, ends(dy), 0)
        yield found["db"], start + np.where(y > 0, dy, 0).sum((0, 2, 3), dtype=np.float64)

    yield Case(
        f"relu_bias_backward {conv.name}",
        lambda: kernels.relu_bias_backward(there_y, there_dy, dx, db, negative_slope=0.0),
        {"dx": dx, "db": db},
        compare,
        {"db": start},
    )
    if not conv.pooled:
        return
    half = side // 2
    small_y, small_dy = card.draw(n, k, half, half), card.draw(n, k, half, half)
    argmax = card.random.integers(0, 256, (n, half, half, (k + 3) // 4), np.uint8)
    given = card.put(small_y), card.put_plain(argmax), card.put(small_dy)

    def compare_pooled(found: Results) -> Iterator[tuple[Host, Host]]:
        passed = np.where(small_y > 0, small_dy, 0)
        channel = np.arange(k)
        place = np.moveaxis(ends(argmax)[..., channel // 4] >> 2 * (channel % 4) & 3, -1, 1)
        right = np.zeros((len(place), k, side, side), np.float32)
        for i, j in np.ndindex(2, 2):
            right[:, :, i::2, j::2] = np.where(place == 2 * i + j, ends(passed), 0)
        yield ends(found["dx"]), right
        yield found["db"], start + passed.sum((0, 2, 3), dtype=np.float64)

    yield Case(
        f"relu_pool_bias_backward {conv.name}",
        lambda: kernels.relu_pool_bias_backward(*given, dx, db),
        {"dx": dx, "db": db},
        compare_pooled,
        {"db": start},
    )


def fc_cases(card: Card, fc: Fc, scale: Scale) -> Iterator[Case]:
    """The three functions of a fully connected layer."""
    n, c, k, kernels = scale.batch, fc.c, fc.k, card.kernels
    x, dy, b = card.draw(n, c), card.draw(n, k), card.draw(k)
    w = card.draw(k, c)
    w *= np.float32(np.sqrt(2 / c))
    there_x, there_dy, there_w, there_b = map(card.put, (x, dy, w, b))
    workspace = card.blank((kernels.fc_workspace(n, c, k),))
    y, dx, dw, db = card.blank((n, k)), card.blank((n, c)), card.blank((k, c)), card.blank((k,))
    some_k = card.random.integers(0, k, max(1, min(k, scale.products // (n * c))))
    some_c = card.random.integers(0, c, max(1, min(c, scale.products // (n * k))))

    def compare_forward(found: Results) -> Iterator[tuple[Host, Host]]:
        right = x.astype(np.float64) @ w[some_k].T.astype(np.float64) + b[some_k]
        yield found["y"][:, some_k], right

    def compare_data(found: Results) -> Iterator[tuple[Host, Host]]:
        yield found["dx"][:, some_c], dy.astype(np.float64) @ w[:, some_c].astype(np.float64)

    def compare_weights(found: Results) -> Iterator[tuple[Host, Host]]:
        product = dy[:, some_k].T.astype(np.float64) @ x.astype(np.float64)
        yield found["dw"][some_k], start["dw"][some_k] + product
        yield found["db"], start["db"] + dy.sum(0, dtype=np.float64)

    yield Case(
        f"fc_forward {fc.name}",
        lambda: kernels.fc_forward(
            there_x, there_w, there_b, y, transpose=False, workspace=workspace
        ),
        {"y": y},
        compare_forward,
    )
    yield Case(
        f"fc_backward_data {fc.name}",
        lambda: kernels.fc_backward_data(
            there_w, there_dy, dx, transpose=False, workspace=workspace
        ),
        {"dx": dx},
        compare_data,
    )
    start = {"dw": card.draw(k, c), "db": card.draw(k)}
    yield Case(
        f"fc_backward_weights {fc.name}",
        lambda: kernels.fc_backward_weights(
            there_x, there_dy, dw, db, transpose=False, workspace=workspace
        ),
        {"dw": dw, "db": db},
        compare_weights,
        start,
    )


def ends(values: Host) -> Host:
    """The first and the last image."""
    return values[[0, -1]]
