"""Rows 4 and 21 to 32 of the table of faults: databases that are damaged, or are not what is
wanted.

What holds inside one process is in tests/data/test_database.py, test_datum.py and test_feed.py.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from databases import numbered, write_checksums, write_images, write_lmdb
from faults.places import SHAPE, Place

from cvgg.data import database as database_module
from cvgg.data.database import open_database
from cvgg.data.datum import Datum, datum_bytes
from cvgg.errors import DataError

PAGE = 4096
META = 16  # bytes of a page's header, behind which LMDB's description of the database stands


def records(count: int = 7) -> dict[bytes, bytes]:
    pixels = bytes(range(250)) + bytes(20)
    return {b"%04d" % i: datum_bytes(Datum(*SHAPE, pixels, i % 9)) for i in range(count)}


def remake(place: Place, changed: dict[bytes, bytes]) -> None:
    """The database with these records in place of the old ones."""
    shutil.rmtree(place / "db")
    write_lmdb(place / "db", records() | changed)


def cut(size: int) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content[:size])


def overwritten(page: Callable[[random.Random], bytes]) -> Callable[[bytearray], bytes]:
    """40 pages behind the two that describe the database become others."""

    def change(content: bytearray) -> bytes:
        chance = random.Random(3)
        for _ in range(40):
            at = PAGE * chance.randrange(2, len(content) // PAGE)
            content[at : at + PAGE] = page(chance)
        return bytes(content)

    return change


def without_description(content: bytearray) -> bytes:
    for page in (0, PAGE):
        content[page + META : page + META + 40] = b"\xff" * 40
    return bytes(content)


DAMAGE: dict[str, tuple[Callable[[bytearray], bytes], str]] = {
    "21-half": (cut(50 * PAGE), "db: data.mdb is cut off: 204800 of [0-9]+ bytes; copy it again"),
    "21-part-of-a-page": (cut(50 * PAGE + 9), "db: data.mdb is cut off"),
    "21-description-only": (cut(2 * PAGE), "db: data.mdb is cut off"),
    "21-one-page": (cut(PAGE), "db: not an LMDB database, or damaged"),
    "21-100-bytes": (cut(100), "db: not an LMDB database, or damaged"),
    "22-empty": (cut(0), "db: not an LMDB database, or damaged"),
    "22-other-file": (lambda content: b"hello" * 3000, "db: not an LMDB database"),
    "22-descriptions": (without_description, "db: not an LMDB database"),
    "23-noise": (overwritten(lambda chance: chance.randbytes(PAGE)), "db: the database is dam"),
    "23-zeros": (overwritten(lambda chance: bytes(PAGE)), "db: the database is damaged"),
    "23-ones": (overwritten(lambda chance: b"\xff" * PAGE), "db: the database is damaged"),
}


@pytest.mark.parametrize("row", DAMAGE)
def test_a_damaged_database_is_told_and_ends_no_process(place: Place, row: str) -> None:
    change, message = DAMAGE[row]
    remake(place, records(700))
    file = place / "db/data.mdb"
    file.write_bytes(change(bytearray(file.read_bytes())))
    place.refuses(65, message)
    done = place.run("dataset", "check", "db")
    assert done.code == 65
    assert "Traceback" not in done.err


SMALL = (1, 9, 10)
RECORDS = {
    "25-no-datum": (b"\x07garbage", r"db\[0005\]: not a Datum: field number 0 at byte 0"),
    "25-cut": (records()[b"0000"][:100], r"db\[0005\]: not a Datum: 270 bytes wanted at byte"),
    "25-empty": (b"", r"db\[0005\]: not a Datum: the record is empty"),
    "25-trailing": (records()[b"0000"] + b"\xff", r"db\[0005\]: not a Datum: cut off at byte"),
    "26-size": (datum_bytes(Datum(3, 9, 9, bytes(270), 1)), r"db\[0005\]: 3x9x9 promised, but 270"),
    "26-channels": (
        datum_bytes(Datum(*SMALL, bytes(90), 1)),
        r"db\[0005\]: the image is of 1x9x10 .*, but layer 'data' takes 3 channels",
    ),
    "26-crop": (
        datum_bytes(Datum(3, 7, 7, bytes(147), 1)),
        r"db\[0005\]: the image is of 3x7x7 .*at least 8x8 pixels \(crop_size\)",
    ),
    "26-floats": (
        datum_bytes(Datum(*SHAPE, b"", 1, np.zeros(270, np.float32))),
        r"db\[0005\]: the pixels are float32, but those of the first record were uint8",
    ),
    "27-encoded": (
        datum_bytes(Datum(data=b"\xff\xd8no jpeg", label=1, encoded=True)),
        r"db\[0005\]: damaged JPEG",
    ),
    "4-label": (
        datum_bytes(Datum(*SHAPE, bytes(270), 9)),
        r"iteration 1: db\[0005\]: label 9, but layer 'loss' has scores of 9 classes \(0 to 8\)",
    ),
    "4-negative": (
        datum_bytes(Datum(*SHAPE, bytes(270), -1)),
        r"iteration 1: db\[0005\]: label -1, but layer 'loss' has scores of 9 classes",
    ),
}


@pytest.mark.parametrize("row", RECORDS)
def test_a_record_that_cannot_be_used_is_told_with_its_key(place: Place, row: str) -> None:
    record, message = RECORDS[row]
    remake(place, {b"0005": record})
    place.replace("solver.prototxt", "snapshot: 2", "snapshot: 4")
    place.refuses(65, message)


@pytest.mark.parametrize("key", ["0000", "0005"])
def test_pixels_that_have_changed_on_the_disk_are_told_with_the_key(place: Place, key: str) -> None:
    remake(place, {key.encode(): datum_bytes(Datum(*SHAPE, b"pixels" * 45, 1))})
    write_checksums(str(place / "db"))
    file = place / "db/data.mdb"
    content = bytearray(file.read_bytes())
    content[content.index(b"pixels" * 45) + 100] ^= 1  # a Datum still, of other pixels
    file.write_bytes(content)
    place.replace("solver.prototxt", "snapshot: 2", "snapshot: 4")
    place.refuses(65, rf"db\[{key}\]: the record has changed since it was written \(checksum\)")
    done = place.run("dataset", "check", "db")
    assert done.code == 65
    assert f"db[{key}]: the record has changed" in done.out
    assert "1 faults" in done.out


def test_checksums_of_another_database_are_told(place: Place) -> None:
    (place / "db/crc32").write_bytes(bytes(4))
    place.refuses(65, r"db/crc32: 4 bytes do not belong to the 7 records of data\.mdb")


def test_a_label_that_no_score_stands_for_is_told_before_the_first_iteration__row_4(
    place: Place,
) -> None:
    remake(place, {b"0005": datum_bytes(Datum(*SHAPE, bytes(270), 9))})
    facts = {"records": 7, "largest_label": 9}
    (place / "db/cvgg.json").write_text(json.dumps(facts))
    place.refuses(65, r"^cvgg: error: db\[0005\]: label 9, but layer 'loss' has scores of 9 cl")
    (place / "db/cvgg.json").write_text("{}")
    place.refuses(65, r"db/cvgg\.json: not what convert-imagenet writes")


def test_an_ignored_label_is_no_fault__row_4(place: Place) -> None:
    remake(place, {b"0005": datum_bytes(Datum(*SHAPE, bytes(270), 255))})
    (place / "db/cvgg.json").write_text(json.dumps({"records": 7, "largest_label": 255}))
    place.replace("net.prototxt", 'top: "loss"', 'top: "loss" loss_param { ignore_label: 255 }')
    assert place.train().code == 0


def test_a_database_that_is_not_there_is_told_with_the_folder__row_24(place: Place) -> None:
    shutil.rmtree(place / "db")
    place.refuses(66, rf"db: no such database \(in {place.folder}\)")
    (place / "db").write_bytes(b"x")
    place.refuses(65, "db: not a database; an LMDB is a folder")


def test_a_database_without_the_right_to_read_it_is_told__row_24(place: Place) -> None:
    if os.geteuid():
        other = None
    else:
        other = 65534  # nobody
        for folder in (place.folder, *place.folder.parents[:3]):
            folder.chmod(0o755)
    (place / "db/data.mdb").chmod(0)
    (place / "err").touch()
    done = place.run("dataset", "info", "db", user=other)
    assert done.code == 66, done.err
    assert "cvgg: error: db/data.mdb: no right to read it" in done.err


def test_both_nets_share_a_database__row_29(place: Place) -> None:
    place.replace("solver.prototxt", "max_iter", "test_iter: 2 test_interval: 2 max_iter")
    done = place.train()
    assert done.code == 0, done.err
    assert "Iteration 4, Testing net (#0)" in done.err


def test_too_few_records_are_told__row_32(place: Place) -> None:
    place.replace("solver.prototxt", "max_iter", "test_iter: 3 test_interval: 2 max_iter")
    place.replace("net.prototxt", "batch_size: 3", "batch_size: 9")
    done = place.train()
    assert "Layer 'data': a batch of 9 from 7 records: some come more than once" in done.err
    assert "27 images (3 batches of 9) from 7 records: 20 of them again" in done.err


@pytest.mark.parametrize("change", ["written", "removed", "replaced"])
def test_a_database_that_changes_while_it_is_read_is_told__row_31(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(database_module, "_LOOK_S", 0.0)
    images = numbered(7, SHAPE)
    database = open_database(write_images(tmp_path / "db", images))
    database.get(3)
    file = tmp_path / "db/data.mdb"
    if change == "written":
        os.utime(file, ns=(0, 0))
    else:
        file.unlink()
    if change == "replaced":
        shutil.copy(write_images(tmp_path / "other", images) + "/data.mdb", file)
    with pytest.raises(DataError, match=r"db: data\.mdb was written to, moved or removed"):
        database.get(3)


def test_a_database_opened_before_a_fork_is_read_after_it__row_30(tmp_path: Path) -> None:
    database = open_database(write_images(tmp_path / "db", numbered(7, SHAPE)))
    expected = database.get(3)
    child = os.fork()
    if not child:
        os._exit(0 if database.get(3) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert database.get(4) != expected
