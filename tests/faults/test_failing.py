"""Every write, sync and rename of a snapshot and of the converter made to fail in turn: nothing
that was there is lost, and the next try succeeds.
"""

import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from nets import dummy_data, fc, loss
from PIL import Image

import cvgg
from cvgg import snapshot
from cvgg.data import files
from cvgg.data.convert import Form, as_stored, convert
from cvgg.data.imagenet import Item, Source
from cvgg.errors import CannotCreateError, Error, InputOutputError

CALLS = ("open", "fsync", "replace", "rename")
OPEN = lmdb.open


class Failing:
    """Counts the calls that write, and lets number `at` fail with `number`; at -1: none."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int = -1, number: int = errno.EIO) -> None:
        self.count, self._at, self._number = 0, at, number
        for name in CALLS:
            patch.setattr(os, name, self._counting(getattr(os, name)))
        real = io.open
        patch.setattr(files, "open", lambda *words: _Writer(self, real(*words)), raising=False)

    def step(self) -> None:
        self.count += 1
        if self.count - 1 == self._at:
            raise OSError(self._number, os.strerror(self._number))

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **settings: Any) -> Any:
            self.step()
            return function(*words, **settings)

        return call


class _Writer:
    """A file whose writes are counted; what a failing one was given may be there in part."""

    def __init__(self, failing: Failing, file: Any) -> None:
        self._failing, self._file = failing, file

    def write(self, part: Any) -> int:
        try:
            self._failing.step()
        except OSError:
            self._file.write(bytes(part)[: len(part) // 2])
            raise
        return int(self._file.write(part))

    def flush(self) -> None:
        self._failing.step()
        self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file.read(size))

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def solver(folder: Path, net: str = dummy_data(3) + fc("fc1", "data", 3) + loss("fc1")) -> Any:
    return cvgg.Solver(
        f'net_param {{ {net} }} base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 random_seed: 5 '
        f'max_iter: 5 snapshot: 2 snapshot_prefix: "{folder}/run"'
    )


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def turns(tmp_path: Path) -> int:
    """How many calls one snapshot makes."""
    with pytest.MonkeyPatch.context() as patch:
        trained = solver(tmp_path)
        trained.step(1)
        failing = Failing(patch)
        trained.snapshot()
    return failing.count


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_whatever_fails_in_a_snapshot_the_old_one_stands_and_the_next_succeeds(
    tmp_path: Path, number: int
) -> None:
    (tmp_path / "count").mkdir()
    (tmp_path / "run").mkdir()
    folder = tmp_path / "run"
    count = turns(tmp_path / "count")
    assert count > 12  # two files: open, writes, flush, sync, rename, open and sync the folder
    trained = solver(folder)
    trained.step(2)  # the snapshot that must not be lost
    before = contents(folder)
    trained.step(1)
    for at in range(count):
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, at, number)
            with pytest.raises((CannotCreateError, InputOutputError), match=r"run_iter_3\."):
                trained.snapshot()
        after = contents(folder)
        assert {name: after[name] for name in before} == before
        assert not [name for name in after if name.endswith(".tmp")]
        if "run_iter_3.solverstate" in after:  # renamed, but perhaps not for ever
            (folder / "run_iter_3.solverstate").unlink()
        assert snapshot.latest_whole(f"{folder}/run") == f"{folder}/run_iter_2.solverstate"
        (folder / "run_iter_3.caffemodel").unlink(missing_ok=True)
    state = trained.snapshot()
    again = solver(folder)
    again.restore(state)
    assert again.iter == 3


def test_training_outlives_each_failure_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    for name in ("whole", "count"):
        (tmp_path / name).mkdir()
    solver(tmp_path / "whole").solve()
    expected = (tmp_path / "whole/run_iter_5.caffemodel").read_bytes()
    for at in range(0, turns(tmp_path / "count"), 3):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, at)
            solver(folder).solve()  # the snapshot of iteration 2 is missing, those of 4 and 5 not
        assert (folder / "run_iter_5.caffemodel").read_bytes() == expected
        assert (folder / "run_iter_4.solverstate").exists()


class Environment:
    """An LMDB that fails where LMDB itself can: as it is made, at each transaction, at the sync."""

    def __init__(self, failing: Failing, *words: Any, **settings: Any) -> None:
        self._failing = failing
        self._step()
        self._real = OPEN(*words, **settings)

    def _step(self) -> None:
        try:
            self._failing.step()
        except OSError as fault:
            raise lmdb.DiskError(str(fault)) from fault

    def begin(self, **settings: Any) -> Any:
        if settings.get("write"):
            self._step()
        return self._real.begin(**settings)

    def sync(self, force: bool) -> None:  # noqa: FBT001
        self._step()
        self._real.sync(force)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


PIXELS = np.random.default_rng(4).integers(0, 256, (11, 3, 9, 13), np.uint8)
FACTS = ("crc32", "cvgg.json", "data.mdb")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Eleven images of about 450 bytes, in one file as those of a tar: so their reading, by another
    thread, is not among the calls that are counted."""
    items = []
    with open(tmp_path / "images", "wb") as file:
        for number, pixels in enumerate(PIXELS):
            start = file.tell()
            Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
            size = file.tell() - start
            items.append(Item(f"{number:02d}.png", 0, str(tmp_path / "images"), start, size))
    return Source(tuple(items), ("a",))


def convert_failing(source: Source, target: Path, at: int, number: int, *, resume: bool) -> int:
    """Converts in three batches; call number `at` fails. How many calls there were."""
    with pytest.MonkeyPatch.context() as patch:
        failing = Failing(patch, at, number)
        real = io.open
        patch.setattr(
            "cvgg.data.writer.open", lambda *words: _Writer(failing, real(*words)), raising=False
        )
        patch.setattr(lmdb, "open", partial(Environment, failing))
        convert(source, target, Form(as_stored()), batch=2000, resume=resume)
    return failing.count


def written(folder: Path) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The records, and the other files."""
    assert sorted(os.listdir(folder)) == sorted(FACTS)
    with OPEN(str(folder), readonly=True, lock=False) as database, database.begin() as reader:
        return dict(reader.cursor()), [(folder / name).read_bytes() for name in FACTS[:2]]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_whatever_fails_in_the_converter_the_next_goes_on_and_ends_with_the_same(
    tmp_path: Path, source: Source, number: int
) -> None:
    count = convert_failing(source, tmp_path / "whole", -1, number, resume=False)
    assert count > 40  # three batches, each: begin, sums' 3, journal's 7; facts' 7, sync, rename
    expected = written(tmp_path / "whole")
    kept = 0
    for at in range(count):
        target = tmp_path / f"db{at}"
        left = target.with_name(f"{target.name}.partial")
        with pytest.raises((CannotCreateError, InputOutputError)):
            convert_failing(source, target, at, number, resume=False)
        if target.exists():  # it has its name, but perhaps not for ever
            assert at >= count - 2
        elif left.exists():  # a batch was committed
            kept += 1
            with pytest.raises(CannotCreateError, match="--resume goes on from it"):
                convert_failing(source, target, -1, number, resume=False)
            convert_failing(source, target, -1, number, resume=True)
        else:
            assert not kept
            convert_failing(source, target, -1, number, resume=False)
        assert written(target) == expected
        assert not left.exists()
    assert kept > 20


def test_whatever_fails_as_it_goes_on_the_next_goes_on_again(
    tmp_path: Path, source: Source
) -> None:
    """Each call fails once, in a conversion that was stopped behind its first journal."""
    convert_failing(source, tmp_path / "whole", -1, 0, resume=False)
    expected = written(tmp_path / "whole")
    (tmp_path / "one").mkdir()
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "one/db", Form(as_stored()), batch=2000, progress=stop)
    behind = tmp_path / "one/db.partial"
    with OPEN(str(behind), lock=False) as database, database.begin(write=True) as transaction:
        transaction.put(b"00000009_behind", bytes(5000))  # what has no journal yet
    at = 0
    while True:
        folder = tmp_path / f"at{at}"
        shutil.copytree(tmp_path / "one", folder)
        try:
            convert_failing(source, folder / "db", at, errno.EIO, resume=True)
        except Error:
            if not (folder / "db").exists():
                assert (folder / "db.partial").exists()
                convert_failing(source, folder / "db", -1, 0, resume=True)
            assert written(folder / "db") == expected
        else:
            break
        at += 1
    assert at > 25


def stop(done: int, total: int) -> None:
    if done == 7:
        raise KeyboardInterrupt
