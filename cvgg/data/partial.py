"""The folder NAME.partial that a database is written in: who may write in it, and what is left.

The lock is on data.mdb itself: a lock file would have to go before the folder gets its name, and
for that moment nothing would be locked.
"""

import fcntl
import os
import re
from pathlib import Path

from cvgg.data.database import CHECKSUMS
from cvgg.data.files import TEMPORARY
from cvgg.errors import CannotCreateError

RECORDS = "data.mdb"  # LMDB's name
FACTS = "cvgg.json"  # about a whole database
JOURNAL = "journal.json"  # what a stopped conversion goes on from

_WRITTEN = "being written by another converter"
_LEFT = re.compile(rf"\.({re.escape(FACTS)}|{re.escape(JOURNAL)}){TEMPORARY}")


def partial_of(target: Path) -> Path:
    """Where the database `target` is written until it is whole."""
    return target.with_name(target.name + ".partial")


def check_target(target: Path, *, resume: bool = False) -> None:
    """CannotCreateError if `target` is there or, without `resume`, its partial: before the source
    is read, which may take long."""
    if os.path.lexists(target):
        raise CannotCreateError(f"{target}: exists: choose another name or remove it")
    partial = partial_of(target)
    if not resume and os.path.lexists(partial):
        raise CannotCreateError(f"{partial}: {_state(partial)}")


def claim(target: Path, *, resume: bool) -> tuple[int, bool]:
    """The locked descriptor of the partial's data.mdb, and whether the partial is new.

    The lock lasts until the descriptor is closed. Raises CannotCreateError.
    """
    check_target(target, resume=resume)
    partial = partial_of(target)
    try:
        new = _make(partial)
        if not new and not resume:
            raise CannotCreateError(f"{partial}: {_state(partial)}")
        descriptor = os.open(partial / RECORDS, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as fault:
        if os.path.isdir(partial) and not os.listdir(partial):
            os.rmdir(partial)
        raise CannotCreateError(f"{target}: cannot be made: {fault.strerror}") from fault
    if not _lock(descriptor) or not _is_at(descriptor, partial / RECORDS):
        os.close(descriptor)
        raise CannotCreateError(f"{partial}: {_WRITTEN}")
    return descriptor, new


def has_journal(partial: Path) -> bool:
    """Whether a conversion can go on from it: by the facts where only the name is missing."""
    return any(os.path.exists(partial / name) for name in (JOURNAL, FACTS))


def sweep(partial: Path) -> None:
    """Removes the temporary files of a process that was killed. Needs the lock."""
    for name in os.listdir(partial):
        if _LEFT.fullmatch(name):
            os.unlink(partial / name)


def clear(partial: Path, descriptor: int) -> None:
    """Removes what was written before a whole batch was there. Needs the lock.

    CannotCreateError if anything else is in the folder: it is not a converter's.
    """
    sweep(partial)
    others = sorted(set(os.listdir(partial)) - {RECORDS, CHECKSUMS})
    if others:
        raise CannotCreateError(
            f"{partial}: not left by a converter, {others[0]!r} is in it: move or remove it"
        )
    os.ftruncate(descriptor, 0)
    (partial / CHECKSUMS).unlink(missing_ok=True)


def _make(partial: Path) -> bool:
    """Makes the folder if it is not there; whether it was made."""
    try:
        partial.mkdir()
    except FileExistsError:
        return False
    return True


def _lock(descriptor: int) -> bool:
    """Whether the lock is held now. Some network disks have no locks: nothing is known there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has that name: the one who had the lock may have renamed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _state(partial: Path) -> str:
    """Whose the partial is, and what to do."""
    try:
        descriptor = os.open(partial / RECORDS, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        free = True
    else:
        free = _lock(descriptor)
        os.close(descriptor)
    if not free:
        return _WRITTEN
    if has_journal(partial):
        return "left by a converter that was stopped: --resume goes on from it, or remove it"
    return "left by a converter that was stopped before anything was whole: remove it"
