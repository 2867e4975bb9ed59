"""The forms in which a blob's numbers and shape may stand in a file."""

import struct
from array import array
from typing import Any

import pytest

from cvgg.errors import DataError
from cvgg.netdef import blobproto, wire
from cvgg.netdef.blobproto import ModelBlob
from cvgg.netdef.caffe_pb2 import BlobProto, BlobShape

WEIGHTS = [0.5, -1.25, 3.0, 1e-40, float("inf"), -0.0]  # a denormal and both odd ends: bits count


def packed(numbers: list[float], code: str = "f") -> bytes:
    return struct.pack(f"<{len(numbers)}{code}", *numbers)


def proto(numbers: list[float], *dims: int) -> BlobProto:
    """A blob as Caffe writes it: a scalar gets no shape."""
    return BlobProto(data=numbers, shape=BlobShape(dim=dims) if dims else None)


def read(content: bytes) -> ModelBlob:
    return blobproto.read(wire.Span(memoryview(content), 0, len(content), "file"), "blob 0")


def written(blob: ModelBlob) -> bytes:
    return b"".join(blobproto.write(blob))


def test_an_array_of_floats_is_written_as_its_bytes() -> None:
    view: Any = memoryview(array("f", WEIGHTS)).cast("B").cast("f", (2, 3))
    expected = proto(WEIGHTS, 2, 3).SerializeToString()
    assert written(ModelBlob((2, 3), view)) == expected


@pytest.mark.parametrize(
    ("legacy", "stored", "wanted", "fits"),
    [
        (False, (2, 3), (2, 3), True),
        (False, (2, 3), (3, 2), False),
        (False, (1, 1, 2, 3), (2, 3), False),
        (True, (1, 1, 2, 3), (2, 3), True),
        (True, (1, 1, 1, 3), (3,), True),
        (True, (1, 1, 1, 1), (), True),
        (True, (3, 1, 1, 1), (3,), False),
        (True, (4, 3, 2, 5), (4, 3, 2, 5), True),
        (True, (1, 3, 2, 5), (1, 1, 3, 2, 5), False),
    ],
)
def test_a_legacy_blob_fits_with_ones_in_front(
    legacy: bool,  # noqa: FBT001
    stored: tuple[int, ...],
    wanted: tuple[int, ...],
    fits: bool,  # noqa: FBT001
) -> None:
    assert ModelBlob(stored, b"", legacy).matches(wanted) is fits


def test_floats_one_by_one_and_in_several_packs_are_joined() -> None:
    one_by_one = b"".join(b"\x2d" + packed([number]) for number in WEIGHTS[:2])
    packs = (wire.prefix(5, 8) + packed(WEIGHTS[i : i + 2]) for i in (2, 4))
    shape = BlobProto(shape=BlobShape(dim=[2, 3])).SerializeToString()
    found = read(one_by_one + b"".join(packs) + shape)
    assert found == ModelBlob((2, 3), packed(WEIGHTS))


def test_dims_one_by_one_are_read() -> None:
    shape = b"\x3a\x04\x08\x02\x08\x03"
    assert read(wire.prefix(5, 24) + packed(WEIGHTS) + shape).shape == (2, 3)


def test_doubles_become_floats_even_beside_float_data() -> None:
    blob = proto([9.0, 9.0], 3)
    blob.double_data.extend([0.1, -2.5, 1e300])
    found = read(blob.SerializeToString())
    assert found == ModelBlob((3,), packed([0.1, -2.5, float("inf")]))


@pytest.mark.parametrize(("type", "code"), [(0, "d"), (1, "f"), (2, "e")])
def test_raw_data_of_nvidia_becomes_floats(type: int, code: str) -> None:
    numbers = [0.5, -1.25, 3.0]
    raw = packed(numbers, code)
    blob = proto([], 3).SerializeToString() + bytes([10 << 3, type])
    found = read(blob + wire.prefix(12, len(raw)) + raw)
    assert found == ModelBlob((3,), packed(numbers))


@pytest.mark.parametrize(
    ("type", "raw", "says"),
    [
        (3, bytes(12), "file: blob 0: raw_data_type 3 is not DOUBLE, FLOAT or FLOAT16"),
        (2, bytes(5), "file: blob 0: 5 bytes are no whole count of 2-byte numbers"),
        (1, bytes(6), "file: blob 0: 1.5 numbers are there, shape 3 needs 3"),
    ],
)
def test_raw_data_of_another_kind_is_refused(type: int, raw: bytes, says: str) -> None:
    blob = proto([], 3).SerializeToString() + bytes([10 << 3, type])
    with pytest.raises(DataError, match=says):
        read(blob + wire.prefix(12, len(raw)) + raw)


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (proto(WEIGHTS, 7), "blob 0: 6 numbers are there, shape 7 needs 7"),
        (proto(WEIGHTS), "blob 0: 6 numbers are there, shape scalar needs 1"),
        (proto([], 2, 3), "blob 0: 0 numbers are there, shape 2 3 needs 6"),
        (proto(WEIGHTS, 2, -3), "blob 0: 2 18446744073709551613 is no shape of a blob"),
        (proto([0.5], *[1] * 33), r"blob 0: 1 1 1 1 \.\.\. is no shape of a blob"),
        (BlobProto(num=2, data=WEIGHTS), "blob 0: 6 numbers are there, shape 2 0 0 0 needs 0"),
    ],
)
def test_a_shape_that_does_not_fit_its_numbers_is_refused(blob: BlobProto, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(blob.SerializeToString())


def test_an_empty_blob_has_a_shape_and_no_data() -> None:
    content = written(ModelBlob((0, 3), b""))
    assert content == BlobProto(shape=BlobShape(dim=[0, 3])).SerializeToString()
    assert read(content) == ModelBlob((0, 3), b"")
