"""Image files in memory to pixels: JPEG by libjpeg-turbo, strictly; the other formats by Pillow."""

import io
from enum import Enum, auto
from typing import TypeAlias

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cvgg.errors import DataError

Pixels: TypeAlias = NDArray[np.uint8]

MOST_PIXELS = 50_000_000  # a header may promise gigabytes: refused before anything is allocated

# No format of Pillow's that starts another program (EPS) or reads further files.
_FORMATS = ("PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG")
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N")


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
) -> Pixels:
    """Pixels (c,h,w) of an image file, channels B G R or grey; a view, not always contiguous.

    Alpha is dropped, 16-bit grey keeps its upper half, of an animation the first picture is taken.
    Raises DataError that starts with `source`: no image, damaged, more than `most_pixels` pixels.
    """
    if bytes(data[:2]) == b"\xff\xd8":
        return _decode_jpeg(data, source, colour, most_pixels)
    return _decode_by_pillow(data, source, colour, most_pixels)


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pixels (c,height,width) of an image (c,h,w), c 1 or 3: bilinear, smoothed where it shrinks.

    The sides are set one by one; their ratio is not kept.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for plane in pixels
    ]
    return np.stack([np.asarray(plane) for plane in planes])


def _decode_jpeg(data: bytes | memoryview, source: str, colour: Colour, most_pixels: int) -> Pixels:
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width, source, most_pixels)
        grey = colour is Colour.GREY or (colour is Colour.AS_STORED and space == "Gray")
        pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if grey else "BGR")
    except ValueError as fault:
        raise DataError(f"{source}: damaged JPEG: {fault}") from fault
    return pixels.transpose(2, 0, 1)


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
