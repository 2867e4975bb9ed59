"""Subcommand layers: how long each layer of VGG takes, forward and backward, beside cuDNN."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cvgg.kernels.interface import Scalars, Segment

from .device import Card
from .products import conv_settings
from .records import Records
from .scale import Conv, Fc, Scale
from .timing import by_turns
from .torch_side import Torch, Work

PARTS = ("forward", "with pool", "mask back", "unpool back", "data back", "weights back")
PRODUCTS = ("forward", "data back", "weights back")


@dataclass(frozen=True)
class Task:
    """One pass of one layer: ours, and how torch makes it."""

    layer: str
    part: str  # one of PARTS
    ours: Callable[[], None]
    theirs: Callable[[Torch], Work]
    operations: int = 0  # multiplications and additions
    bytes: int = 0  # that must at least be read and written


def layers(card: Card, scale: Scale, records: Records, torch: Torch | None) -> None:
    """Times them all."""
    flush = card.blank((scale.flush,), "uint8")
    for task in tasks(card, scale):
        if records.reached("layers", f"{task.layer} {task.part}"):
            timers = {"ours": card.timer(task.ours, flush)}
            if torch is not None:
                timers["torch"] = torch.timer(task.theirs(torch))
            times = by_turns(timers, scale.rounds)
            records.add(
                "layers",
                layer=task.layer,
                part=task.part,
                operations=task.operations,
                bytes=task.bytes,
                **times,
            )
            if torch is not None:
                torch.forget()
    _sum_up(records)


def tasks(card: Card, scale: Scale) -> Iterator[Task]:
    """Convolutions with ReLU, their way back, pooling, the fully connected layers, the update."""
    for conv in scale.convs:
        yield from _conv(card, conv, scale.batch)
        gc.collect()
    for fc in scale.fcs:
        yield from _fc(card, fc, scale.batch)
    yield from _flat(card, scale)


def _conv(card: Card, conv: Conv, n: int) -> Iterator[Task]:
    kernels, side = card.kernels, conv.side
    shape_x, shape_y = (n, conv.c, side, side), (n, conv.k, side, side)
    shape_w = (conv.k, conv.c, conv.window, conv.window)
    settings = conv_settings(conv)
    size = kernels.conv_workspace(shape_x, shape_w, **settings)
    settings["workspace"] = card.blank((max(1, size),))
    x, y, dx = card.put(card.draw(*shape_x)), card.blank(shape_y), card.blank(shape_x)
    w, dw = (card.put_plain(card.draw(*shape_w)) for _ in range(2))
    b, db = (card.put(card.draw(conv.k)) for _ in range(2))
    dy = card.put(card.draw(*shape_y))
    work = 2 * y.size * conv.c * conv.window**2
    seen = x.nbytes + w.nbytes + y.nbytes
    yield Task(
        conv.name,
        "forward",
        lambda: kernels.conv_relu_forward(x, w, b, y, negative_slope=0.0, **settings),
        lambda torch: torch.conv_relu(shape_x, shape_w, conv.pad),
        work,
        seen,
    )
    if conv.pooled:
        half = (n, conv.k, side // 2, side // 2)
        pooled = card.blank(half)
        argmax = card.blank((n, side // 2, side // 2, (conv.k + 3) // 4), "uint8", "NCHW")
        yield Task(
            conv.name,
            "with pool",
            lambda: kernels.conv_relu_pool_forward(x, w, b, pooled, argmax, **settings),
            lambda torch: torch.conv_relu_pool(shape_x, shape_w, conv.pad),
            work,
            x.nbytes + w.nbytes + pooled.nbytes + argmax.nbytes,
        )
        down = card.put(card.draw(*half))
        yield Task(
            conv.name,
            "unpool back",
            lambda: kernels.relu_pool_bias_backward(pooled, argmax, down, dy, db),
            lambda torch: torch.relu_pool_bias_back(shape_y),
            bytes=2 * down.nbytes + argmax.nbytes + dy.nbytes,
        )
        card.write(dy, card.draw(*shape_y))
    yield Task(
        conv.name,
        "mask back",
        lambda: kernels.relu_bias_backward(y, dy, dy, db, negative_slope=0.0),
        lambda torch: torch.relu_bias_back(shape_y),
        bytes=3 * y.nbytes,
    )
    if conv.c > 3:  # nobody asks for the diff of images
        yield Task(
            conv.name,
            "data back",
            lambda: kernels.conv_backward_data(w, dy, dx, **settings),
            lambda torch: torch.conv_back(shape_x, shape_w, conv.pad, data=True),
            work,
            seen,
        )
    yield Task(
        conv.name,
        "weights back",
        lambda: kernels.conv_backward_weights(x, dy, dw, None, **settings),
        lambda torch: torch.conv_back(shape_x, shape_w, conv.pad, data=False),
        work,
        seen,
    )


def _fc(card: Card, fc: Fc, n: int) -> Iterator[Task]:
    kernels = card.kernels
    x, w, y = (card.put(card.draw(*shape)) for shape in ((n, fc.c), (fc.k, fc.c), (n, fc.k)))
    dx, dw, b = card.blank((n, fc.c)), card.put(card.draw(fc.k, fc.c)), card.put(card.draw(fc.k))
    workspace = card.blank((kernels.fc_workspace(n, fc.c, fc.k),))
    more: dict[str, Any] = {"transpose": False, "workspace": workspace}
    work, seen = 2 * n * fc.c * fc.k, x.nbytes + w.nbytes + y.nbytes
    yield Task(
        fc.name,
        "forward",
        lambda: kernels.fc_forward(x, w, b, y, **more),
        lambda torch: torch.fc(n, fc.c, fc.k),
        work,
        seen,
    )
    yield Task(
        fc.name,
        "data back",
        lambda: kernels.fc_backward_data(w, y, dx, **more),
        lambda torch: torch.fc_data_back(n, fc.c, fc.k),
        work,
        seen,
    )
    yield Task(
        fc.name,
        "weights back",
        lambda: kernels.fc_backward_weights(x, y, dw, None, **more),
        lambda torch: torch.fc_weights_back(n, fc.c, fc.k),
        work,
        seen + w.nbytes,
    )


def _flat(card: Card, scale: Scale) -> Iterator[Task]:
    """The update, and a copy: what the card's memory can do."""
    w, dw, history = (card.put(card.draw(scale.params)) for _ in range(3))
    scalars = card.put(card.draw(int(Scalars.SLOTS)) * 0)
    segments = [Segment(0, scale.params, 1.0, 1.0)]
    yield Task(
        "copy",
        "forward",
        lambda: card.kernels.copy(w, dw),
        lambda torch: torch.copy(scale.params),
        bytes=2 * w.nbytes,
    )
    yield Task(
        "update",
        "forward",
        lambda: card.kernels.sgd_update(
            w, dw, history, scalars, segments=segments, momentum=0.9, l1=0.0, l2=0.0005
        ),
        lambda torch: torch.update(scale.params),
        bytes=5 * w.nbytes,
    )


# ---- the summary


def _sum_up(records: Records) -> None:
    """A line for each layer: milliseconds of each part and, behind them, how many times as long
    torch takes."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in records.found.get("layers", []):
        found.setdefault(row["layer"], {})[row["part"]] = row
    rows = [["ms (torch / ours)", *PARTS, "TFLOP/s", "GB/s"]]
    for layer, parts in found.items():
        cells = [_cell(parts[part]) if part in parts else "" for part in PARTS]
        products = [parts[part] for part in PRODUCTS if part in parts]
        ms = sum(row["ours"]["ms"] for row in products) or float("inf")
        speeds = (sum(row["operations"] for row in products) / ms / 1e9, _gigabytes(parts))
        rows.append([layer, *cells, *(f"{speed:.1f}" if speed else "" for speed in speeds)])
    records.say_table(rows)


def _cell(row: dict[str, Any]) -> str:
    ms = row["ours"]["ms"]
    if "torch" not in row or not ms:
        return f"{ms:.3f}"
    return f"{ms:.3f} ({row['torch']['ms'] / ms:.2f})"


def _gigabytes(parts: dict[str, dict[str, Any]]) -> float:
    """Per second, of the part that only moves memory, if there is one."""
    for row in parts.values():
        if not row["operations"] and row["ours"]["ms"]:
            return float(row["bytes"] / row["ours"]["ms"] / 1e6)
    return 0.0
