"""Files that are there whole or not at all, and reading that never waits on a pipe or a device."""

import errno
import fcntl
import os
import secrets
import stat
import zlib
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

from cvgg.errors import CannotCreateError, DataError, InputOutputError, MissingInputError

Part: TypeAlias = bytes | bytearray | memoryview

TEMPORARY = r"\.[0-9a-f]{8}\.tmp"  # pattern of what stands behind the name while it is written

_PIECE = 2**20  # bytes read at a time
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def write_whole(path: str | os.PathLike[str], parts: Iterable[Part]) -> None:
    """Writes `parts` one after the other to a file that appears under its name only when complete.

    A file that was there before stays as it is until then. On any fault the temporary file is
    removed; a process that is killed leaves it, but not its lock. Raises CannotCreateError (no
    folder, no right, no room) or InputOutputError.
    """
    shown = os.fspath(path)
    target = os.path.realpath(shown)  # a link keeps pointing to what is written
    if os.path.exists(target) and not os.path.isfile(target):
        raise CannotCreateError(f"{shown}: not a regular file, so it cannot be replaced")
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as fault:
        raise CannotCreateError(f"{shown}: cannot be made: {fault.strerror}") from fault
    try:
        with open(descriptor, "wb") as file:
            with suppress(OSError):  # some network disks have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, target)
        sync_folder(folder)
    except OSError as fault:
        kind = CannotCreateError if fault.errno in _NO_ROOM else InputOutputError
        raise kind(f"{shown}: writing failed: {fault.strerror}") from fault
    finally:
        with suppress(OSError):  # gone already if all went well
            os.unlink(temporary)


def read_regular(path: str | os.PathLike[str], *, where: str = "") -> bytes:
    """All of a regular file. `where` is put in front of messages: the line that names the file.

    Raises MissingInputError, DataError for a folder, pipe or device, InputOutputError.
    """
    shown = f"{where}: {os.fspath(path)}" if where else os.fspath(path)
    try:
        # Without O_NONBLOCK the open of a pipe that nobody writes would last for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as fault:
        raise MissingInputError(f"{shown}: no such file (in {os.getcwd()})") from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise MissingInputError(f"{shown}: cannot be opened: {fault}") from fault
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{shown}: not a regular file")
    with open(descriptor, "rb") as file:
        try:
            return file.read()
        except OSError as fault:
            raise InputOutputError(f"{shown}: reading failed: {fault.strerror}") from fault


def checksum(path: str | os.PathLike[str], size: int | None = None) -> tuple[int, int]:
    """Bytes and CRC-32 of a file, or of its first `size` bytes.

    Raises MissingInputError or InputOutputError."""
    shown = os.fspath(path)
    done = total = 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE if size is None else min(_PIECE, size - done)):
                total = zlib.crc32(piece, total)
                done += len(piece)
    except FileNotFoundError as fault:
        raise MissingInputError(f"{shown}: no such file (in {os.getcwd()})") from fault
    except OSError as fault:
        raise InputOutputError(f"{shown}: reading failed: {fault.strerror}") from fault
    return done, total


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Makes the new name last: without it a power cut may bring the old file back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
