"""The writer of databases: batches, checksums, and who may write."""

import fcntl
import os
import zlib
from pathlib import Path
from typing import NoReturn

import lmdb
import numpy as np
import pytest

from cvgg.data import writer as module
from cvgg.data.database import open_database
from cvgg.data.journal import Journal
from cvgg.data.partial import check_target
from cvgg.data.writer import Writer
from cvgg.errors import CannotCreateError, DataError, InputOutputError


def test_the_map_grows_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_MAP", 2**16)
    with Writer(tmp_path / "db", batch=2**15) as writer:
        for number in range(100):
            writer.put(b"%08d" % number, bytes([number]) * 5000)
        writer.finish({})
    database = open_database(str(tmp_path / "db"))
    assert [database.get(i) for i in range(100)] == [bytes([i]) * 5000 for i in range(100)]


@pytest.mark.parametrize("batch", [1, 3000, 2**20])
def test_the_checksums_of_all_values_stand_in_order_of_the_keys(tmp_path: Path, batch: int) -> None:
    values = [bytes([number]) * (700 + number) for number in range(11)]
    with Writer(tmp_path / "db", batch=batch) as writer:
        for number, value in enumerate(values):
            writer.put(b"%08d" % number, value)
        writer.finish({"records": 11})
    assert sorted(os.listdir(tmp_path / "db")) == ["crc32", "cvgg.json", "data.mdb"]
    sums = np.fromfile(tmp_path / "db/crc32", "<u4")
    assert sums.tolist() == [zlib.crc32(value) for value in values]


def test_a_full_batch_is_on_the_disk_before_the_next_record(tmp_path: Path) -> None:
    with Writer(tmp_path / "db", batch=20) as writer:
        counts = []
        for number in range(5):
            writer.put(b"%d" % number, bytes(9))
            counts.append((tmp_path / "db.partial/crc32").exists() and writer.written)
        assert counts == [False, False, 27, 27, 27]
        last = writer.last()
        assert last == (b"2", bytes(9))


def test_a_disk_error_names_the_database_and_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Writer(tmp_path / "db") as writer:
        writer.put(b"a", b"1")
        monkeypatch.setattr(writer, "_database", FullDisk(writer._database))
        with pytest.raises(CannotCreateError, match=r"db: writing failed: .*error \(\d+ MiB"):
            writer.finish({})
    assert not os.listdir(tmp_path)


class FullDisk:
    """An environment whose transactions fail as on a full disk."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self.close = environment.close

    def begin(self, *, write: bool) -> NoReturn:
        raise lmdb.Error("mdb_txn_commit: Input/output error")


def test_keys_must_rise(tmp_path: Path) -> None:
    with Writer(tmp_path / "db") as writer:
        writer.put(b"b", b"1")
        writer.put(b"a", b"2")
        with pytest.raises(DataError, match="b'a' is not behind the last"):
            writer.finish({})
    assert not os.listdir(tmp_path)


def test_two_cannot_write_one_database(tmp_path: Path) -> None:
    with Writer(tmp_path / "db") as first:
        for resume in (False, True):
            with pytest.raises(CannotCreateError, match=r"db\.partial: being written by another"):
                Writer(tmp_path / "db", journal=Journal({}), resume=resume)
        with pytest.raises(CannotCreateError, match=r"db\.partial: being written by another"):
            check_target(tmp_path / "db")
        first.put(b"a", b"1")
        first.finish({})
    assert sorted(os.listdir(tmp_path)) == ["db"]


def test_the_lock_on_a_database_that_got_its_name_meanwhile_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of data.mdb and its lock the other converter is done."""
    (tmp_path / "db.partial").mkdir()
    flock = fcntl.flock

    def late(descriptor: int, what: int) -> None:
        (tmp_path / "db.partial").rename(tmp_path / "db")
        flock(descriptor, what)

    monkeypatch.setattr("cvgg.data.partial.fcntl.flock", late)
    with pytest.raises(CannotCreateError, match=r"db\.partial: being written by another"):
        Writer(tmp_path / "db", journal=Journal({}), resume=True)
    assert os.listdir(tmp_path) == ["db"]


def test_what_another_begins_after_the_end_is_not_removed(tmp_path: Path) -> None:
    with Writer(tmp_path / "db") as writer:
        writer.put(b"a", b"1")
        writer.finish({})
        (tmp_path / "db").rename(tmp_path / "moved")
        (tmp_path / "db.partial").mkdir()
    assert (tmp_path / "db.partial").exists()


def test_a_folder_that_cannot_be_synced_is_told_though_the_database_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(folder: Path) -> None:
        if (folder / "db").exists():
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "sync_folder", failing)
    with Writer(tmp_path / "db") as writer:
        writer.put(b"a", b"1")
        with pytest.raises(InputOutputError, match=r"db: whole, but .* Input/output error"):
            writer.finish({})
    assert open_database(str(tmp_path / "db")).get(0) == b"1"
