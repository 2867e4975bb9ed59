"""The converter: images of a source become records of an LMDB database, in order, by many threads.

Keys are Caffe's: the place in the order with 8 digits, "_", the image's path. The bytes of an image
file are kept when nothing changes them; an image of other channels or another size is encoded anew.
The database is written beside its name and renamed when whole. Facts about it stand in cvgg.json.
"""

import io
import json
import logging
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import lmdb
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from cvgg.data.datum import Datum, datum_bytes
from cvgg.data.files import write_whole
from cvgg.data.imagenet import Item, Source
from cvgg.data.images import MOST_PIXELS, Colour, Pixels, decode, resize
from cvgg.data.order import Shuffled
from cvgg.errors import CannotCreateError, DataError, MissingInputError

_log = logging.getLogger("cvgg")

QUALITY = 95  # of JPEGs encoded anew, without chroma subsampling
FACTS = "cvgg.json"  # in the database's folder
_MOST_RECORDS = 10**8  # 8 digits: beyond, byte order is not the records' order
_LONGEST_SIDE = 65500  # pixels: JPEG's limit
_LONGEST_KEY = 511  # bytes: LMDB's limit
_FIRST_MAP = 2**30  # bytes; doubled when full, so no limit has to be guessed
_BATCH = 64 * 2**20  # bytes of records in a transaction
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # how the files start

Size = tuple[int, int]  # height, width in pixels
SizeRule = Callable[[int, int], Size]
Thing = TypeVar("Thing")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Form:
    """What becomes of an image.

    size: from its height and width to those of the record; resample: (pixels, height, width) ->
    pixels of that size. encoding: "jpg" and "png" are image files, "raw" is the pixels, "same" is
    the file's own format (JPEG, PNG for all others). about: size and resample in words.
    """

    size: SizeRule
    resample: Callable[[Pixels, int, int], Pixels] = resize
    colour: Colour = Colour.COLOUR
    encoding: str = "same"
    about: str = "as stored"


@dataclass(frozen=True)
class Result:
    """records: written. kept: how many of them hold the file's own bytes. skipped: why, each."""

    records: int
    kept: int
    skipped: tuple[str, ...]


def as_stored() -> SizeRule:
    """No image is resized."""
    return lambda height, width: (height, width)


def short_side(pixels: int) -> SizeRule:
    """The shorter side gets so many pixels, the other keeps the ratio, cut to a whole number."""

    def size(height: int, width: int) -> Size:
        if height < width:
            return pixels, width * pixels // height
        return height * pixels // width, pixels

    return size


def exactly(height: int, width: int) -> SizeRule:
    """Every image gets this size; the ratio of its sides is lost, as in Caffe."""
    return lambda _height, _width: (height, width)


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


def convert(
    source: Source,
    target: Path,
    form: Form,
    *,
    threads: int = 1,
    shuffle: int | None = None,
    skip_damaged: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Writes the database `target` from the images of `source`.

    shuffle: seed of a random order; None keeps the order. skip_damaged: an image that cannot be
    read is logged, listed and left out (its number stays free), otherwise it is an error.
    progress: called with the images done and their total. Raises CannotCreateError if `target` is
    there, DataError or MissingInputError that name an image; then nothing is left under `target`.
    """
    items = source.items
    if shuffle is not None:
        order = Shuffled(len(items), layer="", seed=shuffle).records(np.arange(len(items)))
        items = tuple(items[number] for number in order)
    if len(items) > _MOST_RECORDS:
        raise DataError(f"{target}: {len(items)} images; a database takes {_MOST_RECORDS}")
    counts: Counter[int] = Counter()
    skipped: list[str] = []
    kept = 0
    made = in_order(lambda item: _make(item, form), items, threads)
    with Writer(target) as writer, closing(made):
        for number, record in enumerate(made):
            if isinstance(record, _Record):
                writer.put(_key(number, items[number].name), record.value)
                counts[items[number].label] += 1
                kept += record.kept
            elif skip_damaged:
                _log.warning("skipped: %s", record)
                skipped.append(str(record))
            else:
                raise record
            progress(number + 1, len(items))
        if not counts:
            raise DataError(f"{target}: none of {len(items)} images can be read")
        writer.finish(
            {
                "records": counts.total(),
                "largest_label": max(counts),
                "counts": {str(label): counts[label] for label in sorted(counts)},
                "classes": source.classes,
                "colour": form.colour.name.lower(),
                "size": form.about,
                "encoding": form.encoding,
                "shuffle": shuffle,
                "skipped": skipped,
            }
        )
    return Result(counts.total(), kept, tuple(skipped))


def in_order(
    function: Callable[[Thing], Made], things: Iterable[Thing], threads: int
) -> Generator[Made, None, None]:
    """The results for `things` in their order, made by `threads` threads a few ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for thing in things:
                waiting.append(pool.submit(function, thing))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True, slots=True)
class _Record:
    value: bytes
    kept: bool


def _make(item: Item, form: Form) -> _Record | DataError | MissingInputError:
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
        return _Record(datum_bytes(Datum(data=data, label=item.label, encoded=True)), kept=True)
    pixels = form.resample(pixels, *size) if size != pixels.shape[1:] else pixels
    return _Record(datum_bytes(_ENCODERS[encoding](pixels, item.label)), kept=False)


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


def _key(number: int, name: str) -> bytes:
    # A long path is cut: the number alone makes the key the only one.
    return (b"%08d_" % number + os.fsencode(name))[:_LONGEST_KEY]


def check_target(target: Path) -> None:
    """CannotCreateError if `target` is there: before the source is read, which may take long."""
    if os.path.lexists(target):
        raise CannotCreateError(f"{target}: exists: choose another name or remove it")


class Writer:
    """A new LMDB database. Records go to NAME.partial; finish() gives it its name.

    As a context manager it removes what was written if finish() was not reached. Keys must rise.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._partial = target.with_name(target.name + ".partial")
        check_target(target)
        try:
            self._partial.mkdir()
        except FileExistsError as fault:
            raise CannotCreateError(
                f"{self._partial}: being written by another converter, or left by a killed one"
            ) from fault
        except OSError as fault:
            raise CannotCreateError(f"{target}: cannot be made: {fault.strerror}") from fault
        self._records: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        self._map = _FIRST_MAP
        # Nothing is whole before the last sync, so none is needed earlier.
        try:
            self._database = lmdb.open(
                str(self._partial), map_size=self._map, lock=False, sync=False
            )
        except lmdb.Error as fault:  # a disk that is full takes a folder, but no file
            error = self._fault(fault)
            shutil.rmtree(self._partial, ignore_errors=True)
            raise error from fault

    def put(self, key: bytes, value: bytes) -> None:
        """Adds a record behind all others."""
        self._records.append((key, value))
        self._bytes += len(value)
        if self._bytes >= _BATCH:
            self._flush()

    def finish(self, facts: Mapping[str, object]) -> None:
        """Makes the database appear under its name, with the facts in its cvgg.json."""
        self._flush()
        text = json.dumps(facts, ensure_ascii=True, indent=1)
        write_whole(self._partial / FACTS, [text.encode() + b"\n"])
        try:
            self._database.sync(True)
            self._database.close()
            os.rename(self._partial, self._target)
        except (OSError, lmdb.Error) as fault:
            raise self._fault(fault) from fault

    def _flush(self) -> None:
        while True:
            try:
                with self._database.begin(write=True) as transaction:
                    for key, value in self._records:
                        if not transaction.put(key, value, append=True):
                            raise DataError(f"{self._target}: key {key!r} is not behind the last")
            except lmdb.MapFullError:
                self._map *= 2
                self._database.set_mapsize(self._map)
            except lmdb.Error as fault:
                raise self._fault(fault) from fault
            else:
                self._records.clear()
                self._bytes = 0
                return

    def _fault(self, fault: Exception) -> CannotCreateError:
        free = shutil.disk_usage(self._partial).free >> 20
        return CannotCreateError(f"{self._target}: writing failed: {fault} ({free} MiB are free)")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
        shutil.rmtree(self._partial, ignore_errors=True)
