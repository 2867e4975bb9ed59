"""Feeds: the same batch whatever came before it, made ahead but not further than asked."""

import threading
from collections.abc import Iterator
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from databases import numbered, write_checksums, write_images, write_lmdb
from numpy.typing import NDArray

from cvgg.data.database import open_database
from cvgg.data.datum import Datum, datum_bytes
from cvgg.data.feed import Feed, Format
from cvgg.data.images import Colour, Scratch, decode
from cvgg.data.order import Shuffled, Stored
from cvgg.data.records import DatumRecords, read
from cvgg.data.transform import Cropper, draw
from cvgg.errors import DataError

SEED, BATCH, COUNT, SHAPE, CROP = 11, 3, 7, (2, 6, 5), 4
WHOLE = Cropper(0, mirror=False, random=False)
RANDOM = Cropper(CROP, mirror=True, random=True)


class Numbers:
    """Records whose image is their number; notes what is read. Record `slow` waits for `gate`."""

    def __init__(self, count: int, *, slow: int = -1) -> None:
        self.count, self.slow = count, slow
        self.seen: list[int] = []
        self.begun, self.gate = threading.Event(), threading.Event()

    def __len__(self) -> int:
        return self.count

    @contextmanager
    def lend(self, i: int, scratch: Scratch) -> Iterator[tuple[NDArray[np.uint8], int]]:
        if i == self.slow:
            self.begun.set()
            assert self.gate.wait(30)
        self.seen.append(i)
        yield np.full((1, 1, 1), i, np.uint8), i + 100

    def label(self, i: int) -> int:
        return i + 100

    def where(self, i: int) -> str:
        return f"numbers[{i}]"


def numbers_feed(records: Numbers, *, prefetch: int = 2, batch_size: int = BATCH) -> Feed:
    return Feed(
        records,
        Stored(len(records)),
        Format((1, 1, 1), "uint8", WHOLE),
        batch_size=batch_size,
        layer="data",
        seed=SEED,
        threads=2,
        prefetch=prefetch,
    )


def image_feed(path: str, form: Format, *, shuffle: bool = False) -> Feed:
    records = DatumRecords(open_database(path), Colour.AS_STORED)
    order: Any = Stored(len(records))
    if shuffle:
        order = Shuffled(len(records), layer="data", seed=SEED)
    return Feed(
        records, order, form, batch_size=BATCH, layer="data", seed=SEED, threads=2, prefetch=1
    )


def cropping(*, whole: tuple[int, int] | None = None) -> Format:
    return Format((2, CROP, CROP), "uint8", RANDOM, whole)


def test_batches_go_round_the_records(tmp_path: Path) -> None:
    images = numbered(COUNT, SHAPE)
    feed = image_feed(
        write_images(tmp_path / "db", images, label=40), Format(SHAPE, "uint8", WHOLE)
    )
    for number in (0, 1, 2, 3, 9, 1):
        batch = feed.take(number)
        wanted = [(number * BATCH + i) % COUNT for i in range(BATCH)]
        np.testing.assert_array_equal(batch.images, [images[i] for i in wanted])
        np.testing.assert_array_equal(batch.labels, [40.0 + i for i in wanted])
        np.testing.assert_array_equal(batch.place, np.zeros((BATCH, 3)))
    assert feed.images == 6 * BATCH
    assert feed.waited_s > 0
    feed.close()


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_is_the_same_whatever_was_taken_before(tmp_path: Path, *, shuffle: bool) -> None:
    images = numbered(COUNT, SHAPE)
    path = write_images(tmp_path / "db", images)
    feed = image_feed(path, cropping(), shuffle=shuffle)
    order: Any = Shuffled(COUNT, layer="data", seed=SEED) if shuffle else Stored(COUNT)
    for number in (0, 1, 2, 40, 1, 2):
        batch = feed.take(number)
        positions = number * BATCH + np.arange(BATCH)
        words = draw(positions, layer="data", seed=SEED)
        for i, record in enumerate(order.records(positions)):
            row, column, mirror = RANDOM.place(*SHAPE[1:], words[i])
            cut = images[record][:, row : row + CROP, column : column + CROP]
            np.testing.assert_array_equal(batch.images[i], cut)
            np.testing.assert_array_equal(batch.place[i], (row, column, mirror))
            assert batch.labels[i] == record
    feed.close()


def test_the_next_batches_are_made_ahead_and_no_more() -> None:
    records = Numbers(100)
    feed = numbers_feed(records, prefetch=2)
    feed.take(5)
    feed.take(6)
    feed.close()  # waits for what has begun; the rest is dropped
    assert set(records.seen) <= set(range(15, 27))
    assert len(records.seen) == len(set(records.seen))


def test_a_batch_made_ahead_is_not_read_again() -> None:
    records = Numbers(100)
    feed = numbers_feed(records, prefetch=1)
    for number in range(4):
        feed.take(number)
    feed.close()
    assert sorted(records.seen)[:12] == list(range(12))
    assert len(records.seen) == len(set(records.seen))


def test_the_memory_of_batches_is_used_again() -> None:
    feed = numbers_feed(Numbers(100), prefetch=2)
    places = {feed.take(number).images.ctypes.data for number in (0, 1, 2, 3, 4, 50, 51, 3, 2, 9)}
    assert len(places) <= 3
    feed.close()


def test_a_jump_waits_until_no_thread_writes_to_the_memory_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = Numbers(100, slow=2 * BATCH)  # in the batch whose memory is taken first
    feed = numbers_feed(records, prefetch=2)
    feed.take(0)
    assert records.begun.wait(30)

    def open_and_wait(futures: Any) -> Any:
        records.gate.set()
        return wait_for(futures)

    monkeypatch.setattr("cvgg.data.feed.wait_for", open_and_wait)
    batch = feed.take(20)
    records.gate.set()
    feed.close()
    np.testing.assert_array_equal(batch.images.reshape(-1), [60, 61, 62])


def test_a_worker_reads_only_its_share_of_each_batch() -> None:
    records = Numbers(1000)
    feed = numbers_feed(records, prefetch=1, batch_size=10)
    for number in range(3):
        for first, images in ((4, 2), (6, 1)):
            batch = feed.take(number, first, images)
            rows = slice(first, first + images)
            np.testing.assert_array_equal(
                batch.images.reshape(-1)[rows], number * 10 + np.arange(10)[rows]
            )
            np.testing.assert_array_equal(batch.labels[rows], batch.images.reshape(-1)[rows] + 100)
    feed.close()
    assert {i % 10 for i in records.seen} == {4, 5, 6}
    assert len(records.seen) == len(set(records.seen))
    assert feed.images == 9


def test_labels_are_those_of_the_whole_batch_and_decode_nothing() -> None:
    records = Numbers(8)
    feed = numbers_feed(records)
    np.testing.assert_array_equal(feed.labels(2), [106, 107, 100])
    assert not records.seen
    feed.close()


def test_labels_of_a_batch_that_is_there_are_not_read_again() -> None:
    class Unlabelled(Numbers):
        def label(self, i: int) -> int:
            raise AssertionError(i)

    feed = numbers_feed(Unlabelled(8), prefetch=0)
    feed.take(2)
    labels = feed.labels(2)
    feed.take(0)  # into the same memory
    np.testing.assert_array_equal(labels, [106, 107, 100])
    with pytest.raises(AssertionError, match="6"):
        feed.labels(2)
    feed.close()
    feed = numbers_feed(Unlabelled(8), prefetch=0)
    feed.take(2, 0, 2)  # a share of it is not all of it
    with pytest.raises(AssertionError, match="6"):
        feed.labels(2)
    feed.close()


def test_jpegs_of_any_size_are_decoded_into_the_same_memory_and_cut(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    sizes = [(9, 6), (31, 40), (4, 4), (12, 70), (40, 31), (5, 5), (8, 8)]
    files = []
    for size in sizes:
        pixels = chance.integers(0, 256, (*size, 3)).astype(np.uint8)
        files.append(simplejpeg.encode_jpeg(pixels, quality=90))
    records = {
        b"%d" % i: datum_bytes(Datum(data=data, label=i, encoded=True))
        for i, data in enumerate(files)
    }
    feed = image_feed(
        write_lmdb(tmp_path / "db", records), Format((3, CROP, CROP), "uint8", RANDOM)
    )
    for number in (0, 1, 2, 0):
        batch = feed.take(number)
        for row, record in enumerate((number * BATCH + i) % len(files) for i in range(BATCH)):
            top, left, _ = batch.place[row]
            cut = decode(files[record], "")[:, top : top + CROP, left : left + CROP]
            np.testing.assert_array_equal(batch.images[row], cut)
            assert batch.labels[row] == record
    feed.close()


def test_a_raw_image_is_lent_as_it_lies_in_the_database_and_read_as_a_copy(tmp_path: Path) -> None:
    images = numbered(2, SHAPE)
    database = open_database(write_images(tmp_path / "db", images, label=40))
    records = DatumRecords(database, Colour.AS_STORED)
    with records.lend(1, Scratch(0)) as (image, label), database.record(1) as record:
        whole = np.frombuffer(record, np.uint8)
        assert np.shares_memory(image, whole)
        assert not image.flags.writeable
        assert label == 41
        copy, same = read(records, 1)
        assert same == 41
        assert not np.shares_memory(copy, whole)
        np.testing.assert_array_equal(copy, images[1])
        np.testing.assert_array_equal(image, images[1])


def test_a_record_that_has_changed_comes_out_of_take_with_the_key(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", numbered(COUNT, SHAPE))
    write_checksums(path)
    file = tmp_path / "db" / "data.mdb"
    content = bytearray(file.read_bytes())
    content[content.rindex(numbered(1, SHAPE, first=4)[0].tobytes()) + 7] ^= 1
    file.write_bytes(content)
    feed = image_feed(path, Format(SHAPE, "uint8", WHOLE))
    feed.take(0)
    with pytest.raises(DataError, match=r"db\[00000004\]: the record has changed since"):
        feed.take(1)
    with pytest.raises(DataError, match=r"db\[00000004\]: the record has changed since"):
        feed.labels(1)
    feed.close()


def test_an_error_of_a_thread_comes_out_of_take_with_the_key(tmp_path: Path) -> None:
    good = datum_bytes(Datum(1, 1, 1, b"a", 1))
    path = write_lmdb(tmp_path / "db", {b"0": good, b"1": good, b"2": good, b"3": b"\x22\x09"})
    feed = image_feed(path, Format((1, 1, 1), "uint8", WHOLE))
    feed.take(0)  # the bad record is read ahead: not an error yet
    with pytest.raises(DataError, match=r"db\[3\]: not a Datum"):
        feed.take(1)
    with pytest.raises(DataError, match=r"db\[3\]: not a Datum"):
        feed.take(1)
    feed.close()


@pytest.mark.parametrize(
    ("shape", "form", "why"),
    [
        ((2, 6, 4), Format(SHAPE, "uint8", WHOLE), "2x6x4 .* takes 2 channels and 6x5 pixels"),
        ((3, 6, 5), Format(SHAPE, "uint8", WHOLE), "3x6x5 .* takes 2 channels"),
        ((2, 3, 5), cropping(), r"2x3x5 .* at least 4x4 pixels .crop_size"),
        ((1, 6, 5), cropping(), "1x6x5 .* takes 2 channels"),
        ((2, 6, 6), cropping(whole=(6, 5)), r"2x6x6 .* 6x5 pixels .mean_file"),
        (SHAPE, Format(SHAPE, "float32", WHOLE), "pixels are uint8, .* were float32"),
    ],
)
def test_an_image_that_does_not_fit_is_told_with_the_key(
    tmp_path: Path, shape: tuple[int, int, int], form: Format, why: str
) -> None:
    feed = image_feed(write_images(tmp_path / "db", numbered(1, shape)), form)
    with pytest.raises(DataError, match=rf"db\[00000000\]: .*{why}"):
        feed.take(0)
    feed.close()


def test_a_larger_image_is_fine_where_it_is_cropped(tmp_path: Path) -> None:
    images = numbered(1, (2, 9, 11))
    feed = image_feed(write_images(tmp_path / "db", images), cropping())
    row, column, _ = feed.take(0).place[0]
    cut = images[0][:, row : row + CROP, column : column + CROP]
    np.testing.assert_array_equal(feed.take(0).images[0], cut)
    feed.close()
