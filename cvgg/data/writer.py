"""A new LMDB database, written beside its name and renamed when whole.

A batch of records is committed and on the disk before the next is begun: first the records, then
their checksums, then the journal of the conversion. What a stopped one has written behind its
journal is removed when it goes on.
"""

import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import lmdb
import numpy as np

from cvgg.data.database import CHECKSUMS
from cvgg.data.files import sync_folder, write_whole
from cvgg.data.journal import Journal
from cvgg.data.partial import (
    FACTS,
    JOURNAL,
    RECORDS,
    claim,
    clear,
    has_journal,
    partial_of,
    sweep,
)
from cvgg.errors import CannotCreateError, DataError, InputOutputError

_log = logging.getLogger("cvgg")

BATCH = 64 * 2**20  # bytes of records in a transaction
_FIRST_MAP = 2**30  # bytes; doubled when full, so no limit has to be guessed
_CHECKSUM = np.dtype("<u4")


class Writer:
    """Takes the records of a database, keys rising; finish() gives it its name.

    batch: bytes of records that are committed together. journal: brought up to date by the caller
    before each record, and written with each batch. resume: go on from a partial of this journal.
    As a context manager it removes what was written if finish() was not reached, but for what a
    journal tells how to go on from.
    """

    def __init__(
        self,
        target: Path,
        *,
        batch: int = BATCH,
        journal: Journal | None = None,
        resume: bool = False,
    ) -> None:
        self._target, self._batch, self._journal = target, batch, journal
        self._partial = partial_of(target)
        self._records: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        self.written = 0  # bytes that the committed records take
        self._finished = False
        self._lock, new = claim(target, resume=resume)
        self._strange = not new  # what is in the partial may not be removed
        try:
            self._database = self._open()
        except BaseException:
            self._leave()
            raise

    def put(self, key: bytes, value: bytes) -> None:
        """Adds a record behind all others. A batch that is full is committed."""
        self._records.append((key, value))
        self._bytes += len(value)
        if self._bytes >= self._batch:
            self._commit()

    def last(self) -> tuple[bytes, bytes] | None:
        """Key and value of the last committed record. DataError if it cannot be read."""
        try:
            with self._database.begin() as transaction, transaction.cursor() as cursor:
                return cursor.item() if cursor.last() else None
        except lmdb.Error as fault:
            raise self._damaged(str(fault)) from fault

    def finish(self, facts: Mapping[str, object]) -> None:
        """Makes the database appear under its name, with the facts in its cvgg.json."""
        self._commit()
        text = json.dumps(facts, ensure_ascii=True, indent=1)
        try:
            self._database.sync(True)
            self._database.close()
            write_whole(self._partial / FACTS, [text.encode() + b"\n"])
            (self._partial / JOURNAL).unlink(missing_ok=True)
            sync_folder(self._partial)
            os.rename(self._partial, self._target)
        except (OSError, lmdb.Error) as fault:
            raise self._fault(fault) from fault
        self._finished = True
        try:
            sync_folder(self._target.parent)
        except OSError as fault:
            raise InputOutputError(
                f"{self._target}: whole, but a power cut may take its name from it: syncing "
                f"{self._target.parent} failed: {fault.strerror}"
            ) from fault

    def _open(self) -> lmdb.Environment:
        """LMDB with the records that the journal counts: those of the partial, or none."""
        try:
            if self._strange:
                if self._journal is not None and self._journal.take_over(self._partial):
                    return self._take_over(self._journal.records)
                clear(self._partial, self._lock)
                self._strange = False
            sync_folder(self._target.parent)
            return self._environment(_FIRST_MAP)
        except (OSError, lmdb.Error) as fault:  # a disk that is full takes a folder, but no file
            raise self._fault(fault) from fault

    def _environment(self, size: int) -> lmdb.Environment:
        self._map = size
        return lmdb.open(str(self._partial), map_size=size, lock=False)

    def _take_over(self, records: int) -> lmdb.Environment:
        """LMDB with the first `records` records of the partial; what is behind them goes."""
        sweep(self._partial)
        size = os.stat(self._partial / RECORDS).st_size
        try:
            database = self._environment(max(_FIRST_MAP, 2 * size))
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as fault:
            raise self._damaged(str(fault)) from fault
        try:
            self._cut(database, size, records)
        except BaseException:
            database.close()
            raise
        return database

    def _cut(self, database: lmdb.Environment, size: int, records: int) -> None:
        """Removes what is behind so many records. size: bytes of data.mdb."""
        sums = self._partial / CHECKSUMS
        statistics = database.stat()
        surplus = statistics["entries"] - records
        # Reading a page behind the end of the file would end the process with SIGBUS.
        wanted = (database.info()["last_pgno"] + 1) * statistics["psize"]
        kept = sums.stat().st_size // _CHECKSUM.itemsize if sums.exists() else 0
        if size < wanted or surplus < 0 or kept < records:
            raise self._damaged(f"less in it than the {records} records of its journal")
        if surplus:
            with database.begin(write=True) as transaction, transaction.cursor() as cursor:
                for _ in range(surplus):
                    cursor.last()
                    cursor.delete()
        os.truncate(sums, records * _CHECKSUM.itemsize)
        self.written = size * records // max(1, statistics["entries"])

    def _commit(self) -> None:
        """Puts the waiting records where neither the end of the process nor of the power takes
        them; each step counts only with those before it."""
        self._put_all()
        sums = np.array([zlib.crc32(value) for _, value in self._records], _CHECKSUM)
        try:
            with open(self._partial / CHECKSUMS, "ab") as file:
                file.write(sums.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as fault:
            raise self._fault(fault) from fault
        self.written += self._bytes
        self._records.clear()
        self._bytes = 0
        if self._journal is not None:
            self._journal.write(self._partial)

    def _put_all(self) -> None:
        while True:
            try:
                with self._database.begin(write=True) as transaction:
                    for key, value in self._records:
                        if not transaction.put(key, value, append=True):
                            raise DataError(f"{self._target}: key {key!r} is not behind the last")
                return
            except lmdb.MapFullError:
                self._map *= 2
                self._database.set_mapsize(self._map)
            except lmdb.Error as fault:
                raise self._fault(fault) from fault

    def _fault(self, fault: Exception) -> CannotCreateError:
        free = shutil.disk_usage(self._target.parent).free >> 20
        return CannotCreateError(f"{self._target}: writing failed: {fault} ({free} MiB are free)")

    def _damaged(self, why: str) -> DataError:
        return DataError(f"{self._partial}: damaged: {why}: remove it and start from the beginning")

    def _resumable(self) -> bool:
        # What is on the disk counts: Ctrl-C may come while the journal is being written.
        return self._journal is not None and has_journal(self._partial)

    def _leave(self) -> None:
        """Lets go of the partial, and removes it if nobody could go on from it."""
        if not self._finished and not self._strange and not self._resumable():
            shutil.rmtree(self._partial, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()
        if not self._finished and self._resumable():
            _log.warning("%s: kept: the same command with --resume goes on from it", self._partial)
        self._leave()
