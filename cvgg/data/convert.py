"""The converter: images of a source become records of an LMDB database, in order, by many threads.

Keys are Caffe's: the place in the order with 8 digits, "_", the image's path. Facts about the
database stand in cvgg.json. A conversion that was stopped can go on: see writer.py.
"""

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from cvgg.data.disks import check_room, warn_of_network
from cvgg.data.form import (
    ENCODINGS,
    Form,
    Record,
    as_stored,
    bytes_needed,
    exactly,
    make_record,
    raw_datum,
    resize_as_caffe,
    short_side,
)
from cvgg.data.imagenet import Item, Source
from cvgg.data.journal import Journal
from cvgg.data.order import Shuffled
from cvgg.data.partial import FACTS, check_target, partial_of
from cvgg.data.writer import BATCH, Writer
from cvgg.errors import DataError, Error

__all__ = [
    "ENCODINGS",
    "FACTS",
    "Form",
    "Result",
    "Writer",
    "as_stored",
    "check_target",
    "convert",
    "exactly",
    "in_order",
    "raw_datum",
    "resize_as_caffe",
    "short_side",
]

_log = logging.getLogger("cvgg")

_MOST_RECORDS = 10**8  # 8 digits: beyond, byte order is not the records' order
_LONGEST_KEY = 511  # bytes: LMDB's limit
Thing = TypeVar("Thing")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Result:
    """records: written. kept: how many of them hold the file's own bytes. skipped: why, each."""

    records: int
    kept: int
    skipped: tuple[str, ...]


def convert(
    source: Source,
    target: Path,
    form: Form,
    *,
    threads: int = 1,
    shuffle: int | None = None,
    skip_damaged: bool = False,
    resume: bool = False,
    batch: int = BATCH,
    taken_over: Callable[[int], None] = lambda images: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Writes the database `target` from the images of `source`.

    shuffle: seed of a random order; None keeps the order. skip_damaged: an image that cannot be
    read is logged, listed and left out (its number stays free), otherwise it is an error.
    resume: go on where a stopped conversion of the same source, form and order ended; the result
    is that of one that was not stopped. batch: bytes of records that are committed together.
    taken_over: called once with the images that were done before. progress: called with the images
    done and their total. Raises CannotCreateError if `target` is there or the disk has no room,
    DataError or MissingInputError that name an image, DataError if it cannot resume; then nothing
    is left under `target`, and NAME.partial only if a batch was whole.
    """
    items = _in_turn(source.items, shuffle)
    if len(items) > _MOST_RECORDS:
        raise DataError(f"{target}: {len(items)} images; a database takes {_MOST_RECORDS}")
    warn_of_network(target)
    journal = Journal(_job(source, form, shuffle))
    with Writer(target, batch=batch, journal=journal, resume=resume) as writer:
        first = journal.images
        if resume:
            _tell(target, first, len(items))
            _check_same(writer, target, items, form)
        taken_over(first)
        need = bytes_needed(form, items[first:])
        check_room(target, need or 0)
        rest = islice(items, first, None)
        with closing(in_order(lambda item: make_record(item, form), rest, threads)) as made:
            for done in _write(writer, journal, items, made, skip_damaged=skip_damaged):
                progress(done, len(items))
                if need is None and writer.written:  # a batch shows what the rest will take
                    need = _rest(writer.written, done, len(items) - done)
                    check_room(target, need)
        if not journal.records:
            raise DataError(f"{target}: none of {len(items)} images can be read")
        writer.finish(journal.facts())
    return Result(journal.records, journal.kept, tuple(journal.skipped))


def in_order(
    function: Callable[[Thing], Made], things: Iterable[Thing], threads: int
) -> Generator[Made, None, None]:
    """The results for `things` in their order, made by `threads` threads a few ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for thing in things:
                waiting.append(pool.submit(function, thing))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _in_turn(items: tuple[Item, ...], shuffle: int | None) -> tuple[Item, ...]:
    """The items in the order of the records."""
    if shuffle is None:
        return items
    order = Shuffled(len(items), layer="", seed=shuffle).records(np.arange(len(items)))
    return tuple(items[number] for number in order)


def _job(source: Source, form: Form, shuffle: int | None) -> dict[str, object]:
    """What makes two conversions the same one. Where the images lie may change, and a damaged one
    may be mended before it is tried again."""
    items = hashlib.sha256()
    for item in source.items:
        items.update(b"%s\0%d\n" % (os.fsencode(item.name), item.label))
    return {
        "source": f"sha256:{items.hexdigest()}",
        "classes": list(source.classes),
        "colour": form.colour.name.lower(),
        "size": form.about,
        "encoding": form.encoding,
        "shuffle": shuffle,
    }


def _tell(target: Path, images: int, total: int) -> None:
    if images:
        _log.info("%s: %d of %d images are taken over", partial_of(target), images, total)
    else:
        _log.info("%s: nothing to go on from: from the beginning", partial_of(target))


def _check_same(writer: Writer, target: Path, items: Sequence[Item], form: Form) -> None:
    """Images of the same names may be others: DataError if the last record is not made again."""
    last = writer.last()
    if last is None:
        return
    key, value = last
    item = items[int(key[:8])]
    record = make_record(item, form)
    if isinstance(record, Record) and record.value != value:
        partial, name = partial_of(target), key.decode("utf-8", "backslashreplace")
        raise DataError(
            f"{partial}[{name}]: {item} gives another record now: give the images that "
            f"{partial} was begun with, or remove it"
        )


def _write(
    writer: Writer,
    journal: Journal,
    items: Sequence[Item],
    made: Iterable[Record | Error],
    *,
    skip_damaged: bool,
) -> Generator[int, None, None]:
    """Puts the records of the items behind those of the journal; the images done after each."""
    for number, record in enumerate(made, journal.images):
        if isinstance(record, Record):
            journal.counts[items[number].label] += 1
            journal.kept += record.kept
            writer.put(_key(number, items[number].name), record.value)
        elif skip_damaged:
            _log.warning("skipped: %s", record)
            journal.skipped.append(str(record))
        else:
            raise record
        yield number + 1


def _rest(written: int, done: int, left: int) -> int:
    """Bytes that the images left will take, like those done, less a tenth: these may be larger."""
    return written * left * 9 // (10 * done)


def _key(number: int, name: str) -> bytes:
    # A long path is cut: the number alone makes the key the only one.
    return (b"%08d_" % number + os.fsencode(name))[:_LONGEST_KEY]
