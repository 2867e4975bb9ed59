"""Datum, Caffe's record of one image, at wire level: read without a copy, written as Caffe writes.

message Datum: channels 1, height 2, width 3 (int32), data 4 (bytes: c x h x w, or an image file if
encoded), label 5 (int32), float_data 6 (floats instead of data), encoded 7 (bool). Source: Caffe's
caffe.proto; the encoding is protobuf's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvgg.errors import DataError
from cvgg.netdef.wire import BYTES, FIXED32, VARINT, WIDTHS, prefix, varint

Buffer: TypeAlias = bytes | memoryview

_FLOAT_TAG = 6 << 3 | FIXED32
_NO_FLOATS: NDArray[np.float32] = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Datum:
    """One image with its label. `data` may be a view into the record it was read from."""

    channels: int = 0
    height: int = 0
    width: int = 0
    data: Buffer = b""
    label: int = 0
    float_data: NDArray[np.float32] = field(default_factory=lambda: _NO_FLOATS)
    encoded: bool = False

    def array(self, source: str) -> NDArray[np.uint8] | NDArray[np.float32]:
        """The raw image (c,h,w), uint8 or float32, a view. Raises DataError that starts with
        `source` if the sizes do not fit, or if the image is encoded."""
        if self.encoded:
            raise DataError(f"{source}: the image is encoded")
        shape = (self.channels, self.height, self.width)
        if min(shape) < 1:
            raise DataError(f"{source}: no image: its shape is {_times(shape)}")
        # data wins where both are there: Caffe's rule.
        pixels = np.frombuffer(self.data, np.uint8) if len(self.data) else self.float_data
        if pixels.size != shape[0] * shape[1] * shape[2]:
            raise DataError(f"{source}: {_times(shape)} promised, but {pixels.size} values")
        result: NDArray[np.uint8] | NDArray[np.float32] = pixels.reshape(shape)
        return result


def read_datum(record: Buffer, source: str) -> Datum:
    """The Datum in `record`. Unknown fields are passed over; of a field written twice the last
    counts. Raises DataError that starts with `source` if the bytes are no Datum."""
    numbers = [0] * 8
    data: Buffer = b""
    floats: list[NDArray[np.float32]] = []
    try:
        for number, value in _fields(memoryview(record)):
            if isinstance(value, int):
                if number < len(numbers):
                    numbers[number] = value
            elif number == 4:
                data = value
            elif number == 6:
                floats.append(np.frombuffer(value, "<f4"))
    except ValueError as fault:
        raise DataError(f"{source}: not a Datum: {fault}") from fault
    return Datum(
        channels=_signed(numbers[1]),
        height=_signed(numbers[2]),
        width=_signed(numbers[3]),
        data=data,
        label=_signed(numbers[5]),
        float_data=np.concatenate(floats) if floats else _NO_FLOATS,
        encoded=numbers[7] != 0,
    )


def datum_bytes(datum: Datum) -> bytes:
    """The record of `datum`, byte for byte as Caffe's converters write it."""
    parts: list[bytes] = []
    if not datum.encoded:  # Caffe leaves the sizes of an encoded image out
        shape = (datum.channels, datum.height, datum.width)
        parts += [_field(number, value) for number, value in enumerate(shape, start=1)]
    if len(datum.data):
        parts += [prefix(4, len(datum.data)), bytes(datum.data)]
    parts.append(_field(5, datum.label))
    if datum.float_data.size:
        run = np.empty((datum.float_data.size, 5), np.uint8)
        run[:, 0] = _FLOAT_TAG
        run[:, 1:] = np.ascontiguousarray(datum.float_data, "<f4").view(np.uint8).reshape(-1, 4)
        parts.append(run.tobytes())
    parts.append(_field(7, int(datum.encoded)))
    return b"".join(parts)


def _fields(view: memoryview) -> Iterator[tuple[int, int | Buffer]]:
    """(number, content) of each field: an int, or bytes. A run of unpacked floats comes as one.

    wire.Span would do, but makes several objects a field: too slow for a million records.
    """
    if not len(view):
        raise ValueError("the record is empty")
    at = 0
    while at < len(view):
        start = at
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"field number 0 at byte {start}")
        if wire == VARINT:
            value, at = _varint(view, at)
            yield number, value
        elif tag == _FLOAT_TAG == view[start]:  # a tag may also be written in more bytes
            run, at = _floats(view, start)
            yield number, run
        else:
            length = WIDTHS.get(wire, 0)
            if wire == BYTES:
                length, at = _varint(view, at)
            elif not length:
                raise ValueError(f"wire type {wire} at byte {start}")
            if length > len(view) - at:
                raise ValueError(f"{length} bytes wanted at byte {at} of {len(view)}")
            yield number, view[at : at + length]
            at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number at byte `at` and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError(f"cut off at byte {len(view)}")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than 10 bytes ends at byte {at}")


def _floats(view: memoryview, at: int) -> tuple[bytes, int]:
    """The run of unpacked floats whose first tag is at byte `at`: their bytes, and the place
    behind."""
    most = (len(view) - at) // 5
    if not most:
        raise ValueError(f"cut off at byte {len(view)}")
    run = np.frombuffer(view, np.uint8, count=5 * most, offset=at).reshape(most, 5)
    others = np.flatnonzero(run[:, 0] != _FLOAT_TAG)
    count = int(others[0]) if others.size else most
    return run[:count, 1:].tobytes(), at + 5 * count


def _signed(value: int) -> int:
    """An int32 from its varint: the lower 32 bits, in two's complement."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _field(number: int, value: int) -> bytes:
    # Negative numbers are written as 64 bits: 10 bytes.
    return varint(number << 3 | VARINT) + varint(value & 0xFFFFFFFFFFFFFFFF)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
