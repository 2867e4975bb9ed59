"""What becomes of an image: the size, the channels and the encoding of its record.

The bytes of an image file are kept when nothing changes them; an image of other channels or another
size is encoded anew.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from cvgg.data.datum import Datum, datum_bytes
from cvgg.data.imagenet import Item
from cvgg.data.images import MOST_PIXELS, Colour, Pixels, decode, resize
from cvgg.errors import DataError, MissingInputError

QUALITY = 95  # of JPEGs encoded anew, without chroma subsampling
_LONGEST_SIDE = 65500  # pixels: JPEG's limit
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # how the files start
_KEPT = (".jpg", ".jpeg", ".png")  # how the names of files end that are stored as they are
_SAMPLE = 10_000  # files whose size is looked up: a million would take long on a slow disk
_CHANNELS = {Colour.COLOUR: 3, Colour.GREY: 1}

Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True)
class SizeRule:
    """From the height and width of an image to those of its record.

    keeps: no image is resized. fixed: the size that all get, None if that depends on the image.
    """

    rule: Callable[[int, int], Size]
    keeps: bool = False
    fixed: Size | None = None

    def __call__(self, height: int, width: int) -> Size:
        return self.rule(height, width)


@dataclass(frozen=True)
class Form:
    """What becomes of an image.

    size: its rule; resample: (pixels, height, width) -> pixels of that size. encoding: "jpg" and
    "png" are image files, "raw" is the pixels, "same" is the file's own format (JPEG, PNG for all
    others). about: size and resample in words.
    """

    size: SizeRule
    resample: Callable[[Pixels, int, int], Pixels] = resize
    colour: Colour = Colour.COLOUR
    encoding: str = "same"
    about: str = "as stored"


def as_stored() -> SizeRule:
    """No image is resized."""
    return SizeRule(lambda height, width: (height, width), keeps=True)


def short_side(pixels: int) -> SizeRule:
    """The shorter side gets so many pixels, the other keeps the ratio, cut to a whole number."""

    def size(height: int, width: int) -> Size:
        if height < width:
            return pixels, width * pixels // height
        return height * pixels // width, pixels

    return SizeRule(size)


def exactly(height: int, width: int) -> SizeRule:
    """Every image gets this size; the ratio of its sides is lost, as in Caffe."""
    return SizeRule(lambda _height, _width: (height, width), fixed=(height, width))


def resize_as_caffe(pixels: Pixels, height: int, width: int) -> Pixels:
    """Plain bilinear: each pixel from four, also where the image shrinks, so that details alias.

    What convert_imageset does through OpenCV: factors of 11 bits, first along the rows, then down.
    """
    rows, down = _neighbours(pixels.shape[1], height)
    columns, right = _neighbours(pixels.shape[2], width)
    wide = pixels[:, :, columns[0]] * right[0] + pixels[:, :, columns[1]] * right[1]
    wide >>= 4
    tall = wide[:, rows[0]] * down[0][:, None] >> 16
    tall += wide[:, rows[1]] * down[1][:, None] >> 16
    result: Pixels = ((tall + 2) >> 2).astype(np.uint8)
    return result


def _neighbours(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Places (2, new) of the pixels on both sides of each new one, and their factors times 2048."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place)
    part = place - first
    factors = np.rint(np.stack([1 - part, part]) * np.float32(2048)).astype(np.int32)
    # Outside, both are the pixel of the edge.
    return np.stack([first, first + 1]).clip(0, old - 1).astype(np.intp), factors


def bytes_needed(form: Form, items: Sequence[Item]) -> int | None:
    """About how many bytes the records of `items` take, rather too few; None: only trying tells."""
    if form.encoding == "raw" and form.size.fixed and form.colour in _CHANNELS:
        height, width = form.size.fixed
        return len(items) * _CHANNELS[form.colour] * height * width
    if form.encoding == "same" and form.size.keeps and form.colour is not Colour.GREY:
        some = items[:: max(1, len(items) // _SAMPLE)]
        kept = (item for item in some if os.path.splitext(item.name)[1].lower() in _KEPT)
        return sum(item.stored() for item in kept) * len(items) // max(1, len(some))
    return None


@dataclass(frozen=True, slots=True)
class Record:
    """What a database holds of an image. kept: it is the file's own bytes."""

    value: bytes
    kept: bool


def make_record(item: Item, form: Form) -> Record | DataError | MissingInputError:
    """The record of an image, or what is wrong with it."""
    try:
        data = item.read()
        pixels = decode(data, str(item), form.colour)
    except (DataError, MissingInputError) as fault:
        return fault
    size = form.size(*pixels.shape[1:])
    if min(size) < 1 or max(size) > _LONGEST_SIDE or size[0] * size[1] > MOST_PIXELS:
        height, width = pixels.shape[1:]
        return DataError(f"{item}: {height}x{width} would become {size[0]}x{size[1]} pixels")
    stored = _stored_as(data, pixels.shape[0])
    own = "jpg" if data.startswith(_JPEG) else "png"
    encoding = own if form.encoding == "same" else form.encoding
    if size == pixels.shape[1:] and stored == encoding:
        return Record(datum_bytes(Datum(data=data, label=item.label, encoded=True)), kept=True)
    pixels = form.resample(pixels, *size) if size != pixels.shape[1:] else pixels
    return Record(datum_bytes(_ENCODERS[encoding](pixels, item.label)), kept=False)


def _stored_as(data: bytes, channels: int) -> str:
    """The format of a file whose own pixels have so many channels of 8 bits; else ""."""
    if data.startswith(_JPEG):
        space = simplejpeg.decode_jpeg_header(data)[2]
        return "jpg" if space in {1: ("Gray",), 3: ("YCbCr", "RGB")}[channels] else ""
    if data.startswith(_PNG) and (data[24], data[25]) == (8, {1: 0, 3: 2}[channels]):
        return "png"
    return ""


def raw_datum(pixels: Pixels, label: int) -> Datum:
    """A record of the pixels (c,h,w) themselves."""
    channels, height, width = pixels.shape
    return Datum(channels, height, width, pixels.tobytes(), label)


def _jpeg_datum(pixels: Pixels, label: int) -> Datum:
    image = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    space = {1: "GRAY", 3: "BGR"}[pixels.shape[0]]
    data = simplejpeg.encode_jpeg(
        image,
        quality=QUALITY,
        colorspace=space,
        colorsubsampling="Gray" if space == "GRAY" else "444",
    )
    return Datum(data=data, label=label, encoded=True)


def _png_datum(pixels: Pixels, label: int) -> Datum:
    image = pixels[0] if pixels.shape[0] == 1 else pixels[::-1].transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG")
    return Datum(data=stream.getvalue(), label=label, encoded=True)


_ENCODERS: Mapping[str, Callable[[Pixels, int], Datum]] = {
    "jpg": _jpeg_datum,
    "png": _png_datum,
    "raw": raw_datum,
}
ENCODINGS = ("same", *_ENCODERS)
