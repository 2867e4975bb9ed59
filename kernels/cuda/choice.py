"""Which kernel and how many blocks for a problem: pure functions of the problem and the card."""

from dataclasses import dataclass
from math import prod

from .driver import Properties

SCRATCH = 1 << 20  # bytes that a backend has for partial sums
FLOAT = 4  # bytes

LEAST_DEPTH = 256  # terms of a partial sum: fewer are not worth a pass over the partial sums
LEAST_PIXELS = 512
MOST_PIXELS = 32768  # a sum of more products in fp32 leaves 1e-5
WAVES = 2  # blocks for each multiprocessor that a split sum aims at
MOST_RUNS = 256
BIAS_RUN = 512  # pixels of a partial sum of a bias' gradient


@dataclass(frozen=True)
class Choice:
    """A kernel, its grid, and how the product is split into partial sums; prints as one line."""

    kernel: str
    grid: tuple[int, int, int]
    runs: int = 1
    run: int = 0  # terms of a partial sum

    def __str__(self) -> str:
        split = f", {self.runs} sums of {self.run} terms" if self.runs > 1 else ""
        return f"{self.kernel} on {' x '.join(map(str, self.grid))} blocks{split}"


def choose_conv(pixels: int, k: int, c: int, groups: int, card: Properties) -> Choice:
    """Forward and backward-data: `pixels` of the output, k and c channels of one group.

    Large tiles reuse most; smaller ones where large ones would leave multiprocessors idle."""
    if k % 4 or c % 4:
        return _tiled("conv_128x64_any", pixels, k, groups, (128, 64))
    tiles = [(128, 128), (128, 64), (64, 64)]
    wide = [tile for tile in tiles if tile[1] == 64 or k > 64]
    for tile in wide:
        choice = _tiled(f"conv_{tile[0]}x{tile[1]}", pixels, k, groups, tile)
        if prod(choice.grid) >= card.multiprocessors:
            return choice
    return choice


def _tiled(kernel: str, rows: int, columns: int, groups: int, tile: tuple[int, int]) -> Choice:
    return Choice(kernel, (ceil_div(rows, tile[0]), ceil_div(columns, tile[1]), groups))


def choose_conv_weights(
    pixels: int, depth: int, k: int, c: int, groups: int, card: Properties
) -> Choice:
    """The gradient of (depth, k) weights of each group, a sum over `pixels`; c: channels of a
    group."""
    if k % 4 or c % 4:
        name, tile = "conv_weights_64x64_any", 64
    elif k > 64 and depth * k >= 128 * 128 * 8:
        name, tile = "conv_weights_128x128", 128
    else:
        name, tile = "conv_weights_64x64", 64
    x, y = ceil_div(depth, tile), ceil_div(k, tile)
    runs, run = split(pixels, LEAST_PIXELS, x * y * groups, card, most=MOST_PIXELS)
    return Choice(name, (x, y, groups * runs), runs, run)


def choose_fc(m: int, n: int, depth: int, card: Properties) -> tuple[tuple[int, int, int], int]:
    """Grid and terms of a partial sum of a product of (m, depth) and (depth, n)."""
    x, y = ceil_div(m, 64), ceil_div(n, 64)
    runs, run = split(depth, LEAST_DEPTH, x * y, card)
    return (x, y, runs), run


def split(
    terms: int, least: int, blocks: int, card: Properties, *, most: int | None = None
) -> tuple[int, int]:
    """Partial sums of a long sum and the terms of each (a multiple of 16): `blocks` times as many
    fill the card, and none has more than `most` terms.

    Another number of multiprocessors splits elsewhere, so bits are the same on one kind of card."""
    wanted = ceil_div(WAVES * card.multiprocessors, blocks)
    runs = max(1, min(wanted, terms // least, MOST_RUNS), ceil_div(terms, most or terms))
    run = ceil_div(ceil_div(terms, runs), 16) * 16
    return ceil_div(terms, run), run


def split_bias(pixels: int, k: int) -> tuple[int, int]:
    """Partial sums of a bias' gradient and the pixels of each: of the shape alone."""
    most = max(1, min(MOST_RUNS, SCRATCH // FLOAT // k))
    run = max(BIAS_RUN, ceil_div(pixels, most))
    return ceil_div(pixels, run), run


def ceil_div(value: int, by: int) -> int:
    return -(-value // by)
