"""Caffe's list of images: a text file with lines of `path label`."""

import os
from dataclasses import dataclass

from cvgg.data.files import read_regular
from cvgg.errors import DataError

_LABELS = range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the path as written, the label, the line's number from 1."""

    path: str
    label: int
    line: int


def read_list(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a list file. Empty lines are passed over; paths may hold blanks.

    The label is what stands behind the last run of blanks. File names that are not UTF-8 are kept
    as surrogates, as in os.fsdecode. Raises MissingInputError, or DataError that starts with
    FILE:LINE.
    """
    shown = os.fspath(path)
    text = read_regular(path).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    entries = [
        _entry(line.strip(), f"{shown}:{number}", number)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not entries:
        raise DataError(f"{shown}: the list has no entries")
    return entries


def _entry(line: str, where: str, number: int) -> Entry:
    if "\0" in line:
        raise DataError(f"{where}: a NUL byte; a list is text with lines of: path label")
    words = line.rsplit(maxsplit=1)
    if len(words) < 2:
        raise DataError(f"{where}: no label behind {line!r}; a line is: path label")
    name, word = words
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise DataError(f"{where}: the label must be a whole number, is {word!r}")
    # Python turns no text of more than 4300 digits into a number.
    if len(digits) > 4300 or int(word) not in _LABELS:
        raise DataError(f"{where}: the label {word} does not fit in 32 bits")
    return Entry(name, int(word), number)
