"""A database of records: an LMDB folder, read only, shared by all who read it in this process.

A database that cvgg wrote has a file `crc32` beside it: the CRC-32 of each record in the order of
the keys, uint32 little-endian. Each record that is read is held against it.
"""

import itertools
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakValueDictionary

import lmdb
import numpy as np
from numpy.typing import NDArray

from cvgg.data.files import read_regular
from cvgg.errors import DataError, MissingInputError

CHECKSUMS = "crc32"  # the file's name in the folder

_LOOK_S = 1.0  # between two looks whether the file has changed
_READERS = 64  # read transactions kept for reuse: about one a thread


class Database:
    """The records of one LMDB in the byte order of their keys, as Caffe reads them.

    Threads may read at the same time. Get one from open_database: LMDB allows a process to open a
    folder only once.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = Lock()
        self._keys = b""  # all keys in one piece: a million bytes objects would take 80 MB
        self._ends: NDArray[np.int64] | None = None
        self._environment = _open_environment(path)
        self._file = os.path.join(path, "data.mdb")
        self._stamp, self._looked = _stamp(self._file), time.monotonic()
        try:
            self._count = self._check_whole()
            self._checksums = _read_checksums(path, self._count)
        except BaseException:
            self._environment.close()
            raise

    def __len__(self) -> int:
        return self._count

    def key(self, i: int) -> bytes:
        """The key of record number i, 0 <= i < len."""
        ends = self._index()
        return self._keys[ends[i] : ends[i + 1]]

    @contextmanager
    def record(self, i: int) -> Iterator[memoryview]:
        """Record number i where it lies in the file; nothing may look at it after the `with` block.

        Raises DataError if the database is damaged there, or the record is not what was written.
        """
        key = self.key(i)
        self._look()
        try:
            transaction = self._environment.begin(buffers=True)
        except lmdb.Error as fault:
            raise self._damaged(_where(self.path, key), fault) from fault
        with transaction:
            try:
                view: memoryview | None = transaction.get(key)
            except lmdb.Error as fault:
                raise self._damaged(_where(self.path, key), fault) from fault
            if view is None:
                raise DataError(f"{self.where(i)}: gone; something writes to the database")
            self._check_unchanged(i, key, view)
            yield view

    def get(self, i: int) -> bytes:
        """A copy of record number i. Raises DataError as `record` does."""
        with self.record(i) as view:
            return bytes(view)

    def first(self) -> tuple[str, bytes]:
        """Where the first record is, and the record; does not read all keys as `get` does."""
        try:
            with self._environment.begin() as transaction, transaction.cursor() as cursor:
                cursor.first()
                key, record = cursor.item()
        except lmdb.Error as fault:
            raise self._damaged(self.path, fault) from fault
        self._check_unchanged(0, key, record)
        return _where(self.path, key), record

    def where(self, i: int) -> str:
        """What stands in front of a message about record number i: "train_lmdb[00000007_a.jpg]"."""
        return _where(self.path, self.key(i))

    def _damaged(self, where: str, fault: lmdb.Error) -> DataError:
        return DataError(f"{where}: the database is damaged: {fault}")

    def _check_unchanged(self, i: int, key: bytes, record: bytes | memoryview) -> None:
        """Raises DataError if record i has not the checksum that was written with it."""
        if self._checksums is not None and zlib.crc32(record) != self._checksums[i]:
            raise DataError(
                f"{_where(self.path, key)}: the record has changed since it was written "
                f"(checksum); make the database anew"
            )

    def _look(self) -> None:
        """Raises DataError if the file is not the one that was opened: its pages would be read
        with the old map, which gives garbage, or SIGBUS where it has become shorter."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        if _stamp(self._file) != self._stamp:
            raise DataError(
                f"{self.path}: data.mdb was written to, moved or removed since it was opened"
            )

    def _index(self) -> NDArray[np.int64]:
        """Where each key begins in self._keys, and where the last ends; read at first use."""
        with self._lock:
            if self._ends is None:
                keys: list[bytes] = []
                try:
                    with self._environment.begin() as transaction:
                        cursor = transaction.cursor()
                        keys.extend(cursor.iternext(keys=True, values=False))
                except lmdb.Error as fault:
                    behind = f"behind {_where(self.path, keys[-1])}" if keys else "at its start"
                    raise DataError(
                        f"{self.path}: the database is damaged {behind}: {fault}"
                    ) from fault
                self._keys = b"".join(keys)
                lengths = itertools.accumulate(map(len, keys), initial=0)
                self._ends = np.fromiter(lengths, np.int64, len(keys) + 1)
            return self._ends

    def _check_whole(self) -> int:
        """The number of records, at least 1. Raises DataError for a file that was cut: reading its
        lost pages would end the process with SIGBUS."""
        statistics = self._environment.stat()
        wanted = (self._environment.info()["last_pgno"] + 1) * statistics["psize"]
        size = os.path.getsize(self._file)
        if size < wanted:
            raise DataError(
                f"{self.path}: data.mdb is cut off: {size} of {wanted} bytes; copy it again"
            )
        count: int = statistics["entries"]
        if not count:
            raise DataError(f"{self.path}: the database has no records")
        return count


_opened: WeakValueDictionary[tuple[str, int, int], Database] = WeakValueDictionary()
_opening = Lock()


def open_database(path: str) -> Database:
    """The database in the folder `path`; the same object for the same folder as long as somebody
    holds it.

    Raises MissingInputError if it is not there, DataError if it is no LMDB, cut off or empty.
    """
    _check_folder(path)
    with _opening:
        file = os.stat(os.path.join(path, "data.mdb"))
        # The inode too: the folder may have been made anew since.
        key = (os.path.realpath(path), file.st_dev, file.st_ino)
        found = _opened.get(key)
        if found is None:
            found = _opened[key] = Database(path)
        return found


def _check_folder(path: str) -> None:
    if not os.path.lexists(path):
        raise MissingInputError(
            f"{path}: no such database (in {os.getcwd()}); "
            f"make it with: cvgg convert-imagenet SOURCE {path}"
        )
    if not os.path.isdir(path):
        raise DataError(f"{path}: not a database; an LMDB is a folder with a file data.mdb")
    file = os.path.join(path, "data.mdb")
    if os.path.isfile(file):
        if not os.access(file, os.R_OK):
            raise MissingInputError(f"{file}: no right to read it (in {os.getcwd()})")
        if path.endswith(".partial") and not os.path.exists(os.path.join(path, "cvgg.json")):
            raise DataError(f"{path}: not whole: a converter writes it, or was stopped")
        return
    if os.path.isfile(os.path.join(path, "CURRENT")):
        raise DataError(
            f"{path}: a LevelDB; cvgg reads LMDB: make one with "
            f"cvgg convert-imagenet SOURCE DB, or with Caffe's convert_imageset -backend lmdb"
        )
    raise MissingInputError(f"{path}: not a database: there is no file data.mdb in it")


def _open_environment(path: str) -> lmdb.Environment:
    try:
        # No lock: it may lie on a read-only disk. No readahead: records are read in any order.
        return lmdb.open(
            path, readonly=True, lock=False, readahead=False, create=False, max_spare_txns=_READERS
        )
    except lmdb.Error as fault:
        if "already open" in str(fault):
            raise DataError(f"{path}: this process has it open for writing") from fault
        raise DataError(f"{path}: not an LMDB database, or damaged: {fault}") from fault


def _read_checksums(path: str, count: int) -> NDArray[np.uint32] | None:
    """The CRC-32 of each of `count` records; None if the database came without them."""
    file = os.path.join(path, CHECKSUMS)
    if not os.path.lexists(file):
        return None
    content = read_regular(file)
    if len(content) != 4 * count:
        raise DataError(
            f"{file}: {len(content)} bytes do not belong to the {count} records of data.mdb "
            f"(4 bytes each); make the database anew"
        )
    return np.frombuffer(content, "<u4")


def _stamp(file: str) -> tuple[int, int, int, int]:
    """What changes when a file is replaced or written to; zeros if it is gone."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0, 0, 0
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _where(path: str, key: bytes) -> str:
    return f"{path}[{key.decode('utf-8', 'backslashreplace')}]"
