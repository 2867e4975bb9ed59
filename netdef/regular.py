"""Opens files that a user names: regular ones only, and never waits on a pipe or a device."""

import os
import stat
from typing import BinaryIO

from ..errors import DataError, MissingInputError


def open_regular(path: str | os.PathLike[str], *, what: str = "") -> BinaryIO:
    """The file, open for reading. what: put behind the path in messages.

    Raises MissingInputError, or DataError for a pipe or a device.
    """
    shown = f"{os.fspath(path)}: {what}"
    try:
        # Without O_NONBLOCK the open of a pipe that nobody writes would last for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as fault:
        raise MissingInputError(f"{shown}{fault.strerror}") from fault
    except ValueError as fault:  # a NUL in the path
        raise MissingInputError(f"{os.fspath(path)!r}: {what}{fault}") from fault
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise MissingInputError(f"{shown}Is a directory")
    raise DataError(f"{shown}not a regular file")
