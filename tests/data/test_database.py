"""Databases: order, sharing, and every way in which they can be missing or damaged."""

import gc
import os
import shutil
import threading
import tracemalloc
from pathlib import Path

import lmdb
import numpy as np
import pytest
from databases import write_checksums, write_lmdb

from cvgg.data.database import open_database
from cvgg.errors import DataError, MissingInputError


def test_records_come_in_the_byte_order_of_their_keys(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"b": b"2", b"a\xff": b"1", b"B": b"0", b"ba": b"3"})
    database = open_database(path)
    assert len(database) == 4
    assert [database.get(i) for i in range(4)] == [b"0", b"1", b"2", b"3"]
    assert [database.key(i) for i in range(4)] == [b"B", b"a\xff", b"b", b"ba"]
    assert database.where(1) == f"{path}[a\\xff]"
    assert database.first() == (f"{path}[B]", b"0")


def test_a_record_is_lent_where_it_lies_and_not_copied(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096  # 1 MiB
    database = open_database(write_lmdb(tmp_path / "db", {b"a": content, b"b": b"2"}))
    database.key(0)
    tracemalloc.start()
    try:
        with database.record(0) as first, database.record(0) as second:
            assert first.readonly
            assert np.frombuffer(first).ctypes.data == np.frombuffer(second).ctypes.data
            assert tracemalloc.get_traced_memory()[1] < 1 << 16
            assert first == content
    finally:
        tracemalloc.stop()


def test_many_threads_may_look_at_records_at_the_same_time(tmp_path: Path) -> None:
    # More than LMDB keeps read transactions for.
    database = open_database(
        write_lmdb(tmp_path / "db", {b"%03d" % i: b"%d" % i for i in range(70)})
    )
    meet = threading.Barrier(70, timeout=30)
    seen: dict[int, bytes] = {}

    def look(i: int) -> None:
        with database.record(i) as view:
            meet.wait()
            seen[i] = bytes(view)

    threads = [threading.Thread(target=look, args=(i,)) for i in range(70)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {i: b"%d" % i for i in range(70)}


def test_the_checksum_of_each_record_is_that_at_its_place_in_the_order_of_keys(
    tmp_path: Path,
) -> None:
    path = write_lmdb(tmp_path / "db", {b"b": b"2" * 50, b"a": b"1" * 9000, b"c": b""})
    write_checksums(path)
    database = open_database(path)
    assert [database.get(i) for i in range(3)] == [b"1" * 9000, b"2" * 50, b""]
    assert database.first()[1] == b"1" * 9000


def test_a_record_that_has_changed_is_told_at_each_way_to_read_it(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1" * 9000, b"b": b"2" * 50})
    write_checksums(path)
    file = tmp_path / "db" / "data.mdb"
    content = bytearray(file.read_bytes())
    content[content.index(b"1" * 9000) + 4321] ^= 0x10
    file.write_bytes(content)
    database = open_database(path)
    assert database.get(1) == b"2" * 50
    message = (
        rf"^{path}\[a\]: the record has changed since it was written \(checksum\); "
        "make the database anew$"
    )
    with pytest.raises(DataError, match=message), database.record(0):
        pass
    with pytest.raises(DataError, match=message):
        database.get(0)
    with pytest.raises(DataError, match=message):
        database.first()


@pytest.mark.parametrize("length", [0, 7, 9, 12])
def test_checksums_of_another_database_are_refused(tmp_path: Path, length: int) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1", b"b": b"2"})
    (tmp_path / "db" / "crc32").write_bytes(bytes(length))
    message = f"^{path}/crc32: {length} bytes do not belong to the 2 records of data.mdb"
    with pytest.raises(DataError, match=message) as raised:
        open_database(path)
    write_checksums(path)
    assert open_database(path).get(1) == b"2"  # LMDB takes a folder once: it has been let go of
    assert raised.value.exit_code == 65


def test_checksums_that_are_no_file_are_refused(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1"})
    os.mkfifo(tmp_path / "db" / "crc32")
    with pytest.raises(DataError, match=r"db/crc32: not a regular file"):
        open_database(path)


def test_one_folder_is_opened_once_whatever_its_name(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1"})
    os.symlink(path, tmp_path / "link")
    assert open_database(path) is open_database(str(tmp_path / "link"))


def test_a_folder_made_anew_is_opened_anew(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1"})
    old = open_database(path)
    os.rename(path, tmp_path / "old")  # as a converter's last rename does
    write_lmdb(tmp_path / "db", {b"a": b"2"})
    assert open_database(path).get(0) == b"2"
    assert old.get(0) == b"1"


def test_nothing_is_held_once_nobody_holds_the_database(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1"})
    database = open_database(path)
    del database
    gc.collect()
    lmdb.open(path).close()  # raises if this process still has it open


def test_a_read_only_folder_is_read_and_not_written_to(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1"})
    os.remove(tmp_path / "db" / "lock.mdb")
    assert open_database(path).get(0) == b"1"
    assert os.listdir(path) == ["data.mdb"]


def test_a_missing_database_says_how_to_make_it(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    with pytest.raises(
        MissingInputError, match=f"^{path}: .*make it with: cvgg convert-imagenet SOURCE {path}"
    ) as raised:
        open_database(path)
    assert raised.value.exit_code == 66


def test_a_cut_off_database_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"%04d" % i: b"x" * 5000 for i in range(20)})
    file = tmp_path / "db" / "data.mdb"
    size = file.stat().st_size
    os.truncate(file, size - 4096)
    with pytest.raises(DataError, match=f"db: data.mdb is cut off: {size - 4096} of {size} bytes"):
        open_database(path)
    os.truncate(file, 2 * 4096)
    with pytest.raises(DataError, match="cut off"):
        open_database(path)


@pytest.mark.parametrize("content", [b"", b"hello" * 3000])
def test_a_file_that_is_no_lmdb_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match="not an LMDB database"):
        open_database(str(tmp_path))


def test_damaged_pages_are_told_with_the_key(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"%04d" % i: b"x" * 90 for i in range(400)})
    file = tmp_path / "db" / "data.mdb"
    content = bytearray(file.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 + 8 : page * 4096 + 16] = b"\xff" * 8
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: the database is damaged"):
        open_database(path).get(3)


def test_a_leveldb_is_named_as_such(tmp_path: Path) -> None:
    for name in ("CURRENT", "MANIFEST-000004", "000005.ldb"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="a LevelDB; cvgg reads LMDB"):
        open_database(str(tmp_path))


def test_a_file_or_an_empty_folder_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DataError, match="an LMDB is a folder"):
        open_database(str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match=r"no file data\.mdb"):
        open_database(str(tmp_path / "empty"))


def test_a_database_without_records_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no records"):
        open_database(write_lmdb(tmp_path / "db", {}))


def test_a_database_open_for_writing_in_this_process_is_told(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "db", {b"a": b"1"})
    writer = lmdb.open(path)
    with pytest.raises(DataError, match="open for writing"):
        open_database(path)
    writer.close()
    shutil.rmtree(path)
