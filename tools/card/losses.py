"""Checks of softmax, its loss, accuracy and dropout."""

from collections.abc import Iterator

import numpy as np

from cvgg.kernels.philox import Purpose, hash_name, philox

from .blobs import EXACT
from .case import Case, Host
from .device import Card
from .scale import Scale

LAYER, RATIO = hash_name("drop6"), 0.3
TOP = 5


def loss_cases(card: Card, scale: Scale) -> Iterator[Case]:
    """Every function."""
    yield from _losses(card, scale)
    yield from _dropout(card, scale)


def _losses(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, n, c = card.kernels, scale.batch, scale.classes
    x, dy = card.draw(n, c, 1), card.draw(n, c, 1)
    x *= 3
    label = card.draw_whole(c, n, 1)
    label[0] = -1  # ignored
    counted = np.maximum(1, (label != -1).sum())
    prob = np.exp(x - x.max(1, keepdims=True), dtype=np.float64)
    prob /= prob.sum(1, keepdims=True)
    there, there_dy, there_label = card.put(x), card.put(dy), card.put(label)
    there_prob, count = card.put(prob.astype(np.float32)), card.put(np.array([counted], np.float32))
    out, one, dloss = card.blank(x.shape), card.blank((1,)), card.put(np.array([2.5], np.float32))
    taken = np.maximum(label, 0).astype(int)[:, None]
    losses = -np.log(np.take_along_axis(prob, taken, 1))[:, 0]
    loss = np.where(label == -1, 0, losses).sum() / counted
    target = np.zeros_like(prob)
    np.put_along_axis(target, taken, 1, 1)
    down = np.where(label[:, None] == -1, 0, (prob - target) * 2.5 / counted)
    yield Case(
        "softmax_forward",
        lambda: kernels.softmax_forward(there, out),
        {"y": out},
        lambda found: [(found["y"], prob)],
    )
    yield Case(
        "softmax_backward",
        lambda: kernels.softmax_backward(there_prob, there_dy, out),
        {"dx": out},
        lambda found: [(found["dx"], prob * (dy - (prob * dy).sum(1, keepdims=True)))],
    )
    yield Case(
        "count_labels",
        lambda: kernels.count_labels(there_label, one, ignore_label=-1),
        {"count": one},
        lambda found: [(found["count"], np.array([counted]))],
        limit=EXACT,
    )
    yield Case(
        "softmax_loss_forward",
        lambda: kernels.softmax_loss_forward(there, there_label, out, one, count, ignore_label=-1),
        {"prob": out, "loss": one},
        lambda found: [(found["prob"], prob), (found["loss"], np.array([loss]))],
    )
    yield Case(
        "softmax_loss_backward",
        lambda: kernels.softmax_loss_backward(
            there_prob, there_label, dloss, count, out, ignore_label=-1
        ),
        {"dx": out},
        lambda found: [(found["dx"], down)],
    )
    yield from _accuracy(card, x, label, float(counted))


def _accuracy(card: Card, x: Host, label: Host, counted: float) -> Iterator[Case]:
    kernels, c = card.kernels, x.shape[1]
    there, there_label = card.put(x), card.put(label)
    count, one, classes = (
        card.put(np.array([counted], np.float32)),
        card.blank((1,)),
        card.blank((c,)),
    )
    scores = np.take_along_axis(x, np.maximum(label, 0).astype(int)[:, None], 1)
    hit = ((x >= scores).sum(1) <= TOP) & (label != -1)  # the label itself is one of those
    occurs = np.array([(label == i).sum() for i in range(c)])
    hits = np.array([hit[label == i].sum() for i in range(c)])
    yield Case(
        "accuracy_forward",
        lambda: kernels.accuracy_forward(
            there, there_label, one, count, top_k=TOP, ignore_label=-1
        ),
        {"y": one},
        lambda found: [(found["y"], np.array([hit.sum() / counted]))],
    )
    yield Case(
        "accuracy_per_class_forward",
        lambda: kernels.accuracy_per_class_forward(
            there, there_label, classes, top_k=TOP, ignore_label=-1
        ),
        {"y": classes},
        lambda found: [(found["y"], hits / np.maximum(occurs, 1))],
    )


# ---- dropout


def _dropout(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, state = card.kernels, card.state()
    x = card.draw(scale.batch, 4 * scale.classes)
    there, out = card.put(x), card.blank(x.shape)
    first = 3 * x.shape[1]  # state() begins with the batch's image 3
    words = philox((np.arange((first + x.size + 3) // 4), 5, LAYER, Purpose.DROPOUT), 1)
    kept = (words.reshape(-1)[first : first + x.size] >= int(RATIO * 2**32)).reshape(x.shape)
    right = np.where(kept, x / (1 - RATIO), 0)
    for way in ("forward", "backward"):
        function = getattr(kernels, f"dropout_{way}")
        yield Case(
            f"dropout_{way}",
            lambda function=function: function(there, out, state, layer=LAYER, ratio=RATIO),  # type: ignore[misc]
            {"y": out},
            lambda found: [(found["y"], right), (found["y"] != 0, kept)],
        )
