"""The demo's images: ten classes of shapes, drawn from a seed: a first training needs no download.

A shape's size, place, turn, squeeze and colours are drawn anew for each image, on a shaded ground
strewn with lines and dots, under noise. No single pixel tells the class: a linear classifier fails,
a small conv net does not.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cvgg.data.convert import Writer, check_target, raw_datum
from cvgg.data.datum import datum_bytes
from cvgg.errors import CannotCreateError, UsageError

Point = tuple[float, float]
Outline = tuple[Point, ...]

SIZE = 40  # pixels: side of an image
FINE = 4  # drawn this many times larger, then reduced: smooth edges
TURN = math.pi / 6  # most that a shape is turned, either way
TRAIN, TEST = 800, 100  # images a class


def _arc(radius: float, first: float, last: float, centre: Point = (0.0, 0.0)) -> Outline:
    """Points of a circle from angle `first` to `last` (degrees, 0 = right, 90 = down)."""
    count = max(2, round(abs(last - first) / 6) + 1)
    angles = (math.radians(first + (last - first) * i / (count - 1)) for i in range(count))
    return tuple(
        (centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles
    )


def _regular(corners: int, radii: tuple[float, ...] = (1.0,)) -> Outline:
    """`corners` points around the centre, the first on top, at the radii in turn."""
    angles = (2 * math.pi * i / corners - math.pi / 2 for i in range(corners))
    return tuple(
        (radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a))
        for i, a in enumerate(angles)
    )


def _heart() -> Outline:
    turns = (2 * math.pi * i / 60 for i in range(60))
    return tuple(
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in turns
    )


# In a circle of radius 1, y downwards. One polygon each: the ring's two rims are joined by a cut of
# no width.
OUTLINES: dict[str, Outline] = {
    "arrow": (
        (-0.95, -0.25), (0.1, -0.25), (0.1, -0.75), (1.0, 0.0),
        (0.1, 0.75), (0.1, 0.25), (-0.95, 0.25),
    ),
    "bolt": ((0.35, -1.0), (-0.6, 0.15), (-0.05, 0.15), (-0.35, 1.0), (0.6, -0.2), (0.05, -0.2)),
    "circle": _arc(0.85, 0, 354),
    "cross": (
        (-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3),
        (0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.3, -0.3),
    ),
    "heart": _heart(),
    "moon": _arc(0.95, 40, 320) + _arc(0.72, 300, 60, (0.4, 0.0)),
    "ring": _arc(0.95, 0, 360) + _arc(0.55, 360, 0),
    "square": ((-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)),
    "star": _regular(10, (1.05, 0.45)),
    "triangle": _regular(3),
}  # fmt: skip
CLASSES = tuple(OUTLINES)
"""The ten names in byte order: a class's label is its place here."""


def draw(label: int, rng: Generator) -> Image.Image:
    """One RGB image of SIZE x SIZE pixels that shows the shape CLASSES[label]."""
    if not 0 <= label < len(CLASSES):
        raise UsageError(f"label {label} must lie in 0 to {len(CLASSES) - 1}")
    ground, ink = _colours(rng)
    canvas = _shade(ground, rng)
    _clutter(canvas, rng)
    mask = Image.new("L", canvas.size)
    ImageDraw.Draw(mask).polygon(_place(OUTLINES[CLASSES[label]], rng), fill=255)
    canvas.paste(_shade(ink, rng), mask=mask)
    small = canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
    small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.7)))
    noise = rng.normal(0.0, rng.uniform(3.0, 14.0), (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8))


def write_databases(
    folder: Path,
    *,
    seed: int = 1,
    train: int = TRAIN,
    test: int = TEST,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Path]:
    """Writes folder/train_lmdb and folder/test_lmdb; the same bytes for the same arguments.

    train, test: images a class, raw records of 3 x SIZE x SIZE, the classes in turn. Each image has
    a random stream of its own: the two share none, and more images change none. Raises
    CannotCreateError if a database is there.
    """
    for name, count in (("train", train), ("test", test)):
        if count < 1:
            raise UsageError(f"{name} images a class must be at least 1, not {count}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise CannotCreateError(f"{folder}: cannot be made: {fault.strerror}") from fault
    paths = folder / "train_lmdb", folder / "test_lmdb"
    for path in paths:
        check_target(path)
    done, total = 0, (train + test) * len(CLASSES)
    for part, (path, count) in enumerate(zip(paths, (train, test), strict=True)):
        with Writer(path) as writer:
            for number in range(count * len(CLASSES)):
                turn, label = divmod(number, len(CLASSES))
                image = np.asarray(draw(label, np.random.default_rng((seed, part, label, turn))))
                datum = raw_datum(image[:, :, ::-1].transpose(2, 0, 1), label)
                writer.put(b"%08d_%s" % (number, CLASSES[label].encode()), datum_bytes(datum))
                done += 1
                progress(done, total)
            writer.finish(
                {
                    "records": count * len(CLASSES),
                    "largest_label": len(CLASSES) - 1,
                    "counts": {str(label): count for label in range(len(CLASSES))},
                    "classes": CLASSES,
                    "colour": "colour",
                    "size": f"{SIZE}x{SIZE}",
                    "encoding": "raw",
                    "seed": seed,
                }
            )
    return paths


def _colours(rng: Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RGB of the ground and of the shape: apart in brightness, either one the brighter."""
    weights = np.array([0.30, 0.59, 0.11])  # what an eye makes of red, green and blue
    while True:
        ground, ink = rng.uniform(20, 235, (2, 3))
        if abs(weights @ (ground - ink)) > 55:
            return ground, ink


def _shade(colour: NDArray[np.float64], rng: Generator) -> Image.Image:
    """A canvas of one colour, lighter at one end than at the other."""
    angle = rng.uniform(0, 2 * math.pi)
    along = np.linspace(-1, 1, SIZE * FINE)
    slope = rng.uniform(0, 22) * (along[:, None] * math.sin(angle) + along * math.cos(angle))
    return Image.fromarray(np.clip(colour + slope[..., None], 0, 255).astype(np.uint8))


def _clutter(canvas: Image.Image, rng: Generator) -> None:
    """Lines across the ground and dots on it: edges that mean nothing."""
    pen = ImageDraw.Draw(canvas)
    side = SIZE * FINE
    for _ in range(rng.integers(2, 5)):
        ends = rng.uniform(-0.1 * side, 1.1 * side, 4).tolist()
        pen.line(ends, fill=_pixel(rng), width=int(rng.integers(FINE // 2, 2 * FINE)))
    for _ in range(rng.integers(2, 6)):
        x, y = rng.uniform(0, side, 2)
        pen.circle((x, y), rng.uniform(0.5, 1.8) * FINE, fill=_pixel(rng))


def _pixel(rng: Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(20, 236, 3).tolist()
    return red, green, blue


def _place(outline: Outline, rng: Generator) -> list[Point]:
    """The outline squeezed, turned, sized and moved to fine pixels, wholly inside the canvas."""
    side = SIZE * FINE
    radius = rng.uniform(0.24, 0.42) * side
    squeeze = rng.uniform(0.8, 1.0)
    angle = rng.uniform(-TURN, TURN)
    x, y = rng.uniform(radius, side - radius, 2)
    turn = radius * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    points = np.array(outline) * (1.0, squeeze) @ turn.T + (x, y)
    return [(float(px), float(py)) for px, py in points]
