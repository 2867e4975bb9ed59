"""Image files in memory to pixels: JPEG by libjpeg-turbo, strictly; the other formats by Pillow."""

import io
import math
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeAlias

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cvgg.errors import DataError

Pixels: TypeAlias = NDArray[np.uint8]
Cut: TypeAlias = tuple[int, int]  # rows and columns
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

MOST_PIXELS = 50_000_000  # a header may promise gigabytes: refused before anything is allocated

_JPEG = b"\xff\xd8"
# No format of Pillow's that starts another program (EPS) or reads further files.
_FORMATS = ("PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG")
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N")


class Scratch:
    """Memory of one thread for one decoded image: what lies in it stays until the next is decoded.

    size: bytes to begin with; an image that needs more makes it grow, for good. Memory that is
    given back to the system and asked for again with each image costs a fifth of the time.
    """

    def __init__(self, size: int = 1 << 20) -> None:  # 1 MiB: 591 x 591 pixels in colour
        self._memory = np.empty(size, np.uint8)
        self._picture = Image.new("RGB", (1, 1))

    def room(self, size: int) -> Pixels:
        """The memory, of `size` bytes at least."""
        if size > self._memory.size:
            # Twice as much as before: in a run of ever larger images it seldom grows.
            self._memory = np.empty(max(size, 2 * self._memory.size), np.uint8)
        return self._memory

    def picture(self, width: int, height: int) -> Image.Image:
        """A picture of three channels; the last one again if it was of this size."""
        if self._picture.size != (width, height):
            self._picture = Image.new("RGB", (width, height))
        return self._picture


class Colour(Enum):
    """How many channels a decoded image gets."""

    AS_STORED = auto()  # grey images 1, all others 3
    COLOUR = auto()  # 3: grey is repeated
    GREY = auto()  # 1: 0.299 R + 0.587 G + 0.114 B


def decode(
    data: bytes | memoryview,
    source: str,
    colour: Colour = Colour.AS_STORED,
    *,
    most_pixels: int = MOST_PIXELS,
    scratch: Scratch | None = None,
) -> Pixels:
    """Pixels (c,h,w) of an image file, channels B G R or grey; a view, not always contiguous.

    scratch: where a JPEG's pixels may lie; None: in memory of their own. Alpha is dropped, 16-bit
    grey keeps its upper half, of an animation the first picture is taken.
    Raises DataError that starts with `source`: no image, damaged, more than `most_pixels` pixels.
    """
    if bytes(data[:2]) == _JPEG:
        return _decode_jpeg(data, source, colour, most_pixels, scratch).transpose(2, 0, 1)
    return _decode_by_pillow(data, source, colour, most_pixels)


def decode_part(
    data: bytes | memoryview,
    source: str,
    colour: Colour,
    *,
    where: Callable[[int, int], tuple[Cut, Cut]],
    part: Cut,
    scratch: Scratch,
) -> Pixels:
    """Pixels (c,*part) of an image file that is resized and cut, as by `decode` and `resize_part`.

    where: from the height and width of the image the size that it gets, and row and column of the
    part. Raises as `decode` does.
    """
    if colour is not Colour.COLOUR or bytes(data[:2]) != _JPEG:
        pixels = decode(data, source, colour, scratch=scratch)
        size, place = where(*pixels.shape[1:])
        return resize_part(pixels, size, place, part)
    # A fourth byte a pixel, as in Pillow's own memory: then the needed part is only copied.
    spaced = _decode_jpeg(data, source, colour, MOST_PIXELS, scratch, space="BGRX")
    height, width = spaced.shape[:2]
    size, place = where(height, width)
    if size == (height, width):
        return resize_part(spaced[:, :, :3].transpose(2, 0, 1), size, place, part)
    rows, columns, box = _needed((height, width), size, place, part)
    picture = scratch.picture(columns.stop - columns.start, rows.stop - rows.start)
    begin = spaced.reshape(-1)[4 * (rows.start * width + columns.start) :]
    picture.frombytes(begin, "raw", "RGBX", 4 * width, 1)
    made = picture.resize((part[1], part[0]), Image.Resampling.BILINEAR, box)
    return np.asarray(made).transpose(2, 0, 1)


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pixels (c,height,width) of an image (c,h,w), c 1 or 3: bilinear, smoothed where it shrinks.

    The sides are set one by one; their ratio is not kept. A view, not always contiguous.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    return _resample(pixels, (height, width), None)


def resize_part(pixels: Pixels, size: Cut, place: Cut, part: Cut) -> Pixels:
    """What `resize` to `size`, then a cut of `part` pixels at `place` gives, except that a few
    values (2 in 1000 from 375x500 to 256x341) are 1 off: only the pixels that it needs are read.

    size: height and width of the whole image. place: row and column of the part. part: its height
    and width.
    """
    (row, column), (height, width) = place, part
    if pixels.shape[1:] == size:
        return pixels[:, row : row + height, column : column + width]
    rows, columns, box = _needed(pixels.shape[1:], size, place, part)
    return _resample(pixels[:, rows, columns], part, box)


def _needed(
    old_size: tuple[int, ...], size: Cut, place: Cut, part: Cut
) -> tuple[slice, slice, Box]:
    """Which rows and columns of an image the part of it needs that `resize_part` tells, and the
    part's edges among them."""
    spans: list[slice] = []
    ends: list[tuple[float, float]] = []
    for old, new, start, length in zip(old_size, size, place, part, strict=True):
        step = old / new
        begin, end = start * step, (start + length) * step
        reach = math.ceil(max(step, 1.0)) + 1  # of the filter, to either side
        span = slice(max(0, math.floor(begin) - reach), min(old, math.ceil(end) + reach))
        spans.append(span)
        ends.append((begin - span.start, end - span.start))
    (top, bottom), (left, right) = ends
    return spans[0], spans[1], (left, top, right, bottom)


def _resample(pixels: Pixels, size: Cut, box: Box | None) -> Pixels:
    """Pixels (c,*size) of the `box` of an image (c,h,w); None: of all of it."""
    # All channels at once: the pixels of a decoded image stand side by side.
    image = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
    made = np.asarray(
        Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
    )
    return made[np.newaxis] if pixels.shape[0] == 1 else made.transpose(2, 0, 1)


def _decode_jpeg(
    data: bytes | memoryview,
    source: str,
    colour: Colour,
    most_pixels: int,
    scratch: Scratch | None,
    space: str = "BGR",
) -> Pixels:
    """Pixels (h,w,1) or (h,w,c), c the letters of `space`."""
    try:
        height, width, stored, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width, source, most_pixels)
        grey = colour is Colour.GREY or (colour is Colour.AS_STORED and stored == "Gray")
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="GRAY" if grey else space,
            buffer=scratch.room(height * width * (1 if grey else len(space))) if scratch else None,
        )
    except ValueError as fault:
        raise DataError(f"{source}: damaged JPEG: {fault}") from fault
    return pixels


def _decode_by_pillow(
    data: bytes | memoryview, source: str, colour: Colour, most_pixels: int
) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image.height, image.width, source, most_pixels)
            return _pixels(image, source, colour)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise DataError(f"{source}: too large: {fault}") from fault
    except UnidentifiedImageError as fault:
        raise DataError(f"{source}: not an image ({_beginning(data)})") from fault
    except (OSError, SyntaxError, ValueError, EOFError) as fault:  # what Pillow's readers raise
        raise DataError(f"{source}: damaged image: {fault}") from fault


def _pixels(image: Image.Image, source: str, colour: Colour) -> Pixels:
    if image.mode in ("I", "F"):
        raise DataError(f"{source}: pixels of 32 bits; cvgg takes 8 or 16")
    grey = image.mode in _GREY_MODES
    flat: Image.Image = image
    if image.mode.startswith("I;16"):
        flat = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        flat = image.convert("RGBA")
    if colour is Colour.GREY or (colour is Colour.AS_STORED and grey):
        return np.asarray(flat.convert("L"))[np.newaxis]
    return np.asarray(flat.convert("RGB"))[:, :, ::-1].transpose(2, 0, 1)


def _check_size(height: int, width: int, source: str, most_pixels: int) -> None:
    if height * width > most_pixels:
        raise DataError(f"{source}: {height}x{width} is more than the {most_pixels} pixels allowed")


def _beginning(data: bytes | memoryview) -> str:
    if not len(data):
        return "it is empty"
    return f"it starts with {bytes(data[:8]).decode('ascii', 'backslashreplace')!r}"
