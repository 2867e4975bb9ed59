"""Checks of what works on numbers one by one: sums, copies, images, updates."""

from collections.abc import Iterator

import numpy as np

from cvgg.kernels.interface import Scalars, Segment

from .blobs import EXACT
from .case import Case, Host, Results
from .device import Card
from .products import ends
from .scale import Scale

RATE, SCALE, MOMENTUM, L1, L2 = 0.5, 0.25, 0.9, 0.125, 0.0625
THRESHOLD = 0.5  # of a clipped gradient


def flat_cases(card: Card, scale: Scale) -> Iterator[Case]:
    """Every function."""
    yield from _eltwise(card, scale)
    yield from _concat(card, scale)
    yield from _arrays(card, scale)
    yield from _images(card, scale)
    yield from _update(card, scale)


# ---- several arrays


def _eltwise(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, (c, side), n = card.kernels, scale.blob, scale.batch
    xs = [card.draw(n, c, side, side) for _ in range(3)]
    there = [card.put(x) for x in xs]
    a, b, d = (ends(x).astype(np.float64) for x in xs)
    out, argmax = card.blank(xs[0].shape), card.blank(xs[0].shape, "int32")
    which = np.argmax([ends(x) for x in xs], axis=0)
    given = card.put(np.argmax(xs, axis=0).astype(np.int32))
    yield Case(
        "eltwise_sum_forward",
        lambda: kernels.eltwise_sum_forward(there, out, coeff=[0.5, -2.0, 3.0]),
        {"y": out},
        lambda found: [(ends(found["y"]), 0.5 * a - 2 * b + 3 * d)],
    )
    yield Case(
        "eltwise_sum_backward",
        lambda: kernels.eltwise_sum_backward(there[0], out, coeff=-2.0),
        {"dx": out},
        lambda found: [(ends(found["dx"]), -2 * a)],
        limit=EXACT,
    )
    yield Case(
        "eltwise_prod_forward",
        lambda: kernels.eltwise_prod_forward(there, out),
        {"y": out},
        lambda found: [(ends(found["y"]), a * b * d)],
    )
    yield Case(
        "eltwise_prod_backward",
        lambda: kernels.eltwise_prod_backward(there, there[0], out, index=1),
        {"dx": out},
        lambda found: [(ends(found["dx"]), a * a * d)],
    )
    yield Case(
        "eltwise_max_forward",
        lambda: kernels.eltwise_max_forward(there, out, argmax),
        {"y": out, "argmax": argmax},
        lambda found: [
            (ends(found["y"]), np.max([a, b, d], axis=0)),
            (ends(found["argmax"]), which),
        ],
        limit=EXACT,
    )
    yield Case(
        "eltwise_max_backward",
        lambda: kernels.eltwise_max_backward(there[0], given, out, index=2),
        {"dx": out},
        lambda found: [(ends(found["dx"]), np.where(which == 2, a, 0))],
        limit=EXACT,
    )
    yield Case(
        "split_backward",
        lambda: kernels.split_backward(there, out),
        {"dx": out},
        lambda found: [(ends(found["dx"]), a + b + d)],
    )


def _concat(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, (c, side), n = card.kernels, scale.blob, scale.batch
    part, whole = card.draw(n, c, side * side), card.draw(n, c + 7, side * side)
    there_part, there_whole = card.put(part), card.put(whole)
    forward = whole.copy()
    forward[:, 3 : 3 + c] = part
    yield Case(
        "concat_backward",
        lambda: kernels.concat_backward(there_whole, there_part, at=3),
        {"part": there_part},
        lambda found: [(found["part"], whole[:, 3 : 3 + c])],
        limit=EXACT,
    )
    given = card.put(part)
    yield Case(
        "concat_forward",
        lambda: kernels.concat_forward(given, there_whole, at=3),
        {"whole": there_whole},
        lambda found: [(found["whole"], forward)],
        {"whole": whole},
        limit=EXACT,
    )


def _arrays(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, (c, side), n = card.kernels, scale.blob, scale.batch
    x = card.draw(n, c, side, side)
    there, out, plain = card.put(x), card.blank(x.shape), card.blank(x.shape, layout="NCHW")
    place = (n - 1, c // 2, side // 2, 1)
    holed = x.copy()
    holed[place] = np.inf
    there_holed, found_at = card.put(holed), card.blank((2,), "int64")
    first = int(np.ravel_multi_index(place, x.shape))

    def find() -> None:
        answers = np.array([kernels.find_nonfinite(there), kernels.find_nonfinite(there_holed)])
        card.write(found_at, answers)

    yield Case(
        "fill",
        lambda: kernels.fill(out, value=-2.5),
        {"x": out},
        lambda found: [(ends(found["x"]), np.full_like(ends(x), -2.5))],
        limit=EXACT,
    )
    yield Case(
        "copy",
        lambda: kernels.copy(there, out),
        {"y": out},
        lambda found: [(found["y"], x)],
        limit=EXACT,
    )
    yield Case(
        "convert",
        lambda: kernels.convert(there, plain),
        {"y": plain},
        lambda found: [(found["y"], x)],
        limit=EXACT,
    )
    yield Case(
        "find_nonfinite",
        find,
        {"at": found_at},
        lambda found: [(found["at"], np.array([-1, first]))],
        limit=EXACT,
    )


# ---- images


def _images(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, n, side = card.kernels, scale.batch, 4 * scale.blob[1]
    pixels = card.random.integers(0, 256, (n, 3, side, side), np.uint8)
    whole = card.random.uniform(0, 255, (3, side + 32, side + 32)).astype(np.float32)
    place = card.random.integers(0, 32, (n, 3)).astype(np.int32)
    place[:, 2] %= 2
    y = card.blank(pixels.shape)
    there_place, mean = card.put(place), card.put_plain(whole)
    right = np.empty(ends(pixels).shape)
    for image, crop, (row, column, mirrored) in zip(right, ends(pixels), ends(place), strict=True):
        image[:] = (crop - whole[:, row : row + side, column : column + side]) * 0.5
        if mirrored:
            image[:] = image[:, :, ::-1].copy()
    for kind in ("uint8", "float32"):
        there = card.put_plain(pixels.astype(kind))
        yield Case(
            f"transform_forward {kind}",
            lambda there=there: kernels.transform_forward(there, there_place, mean, y, scale=0.5),  # type: ignore[misc]
            {"y": y},
            lambda found: [(ends(found["y"]), right)],
        )


# ---- update


def _update(card: Card, scale: Scale) -> Iterator[Case]:
    kernels, size = card.kernels, scale.params
    hosts = [card.draw(size) for _ in range(3)]
    w, dw, history = (card.put(host) for host in hosts)
    numbers = np.zeros(Scalars.SLOTS, np.float32)
    numbers[Scalars.RATE], numbers[Scalars.SCALE] = RATE, SCALE
    scalars = card.put(numbers)
    segments = [Segment(3, size // 2, 1.0, 1.0), Segment(size // 2, size - 5, 2.0, 0.0)]
    wide = [host.astype(np.float64) for host in hosts]
    norm = float(np.linalg.norm(wide[1]))

    def clipped(found: Results) -> Iterator[tuple[Host, Host]]:
        factor = SCALE * min(1.0, THRESHOLD / norm)
        yield found["scalars"], np.array([RATE, factor, 0])

    def updated(found: Results) -> Iterator[tuple[Host, Host]]:
        values, speed = wide[0].copy(), wide[2].copy()
        for part in segments:
            at = slice(part.start, part.stop)
            decay = L2 * wide[0][at] + L1 * np.sign(wide[0][at])
            gradient = SCALE * wide[1][at] + part.decay_mult * decay
            speed[at] = MOMENTUM * wide[2][at] + RATE * part.lr_mult * gradient
            values[at] -= speed[at]
        yield found["w"], values
        yield found["history"], speed

    yield Case(
        "clip_gradients",
        lambda: kernels.clip_gradients(dw, scalars, threshold=THRESHOLD, scale=SCALE),
        {"scalars": scalars},
        clipped,
        {"scalars": numbers},
    )
    card.write(scalars, numbers)
    yield Case(
        "sgd_update",
        lambda: kernels.sgd_update(
            w, dw, history, scalars, segments=segments, momentum=MOMENTUM, l1=L1, l2=L2
        ),
        {"w": w, "history": history},
        updated,
        {"w": hosts[0], "history": hosts[2]},
    )
