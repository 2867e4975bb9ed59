"""Checks of layers on images that have no weights: ReLU, pooling, LRN."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvgg.kernels.cuda import DeviceArray

from .case import Case, Host
from .device import Card
from .products import ends
from .scale import Scale

WINDOW: Mapping[str, Any] = {"window": (2, 2), "stride": (2, 2), "pad": (0, 0)}
SIZE, ALPHA, BETA, K = 5, 0.5, 0.75, 2.0  # of LRN; alpha so large that the sum matters
EXACT = 0.0  # nothing is rounded


@dataclass(frozen=True)
class Blob:
    """Values and a diff, on the host and on the card, and room for a result of their shape."""

    x: Host
    dy: Host
    there: DeviceArray
    there_dy: DeviceArray
    out: DeviceArray

    @classmethod
    def draw(cls, card: Card, shape: tuple[int, ...]) -> "Blob":
        x, dy = card.draw(*shape), card.draw(*shape)
        return cls(x, dy, card.put(x), card.put(dy), card.blank(shape))


def blob_cases(card: Card, scale: Scale) -> Iterator[Case]:
    """Every function on one blob."""
    c, side = scale.blob
    blob = Blob.draw(card, (scale.batch, c, side, side))
    yield from _relu(card, blob)
    yield from _pooling(card, blob)
    yield _lrn_forward(card, blob, "across")
    yield _lrn_backward(card, blob, "across")
    yield _lrn_forward(card, blob, "within")
    yield _lrn_backward(card, blob, "within")


def _relu(card: Card, blob: Blob) -> Iterator[Case]:
    kernels, x, dy = card.kernels, ends(blob.x), ends(blob.dy)
    yield Case(
        "relu_forward",
        lambda: kernels.relu_forward(blob.there, blob.out, negative_slope=0.25),
        {"y": blob.out},
        lambda found: [(ends(found["y"]), np.where(x > 0, x, x / 4))],
        limit=EXACT,
    )
    yield Case(
        "relu_backward",
        lambda: kernels.relu_backward(blob.there, blob.there_dy, blob.out, negative_slope=0.25),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), np.where(x > 0, dy, dy / 4))],
        limit=EXACT,
    )


# ---- pooling, windows of 2 x 2


def _pooling(card: Card, blob: Blob) -> Iterator[Case]:
    kernels, (n, c, h, w) = card.kernels, blob.x.shape
    half = (n, c, h // 2, w // 2)
    y, argmax, small = card.blank(half), card.blank(half, "int32"), card.draw(*half)
    there_small, cells = card.put(small), _cells(ends(blob.x))
    given = card.put(_in_plane(_cells(blob.x).argmax(-1), w))
    yield Case(
        "pool_max_forward",
        lambda: kernels.pool_max_forward(blob.there, y, argmax, **WINDOW),
        {"y": y, "argmax": argmax},
        lambda found: [
            (ends(found["y"]), cells.max(-1)),
            (ends(found["argmax"]), _in_plane(cells.argmax(-1), w)),
        ],
        limit=EXACT,
    )
    right = np.zeros((len(cells), c, h, w), np.float32)
    for i, j in np.ndindex(2, 2):
        right[:, :, i::2, j::2] = np.where(cells.argmax(-1) == 2 * i + j, ends(small), 0)
    yield Case(
        "pool_max_backward",
        lambda: kernels.pool_max_backward(there_small, given, blob.out, **WINDOW),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), right)],
        limit=EXACT,
    )
    yield Case(
        "pool_ave_forward",
        lambda: kernels.pool_ave_forward(blob.there, y, **WINDOW),
        {"y": y},
        lambda found: [(ends(found["y"]), cells.mean(-1, dtype=np.float64))],
    )
    yield Case(
        "pool_ave_backward",
        lambda: kernels.pool_ave_backward(there_small, blob.out, **WINDOW),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), ends(small).repeat(2, 2).repeat(2, 3) / 4)],
    )


def _cells(x: Host) -> Host:
    """The four cells of each window: (n, c, h/2, w/2, 4)."""
    return np.stack([x[:, :, i::2, j::2] for i, j in np.ndindex(2, 2)], axis=-1)


def _in_plane(cell: Host, w: int) -> Host:
    """The place of a window's cell in a plane w wide."""
    rows, columns = np.arange(cell.shape[2])[:, None], np.arange(cell.shape[3])
    place: Host = (2 * rows + cell // 2) * w + 2 * columns + cell % 2
    return place.astype(np.int32)


# ---- LRN


def _lrn_forward(card: Card, blob: Blob, kind: str) -> Case:
    function: Callable[..., None] = getattr(card.kernels, f"lrn_{kind}_forward")
    y, scale = card.blank(blob.x.shape), card.blank(blob.x.shape)
    more = {"k": K} if kind == "across" else {}
    right, scales = _lrn(ends(blob.x), kind)
    return Case(
        f"lrn_{kind}_forward",
        lambda: function(blob.there, y, scale, size=SIZE, alpha=ALPHA, beta=BETA, **more),
        {"y": y, "scale": scale},
        lambda found: [(ends(found["y"]), right), (ends(found["scale"]), scales)],
    )


def _lrn_backward(card: Card, blob: Blob, kind: str) -> Case:
    function: Callable[..., None] = getattr(card.kernels, f"lrn_{kind}_backward")
    numbers = {"size": SIZE, "alpha": ALPHA, "beta": BETA}
    y, scales = _lrn(blob.x, kind)
    given = card.put(y.astype(np.float32)), card.put(scales.astype(np.float32))
    y, scales, dy = ends(y), ends(scales), ends(blob.dy)
    window, divisor = _window(kind)
    passed = window(dy * y / scales)
    right = dy / scales**BETA - 2 * ALPHA * BETA / divisor * ends(blob.x) * passed
    return Case(
        f"lrn_{kind}_backward",
        lambda: function(blob.there, *given, blob.there_dy, blob.out, **numbers),
        {"dx": blob.out},
        lambda found: [(ends(found["dx"]), right)],
    )


def _lrn(x: Host, kind: str) -> tuple[Host, Host]:
    """y and scale."""
    window, divisor = _window(kind)
    wide = x.astype(np.float64)
    scale = (K if kind == "across" else 1) + ALPHA / divisor * window(wide**2)
    return wide / scale**BETA, scale


def _window(kind: str) -> tuple[Callable[[Host], Host], int]:
    """Sum over the window around each element, and what alpha is divided by."""
    if kind == "across":
        return lambda x: _sum_around(x, 1), SIZE
    return lambda x: _sum_around(_sum_around(x, 2), 3), SIZE**2


def _sum_around(x: Host, axis: int) -> Host:
    """Sums of SIZE neighbours along an axis, zeros outside."""
    pad = [(SIZE // 2, SIZE // 2) if i == axis else (0, 0) for i in range(4)]
    wide, length = np.pad(x, pad), x.shape[axis]
    total: Host = sum(wide.take(range(i, i + length), axis) for i in range(SIZE))  # type: ignore[assignment]
    return total
