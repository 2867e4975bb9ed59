"""Datum: the same bytes as protobuf's, and nothing is believed."""

import numpy as np
import pytest

from cvgg.data.datum import Datum, datum_bytes, read_datum
from cvgg.errors import DataError
from cvgg.netdef import caffe_pb2

PIXELS = bytes(range(2 * 3 * 4))


def message(**fields: object) -> bytes:
    return caffe_pb2.Datum(**fields).SerializeToString()  # type: ignore[arg-type]


def test_a_raw_image_is_read() -> None:
    datum = read_datum(message(channels=2, height=3, width=4, data=PIXELS, label=300), "db[a]")
    assert (datum.channels, datum.height, datum.width, datum.label) == (2, 3, 4, 300)
    assert not datum.encoded
    image = datum.array("db[a]")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.arange(24).reshape(2, 3, 4))


def test_the_pixels_are_a_view_of_the_record() -> None:
    record = bytearray(message(channels=2, height=3, width=4, data=PIXELS, label=1))
    image = read_datum(memoryview(record), "db[a]").array("db[a]")
    record[record.index(PIXELS)] = 99
    assert image[0, 0, 0] == 99


def test_the_file_of_an_encoded_image_is_a_view_of_the_record() -> None:
    record = message(data=b"\xff\xd8jpeg", label=1, encoded=True)
    data = read_datum(memoryview(record), "db[a]").data
    assert isinstance(data, memoryview)
    assert data.obj is record
    assert data == b"\xff\xd8jpeg"


@pytest.mark.parametrize("label", [-1, -(2**31), 2**31 - 1, 0])
def test_a_label_keeps_its_sign(label: int) -> None:
    assert read_datum(message(label=label), "a").label == label
    assert read_datum(datum_bytes(Datum(label=label)), "a").label == label


def test_floats_are_read_packed_or_not() -> None:
    values = np.array([1.5, -2.25, 3e9, 53.0, 0.1, 2.0], np.float32)
    record = message(channels=1, height=2, width=3, float_data=values.tolist(), label=5)
    packed = message(channels=1, height=2, width=3, label=5) + b"\x32\x18" + values.tobytes()
    for each in (record, packed):
        datum = read_datum(each, "a")
        assert datum.label == 5
        assert datum.array("a").dtype == np.float32
        np.testing.assert_array_equal(datum.array("a"), values.reshape(1, 2, 3))


def test_a_run_of_floats_ends_where_another_tag_begins() -> None:
    # 0x35353535 is made of the floats' own tag.
    values = np.array([0x35353535] * 3, np.uint32).view(np.float32)
    record = message(float_data=values.tolist()) + b"\x38\x01\x22\x05abcde"
    datum = read_datum(record, "a")
    np.testing.assert_array_equal(datum.float_data, values)
    assert datum.encoded
    assert datum.data == b"abcde"


def test_bytes_win_over_floats() -> None:
    record = message(channels=1, height=1, width=2, data=b"\x07\x08", float_data=[1.0, 2.0])
    np.testing.assert_array_equal(read_datum(record, "a").array("a"), [[[7, 8]]])


def test_fields_of_forks_are_passed_over_and_the_last_of_a_field_counts() -> None:
    extra = b"\x40\x05" + b"\x4a\x02ab" + b"\x55abcd" + b"\x59abcdefgh" + b"\x28\x09"
    assert read_datum(message(label=3) + extra, "a").label == 9


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": 2, "height": 3, "width": 4, "data": PIXELS, "label": 300, "encoded": False},
        {"channels": 1, "height": 1, "width": 2, "label": -7, "float_data": [1.5, -3.0],
         "encoded": False},
        {"data": b"\xff\xd8jpeg", "label": 999, "encoded": True},
    ],
)  # fmt: skip
def test_a_record_is_written_byte_for_byte_as_protobuf_does(fields: dict[str, object]) -> None:
    ours = dict(fields)
    if "float_data" in ours:
        ours["float_data"] = np.array(ours["float_data"], np.float32)
    assert datum_bytes(Datum(**ours)) == message(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"", "the record is empty"),
        (b"\x08", "cut off at byte 1"),
        (b"\x08\x83", "cut off at byte 2"),
        (b"\x28" + b"\xff" * 11, "more than 10 bytes"),
        (b"\x22\x05ab", "5 bytes wanted at byte 2 of 4"),
        (b"\x22\xff\xff\xff\xff\x0f", "4294967295 bytes wanted"),
        (b"\x35ab", "cut off"),
        (b"\x55ab", "4 bytes wanted"),
        (b"\x0b\x0c", "wire type 3 at byte 0"),
        (b"\x02\x00", "field number 0"),
        (b"\x32\x03abc", "not a Datum"),
    ],
)
def test_what_is_no_datum_is_told_with_the_key(record: bytes, why: str) -> None:
    with pytest.raises(DataError, match=rf"^db\[a\]: not a Datum: .*{why}|^db\[a\]: {why}"):
        read_datum(record, "db[a]")


@pytest.mark.parametrize(
    ("datum", "why"),
    [
        (Datum(), r"no image: its shape is 0x0x0"),
        (Datum(3, -1, 2, b"ab"), r"no image: its shape is 3x-1x2"),
        (Datum(2, 3, 4, PIXELS[1:]), r"2x3x4 promised, but 23 values"),
        (Datum(1, 1, 2, encoded=True), r"the image is encoded"),
    ],
)
def test_sizes_that_do_not_fit_are_told_with_the_key(datum: Datum, why: str) -> None:
    with pytest.raises(DataError, match=rf"^db\[a\]: {why}"):
        datum.array("db[a]")
