"""BlobProto at wire level: a blob's numbers stay a view of the file, or are made float32 once.

Format: Caffe's caffe.proto and blob.cpp; raw_data is NVIDIA's (BlobProto fields 10 and 12)."""

import math
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from ..errors import DataError
from . import wire
from .shapes import Shape, describe
from .wire import Span

Data: TypeAlias = bytes | bytearray | memoryview

MOST_AXES = 32  # Caffe's kMaxBlobAxes

DATA, SHAPE, DOUBLES, RAW_TYPE, RAW = 5, 7, 8, 10, 12  # BlobProto's fields; 1 to 4: n c h w
RAW_DOUBLE, RAW_FLOAT, RAW_HALF = 0, 1, 2  # NVIDIA's enum Type


@dataclass(frozen=True)
class ModelBlob:
    """One blob of a file: `data` holds little-endian float32, as many as `shape` asks for.

    legacy: written as num, channels, height, width (before September 2014); `shape` has 4 axes.
    """

    shape: Shape
    data: Data
    legacy: bool = False

    def matches(self, shape: Shape) -> bool:
        """Does it fit a param of this shape? A legacy blob may have ones in front: a bias of
        1 1 1 N fits (N,). Source: Caffe's Blob::ShapeEquals."""
        return self.shape == (four_axes(shape) if self.legacy else shape)


def four_axes(shape: Shape) -> Shape:
    """The shape with ones in front, 4 axes in all; longer ones as they are."""
    return (1,) * (4 - len(shape)) + shape


def read(message: Span, where: str) -> ModelBlob:
    """The blob of a BlobProto. `where` names it in errors: "layer 'conv1' blob 0".

    Raises DataError if it holds more or fewer numbers than its shape asks for.
    """
    old: dict[int, int] = {}
    shape: list[int] = []
    floats: Data = b""
    doubles: Data = b""
    raw: Data = b""
    raw_type = RAW_DOUBLE
    for field in message.fields():
        at = (field.number, field.wire)
        if field.number <= 4 and field.wire == wire.VARINT:
            old[field.number] = field.value
        elif at in ((DATA, wire.BYTES), (DATA, wire.FIXED32)):
            floats = _joined(floats, field.content.view)
        elif at in ((DOUBLES, wire.BYTES), (DOUBLES, wire.FIXED64)):
            doubles = _joined(doubles, field.content.view)
        elif at == (SHAPE, wire.BYTES):
            shape += islice(_dims(field.content), MOST_AXES + 1)
        elif at == (RAW_TYPE, wire.VARINT):
            raw_type = field.value
        elif at == (RAW, wire.BYTES):
            raw = field.content.view
    axes = tuple(old.get(axis, 0) for axis in range(1, 5)) if old else tuple(shape)
    if len(axes) > MOST_AXES or any(axis > 2**31 - 1 for axis in axes):
        # A negative number reads as one above 2**63.
        raise DataError(f"{message.path}: {where}: {_short(axes)} is no shape of a blob")
    if len(raw):
        floats = _from_raw(raw, raw_type, f"{message.path}: {where}")
    elif len(doubles):
        floats = _from_raw(doubles, RAW_DOUBLE, f"{message.path}: {where}")
    needed = math.prod(axes)
    if len(floats) != 4 * needed:
        raise DataError(
            f"{message.path}: {where}: {len(floats) / 4:.16g} numbers are there, "
            f"shape {describe(axes)} needs {needed}"
        )
    return ModelBlob(axes, floats, bool(old))


def nested(number: int, blob: ModelBlob) -> Iterator[Data]:
    """The blob as field `number` of another message, in pieces."""
    pieces = tuple(write(blob))
    yield wire.prefix(number, sum(map(len, pieces)))
    yield from pieces


def write(blob: ModelBlob) -> Iterator[Data]:
    """The blob as a BlobProto, in pieces, as Caffe writes it: fields in the order of their
    numbers, nothing for an empty one."""
    data = memoryview(blob.data)
    # A view of no bytes cannot be cast.
    data = data.cast("B") if data.nbytes else memoryview(b"")
    assert len(data) == 4 * math.prod(blob.shape), f"{len(data)} bytes, shape {blob.shape}"
    if blob.legacy:
        yield b"".join(
            wire.varint(number << 3 | wire.VARINT) + wire.varint(axis)
            for number, axis in enumerate(four_axes(blob.shape), start=1)
        )
    if len(data):
        yield wire.prefix(DATA, len(data))
        yield data
    if blob.shape and not blob.legacy:
        dims = b"".join(map(wire.varint, blob.shape))
        packed = wire.prefix(1, len(dims)) + dims
        yield wire.prefix(SHAPE, len(packed)) + packed


def _dims(shape: Span) -> Iterator[int]:
    """The dims of a BlobShape, packed or one by one."""
    for field in shape.fields():
        if field.number == 1:
            yield from field.content.varints()


def _joined(first: Data, more: memoryview) -> Data:
    """One piece stays a view; numbers in several pieces (not packed) are copied together."""
    if not len(first):
        return more
    joined = first if isinstance(first, bytearray) else bytearray(first)
    joined += more
    return joined


def _from_raw(raw: Data, type: int, where: str) -> Data:
    """Little-endian numbers of NVIDIA's `type` as little-endian float32."""
    if type == RAW_FLOAT:
        return raw
    if type not in (RAW_DOUBLE, RAW_HALF):
        raise DataError(f"{where}: raw_data_type {type} is not DOUBLE, FLOAT or FLOAT16")
    width = 8 if type == RAW_DOUBLE else 2
    if len(raw) % width:
        raise DataError(f"{where}: {len(raw)} bytes are no whole count of {width}-byte numbers")
    numbers = struct.iter_unpack("<d" if type == RAW_DOUBLE else "<e", raw)
    floats = array("f", (number for (number,) in numbers))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()


def _short(axes: Shape) -> str:
    return describe(axes[:4]) + (" ..." if len(axes) > 4 else "")
