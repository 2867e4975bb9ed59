"""Checks of batch normalisation and scale: x (n, c, i)."""

from collections.abc import Iterator

import numpy as np

from .blobs import Blob
from .case import Case, Host, Results
from .device import Card
from .products import ends
from .scale import Scale

EPS, FRACTION = 1e-5, 0.9


def norm_cases(card: Card, scale: Scale) -> Iterator[Case]:
    """Every function on one blob."""
    c, side = scale.blob
    blob = Blob.draw(card, (scale.batch, c, side * side))
    yield from _batch_norm(card, blob)
    yield from _scale(card, blob)


def _batch_norm(card: Card, blob: Blob) -> Iterator[Case]:
    kernels, c = card.kernels, blob.x.shape[1]
    x = blob.x.astype(np.float64)
    m = x.size // c
    mean, variance = x.mean((0, 2)), x.var((0, 2))
    std = np.sqrt(variance + EPS)
    old = {
        "mean": card.draw(c),
        "variance": card.draw(c) ** 2,
        "scale_factor": np.array([3], np.float32),
    }
    made = {name: card.blank((c,)) for name in ("batch_mean", "batch_std")}
    running = {name: card.put(values) for name, values in old.items()}

    def train(found: Results) -> Iterator[tuple[Host, Host]]:
        yield ends(found["y"]), _by_channel(ends(blob.x), mean, std)
        yield found["batch_mean"], mean
        yield found["batch_std"], std
        yield found["mean"], FRACTION * old["mean"] + mean
        yield found["variance"], FRACTION * old["variance"] + m / (m - 1) * variance
        yield found["scale_factor"], FRACTION * old["scale_factor"].astype(np.float64) + 1

    def test(found: Results) -> Iterator[tuple[Host, Host]]:
        deviation = np.sqrt(old["variance"] / 3.0 + EPS)
        yield ends(found["y"]), _by_channel(ends(blob.x), old["mean"] / 3.0, deviation)
        yield found["batch_std"], deviation

    given = (blob.there, blob.out, *made.values(), *running.values())
    yield Case(
        "batch_norm_train_forward",
        lambda: kernels.batch_norm_train_forward(*given, fraction=FRACTION, eps=EPS),
        {"y": blob.out, **made, **running},
        train,
        old,
    )
    for name, values in old.items():
        card.write(running[name], values)
    yield Case(
        "batch_norm_test_forward",
        lambda: kernels.batch_norm_test_forward(*given, eps=EPS),
        {"y": blob.out, **made},
        test,
    )
    yield from _batch_norm_backward(card, blob, _by_channel(blob.x, mean, std), std)


def _batch_norm_backward(card: Card, blob: Blob, y: Host, std: Host) -> Iterator[Case]:
    kernels, dy = card.kernels, ends(blob.dy)
    there_y, there_std = card.put(y.astype(np.float32)), card.put(std.astype(np.float32))
    mean = blob.dy.mean((0, 2), dtype=np.float64)
    along = (blob.dy * y).mean((0, 2), dtype=np.float64)
    by_train = _by_channel(dy - ends(y) * _channels(along), mean, std)
    yield Case(
        "batch_norm_train_backward",
        lambda: kernels.batch_norm_train_backward(there_y, there_std, blob.there_dy, blob.out),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), by_train)],
    )
    yield Case(
        "batch_norm_test_backward",
        lambda: kernels.batch_norm_test_backward(there_std, blob.there_dy, blob.out),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), _by_channel(dy, 0 * std, std))],
    )


def _scale(card: Card, blob: Blob) -> Iterator[Case]:
    kernels, c = card.kernels, blob.x.shape[1]
    g, b = card.draw(c), card.draw(c)
    there_g, there_b, dg, db = card.put(g), card.put(b), card.blank((c,)), card.blank((c,))
    start = {"dg": card.draw(c), "db": card.draw(c)}
    wide = _channels(g.astype(np.float64))
    yield Case(
        "scale_forward",
        lambda: kernels.scale_forward(blob.there, there_g, there_b, blob.out),
        {"y": blob.out},
        lambda found: [(ends(found["y"]), wide * ends(blob.x) + _channels(b))],
    )
    yield Case(
        "scale_backward_data",
        lambda: kernels.scale_backward_data(there_g, blob.there_dy, blob.out),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), wide * ends(blob.dy))],
    )
    yield Case(
        "scale_backward_weights",
        lambda: kernels.scale_backward_weights(blob.there, blob.there_dy, dg, db),
        {"dg": dg, "db": db},
        lambda found: [
            (found["dg"], start["dg"] + (blob.x.astype(np.float64) * blob.dy).sum((0, 2))),
            (found["db"], start["db"] + blob.dy.sum((0, 2), dtype=np.float64)),
        ],
        start,
    )


def _channels(values: Host) -> Host:
    """A number of each channel, to stand beside (n, c, i)."""
    return values[:, None]


def _by_channel(x: Host, mean: Host, std: Host) -> Host:
    """(x - mean) / std in float64."""
    result: Host = (x - _channels(mean)) / _channels(std)
    return result
