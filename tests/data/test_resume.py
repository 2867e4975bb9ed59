"""A conversion that was stopped goes on, and ends as one that was not."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest
import simplejpeg

from cvgg.data.convert import Form, Result, as_stored, convert, exactly, short_side
from cvgg.data.imagenet import Source, read_source
from cvgg.data.images import Colour, resize
from cvgg.errors import CannotCreateError, DataError, Error

COUNT = 23
BATCH = 4000  # bytes: three or four of the images
FORM = Form(short_side(16), about="short side 16", encoding="png")  # 16 x 19: about 950 bytes


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    path.write_bytes(simplejpeg.encode_jpeg(pixels, quality=90))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Noise in three classes; the class of image i is i % 3."""
    for name in "abc":
        (tmp_path / "images" / name).mkdir(parents=True)
    for number in range(COUNT):
        write_image(tmp_path / "images" / "abc"[number % 3] / f"{number:02d}.jpg", number)
    return read_source(tmp_path / "images")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is logged, on whatever disk the tests run."""
    monkeypatch.setattr("cvgg.data.disks.network_type", lambda mounts, path: "")
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("cvgg")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield found
    log.removeHandler(handler)
    log.setLevel(level)


def stop_at(images: int) -> Callable[[int, int], None]:
    """Ctrl-C after so many images."""

    def progress(done: int, total: int) -> None:
        if done == images:
            raise KeyboardInterrupt

    return progress


def stopped(source: Source, target: Path, form: Form = FORM, *, at: int = 12) -> Path:
    """The partial of a conversion that was stopped after `at` images."""
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, form, batch=BATCH, progress=stop_at(at))
    assert not target.exists()
    return target.with_name(target.name + ".partial")


def records(path: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as reader:
        return dict(reader.cursor())


def assert_same(path: Path, other: Path) -> None:
    assert sorted(os.listdir(path)) == ["crc32", "cvgg.json", "data.mdb"]
    assert records(path) == records(other)
    for name in ("crc32", "cvgg.json"):
        assert (path / name).read_bytes() == (other / name).read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shuffle", [None, 5])
def test_stopped_at_any_moment_it_ends_as_if_it_had_not_been(
    tmp_path: Path, source: Source, shuffle: int | None
) -> None:
    whole = convert(source, tmp_path / "whole", FORM, batch=BATCH, shuffle=shuffle)
    taken: list[int] = []
    seen: list[int] = []
    target = tmp_path / "db"
    for stop in (6, 9, 10, 17, COUNT, 0):

        def progress(done: int, total: int, stop: int = stop) -> None:
            seen.append(done)
            stop_at(stop)(done, total)

        def go_on(threads: int, progress: Callable[[int, int], None]) -> Result:
            return convert(
                *(source, target, FORM),
                batch=BATCH,
                shuffle=shuffle,
                threads=threads,
                resume=True,
                taken_over=taken.append,
                progress=progress,
            )

        if stop:
            with pytest.raises(KeyboardInterrupt):
                go_on(1 + stop % 3, progress)
            assert not target.exists()
        else:
            result = go_on(2, progress)
    assert_same(target, tmp_path / "whole")
    assert result == whole
    assert taken[0] == 0
    assert taken == sorted(taken)
    assert len(set(taken)) >= 4  # so it did go on from where it was
    starts = [0] + [place for place in range(1, len(seen)) if seen[place] <= seen[place - 1]]
    assert [seen[start] for start in starts] == [done + 1 for done in taken]


def test_the_log_says_how_many_images_are_taken_over(
    tmp_path: Path, source: Source, lines: list[str]
) -> None:
    partial = stopped(source, tmp_path / "db")
    done = json.loads((partial / "journal.json").read_text())["records"]
    assert 0 < done <= 12
    assert lines == [f"{partial}: kept: the same command with --resume goes on from it"]
    lines.clear()
    convert(source, tmp_path / "db", FORM, resume=True)
    assert lines == [f"{partial}: {done} of {COUNT} images are taken over"]


def test_without_a_partial_it_starts_from_the_beginning_and_says_so(
    tmp_path: Path, source: Source, lines: list[str]
) -> None:
    assert convert(source, tmp_path / "db", FORM, resume=True).records == COUNT
    assert lines == [f"{tmp_path}/db.partial: nothing to go on from: from the beginning"]


def test_ctrl_c_while_the_first_journal_is_written_loses_nothing(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come when the journal has its name, but before that is known to be on the disk."""
    sync = os.fsync

    def interrupted(descriptor: int) -> None:
        if (tmp_path / "db.partial/journal.json").exists():
            raise KeyboardInterrupt
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "db", FORM, batch=BATCH)
    taken: list[int] = []
    convert(source, tmp_path / "db", FORM, resume=True, taken_over=taken.append)
    assert taken[0] > 0
    convert(source, tmp_path / "whole", FORM)
    assert_same(tmp_path / "db", tmp_path / "whole")


def test_what_is_behind_the_journal_is_made_again(tmp_path: Path, source: Source) -> None:
    """The end may come between the commit of a batch and its journal."""
    convert(source, tmp_path / "whole", FORM)
    partial = stopped(source, tmp_path / "db", at=8)
    early = (partial / "journal.json").read_bytes()
    shutil.rmtree(partial)
    stopped(source, tmp_path / "db", at=20)
    (partial / "journal.json").write_bytes(early)
    (partial / ".journal.json.01234567.tmp").write_bytes(early[:40])
    behind = len(records(partial)) - json.loads(early)["records"]
    assert behind > 3
    convert(source, tmp_path / "db", FORM, resume=True)
    assert_same(tmp_path / "db", tmp_path / "whole")


def test_a_partial_without_a_whole_batch_is_begun_anew(
    tmp_path: Path, source: Source, lines: list[str]
) -> None:
    convert(source, tmp_path / "whole", FORM)
    partial = stopped(source, tmp_path / "db")
    (partial / "journal.json").rename(partial / ".journal.json.01234567.tmp")
    lines.clear()
    with pytest.raises(CannotCreateError, match=r"stopped before anything was whole: remove it"):
        convert(source, tmp_path / "db", FORM)
    convert(source, tmp_path / "db", FORM, resume=True)
    assert lines == [f"{partial}: nothing to go on from: from the beginning"]
    assert_same(tmp_path / "db", tmp_path / "whole")


def test_nothing_is_left_where_it_began_anew_and_failed_again(
    tmp_path: Path, source: Source
) -> None:
    partial = stopped(source, tmp_path / "db")
    (partial / "journal.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "db", FORM, resume=True, progress=stop_at(1))
    assert os.listdir(tmp_path) == ["images"]


def test_a_database_that_only_lacks_its_name_is_taken_over(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = convert(source, tmp_path / "whole", FORM)

    def failing(old: object, new: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(CannotCreateError, match=r"db: writing failed: .*Input/output error"):
            convert(source, tmp_path / "db", FORM)
    assert sorted(os.listdir(tmp_path / "db.partial")) == ["crc32", "cvgg.json", "data.mdb"]
    with pytest.raises(DataError, match="left by another conversion"):
        convert(source, tmp_path / "db", replace(FORM, encoding="raw"), resume=True)
    seen: list[int] = []
    taken: list[int] = []
    result = convert(
        *(source, tmp_path / "db", FORM),
        resume=True,
        taken_over=taken.append,
        progress=lambda done, total: seen.append(done),
    )
    assert (taken, seen) == ([COUNT], [])
    assert result == whole
    assert_same(tmp_path / "db", tmp_path / "whole")


JOBS: dict[str, tuple[Callable[[Source], Source], Form, int | None, str]] = {
    "size": (
        lambda s: s,
        replace(FORM, about="as stored"),
        None,
        "size 'short side 16' there, 'as",
    ),
    "colour": (lambda s: s, replace(FORM, colour=Colour.GREY), None, "colour 'colour' there, 'gre"),
    "encoding": (
        lambda s: s,
        replace(FORM, encoding="raw"),
        None,
        "encoding 'png' there, 'raw' no",
    ),
    "shuffle": (lambda s: s, FORM, 7, "shuffle none there, 7 now"),
    "order": (lambda s: replace(s, items=s.items[::-1]), FORM, None, "other images or labels"),
    "fewer": (lambda s: replace(s, items=s.items[:-1]), FORM, None, "other images or labels"),
    "label": (
        lambda s: replace(s, items=(*s.items[:-1], replace(s.items[-1], label=0))),
        FORM,
        None,
        "other images or labels",
    ),
    "classes": (lambda s: replace(s, classes=("a", "b", "d")), FORM, None, "other classes: give"),
}


@pytest.mark.parametrize("case", JOBS)
def test_another_conversion_is_refused_and_told_what_differs(
    tmp_path: Path, source: Source, case: str, lines: list[str]
) -> None:
    change, form, shuffle, message = JOBS[case]
    partial = stopped(source, tmp_path / "db")
    before = contents(partial)
    lines.clear()
    with pytest.raises(DataError, match=rf"db\.partial: left by another conversion: {message}"):
        convert(change(source), tmp_path / "db", form, shuffle=shuffle, resume=True)
    assert contents(partial) == before
    assert lines == []


def test_other_images_of_the_same_names_are_refused(tmp_path: Path, source: Source) -> None:
    partial = stopped(source, tmp_path / "db")
    done = json.loads((partial / "journal.json").read_text())["records"]
    key = sorted(records(partial))[done - 1].decode()
    write_image(tmp_path / "images" / key[9:], 99)
    with pytest.raises(DataError, match=rf"db\.partial\[{key}\]: .* gives another record now"):
        convert(source, tmp_path / "db", FORM, resume=True)
    write_image(tmp_path / "images" / key[9:], int(key[11:13]))
    assert convert(source, tmp_path / "db", FORM, resume=True).records == COUNT


def test_the_source_may_lie_elsewhere_and_skipping_may_begin_later(
    tmp_path: Path, source: Source, lines: list[str]
) -> None:
    bad = Path(source.items[17].file)
    bad.write_bytes(b"")
    with pytest.raises(DataError, match="not an image"):
        convert(source, tmp_path / "db", FORM, batch=BATCH)
    assert lines[-1].endswith("goes on from it")
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = read_source(tmp_path / "moved")
    result = convert(moved, tmp_path / "db", FORM, skip_damaged=True, resume=True)
    assert (result.records, len(result.skipped)) == (COUNT - 1, 1)
    convert(moved, tmp_path / "whole", FORM, skip_damaged=True)
    assert_same(tmp_path / "db", tmp_path / "whole")


def test_skipped_images_are_taken_over(tmp_path: Path, source: Source) -> None:
    for number in (0, 3, 15):
        Path(source.items[number].file).write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        convert(
            *(source, tmp_path / "db", FORM),
            batch=BATCH,
            skip_damaged=True,
            progress=stop_at(12),
        )
    taken: list[int] = []
    convert(
        *(source, tmp_path / "db", FORM),
        skip_damaged=True,
        resume=True,
        taken_over=taken.append,
    )
    assert 4 < taken[0] <= 12
    convert(source, tmp_path / "whole", FORM, skip_damaged=True)
    assert_same(tmp_path / "db", tmp_path / "whole")


def test_a_mended_image_is_taken_and_without_resume_the_partial_stays(
    tmp_path: Path, source: Source
) -> None:
    bad = Path(source.items[20].file)
    good = bad.read_bytes()
    bad.write_bytes(good[:200])
    with pytest.raises(DataError, match="damaged JPEG"):
        convert(source, tmp_path / "db", Form(as_stored()), batch=BATCH)
    bad.write_bytes(good)
    before = contents(tmp_path / "db.partial")
    with pytest.raises(CannotCreateError, match="--resume goes on from it, or remove it") as told:
        convert(source, tmp_path / "db", Form(as_stored()))
    assert told.value.exit_code == 73
    assert contents(tmp_path / "db.partial") == before
    assert convert(source, tmp_path / "db", Form(as_stored()), resume=True).kept == COUNT
    convert(source, tmp_path / "whole", Form(as_stored()))
    assert_same(tmp_path / "db", tmp_path / "whole")


def overwrite(path: Path, start: int) -> None:
    data = bytearray(path.read_bytes())
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "journal-cut": (lambda p: cut(p / "journal.json", 60), r"journal\.json: damaged: remove "),
    "journal-list": (lambda p: (p / "journal.json").write_text("[]"), r"journal\.json: damaged"),
    "records-cut": (lambda p: cut(p / "data.mdb", 8192), "partial: damaged: less in it than the"),
    "records-gone": (lambda p: (p / "data.mdb").unlink(), "partial: damaged: less in it than the"),
    "records-text": (lambda p: (p / "data.mdb").write_text("x" * 9000), "partial: damaged: "),
    "records-pages": (lambda p: overwrite(p / "data.mdb", 8192), "partial: damaged: mdb_"),
    "sums-cut": (lambda p: cut(p / "crc32", 8), "partial: damaged: less in it than the"),
    "sums-gone": (lambda p: (p / "crc32").unlink(), "partial: damaged: less in it than the"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_partial_is_refused_and_stays(tmp_path: Path, source: Source, case: str) -> None:
    damage, message = DAMAGES[case]
    partial = stopped(source, tmp_path / "db")
    damage(partial)
    before = contents(partial)
    with pytest.raises(DataError, match=f"{message}.*start from the beginning") as told:
        convert(source, tmp_path / "db", FORM, resume=True)
    assert "\n" not in str(told.value)
    assert before.items() <= contents(partial).items()
    shutil.rmtree(partial)
    assert convert(source, tmp_path / "db", FORM, resume=True).records == COUNT


def test_a_folder_that_no_converter_left_is_not_touched(tmp_path: Path, source: Source) -> None:
    partial = tmp_path / "db.partial"
    partial.mkdir()
    (partial / "data.mdb").write_text("mine")
    (partial / "notes").write_text("mine")
    with pytest.raises(CannotCreateError, match=r"not left by a converter, 'notes' is in it"):
        convert(source, tmp_path / "db", FORM, resume=True)
    assert contents(partial) == {"data.mdb": b"mine", "notes": b"mine"}
    shutil.rmtree(partial)
    partial.write_text("mine")
    for resume in (False, True):
        with pytest.raises(CannotCreateError):
            convert(source, tmp_path / "db", FORM, resume=resume)
    assert partial.read_text() == "mine"


def test_a_database_that_is_there_is_not_resumed(tmp_path: Path, source: Source) -> None:
    (tmp_path / "db").mkdir()
    with pytest.raises(CannotCreateError, match="db: exists"):
        convert(source, tmp_path / "db", FORM, resume=True)


# Room


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        "cvgg.data.disks.shutil.disk_usage", lambda folder: usage._replace(free=size)
    )


def test_a_known_need_is_compared_with_the_room_before_anything_is_written(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = sum(len(path.read_bytes()) for path in (tmp_path / "images").rglob("*.jpg"))
    free(monkeypatch, need - 1)
    with pytest.raises(Error, match=r"db: needs about 1 MiB, 0 MiB are free in /") as told:
        convert(source, tmp_path / "db", Form(as_stored()))
    assert told.value.exit_code == 73
    assert os.listdir(tmp_path) == ["images"]
    free(monkeypatch, need)
    stopped(source, tmp_path / "db", Form(as_stored()))
    free(monkeypatch, need - BATCH)  # what is done needs no more
    convert(source, tmp_path / "db", Form(as_stored()), resume=True)
    free(monkeypatch, COUNT * 3 * 5 * 7 - 1)
    raw = Form(exactly(5, 7), resize, encoding="raw")
    with pytest.raises(CannotCreateError, match="raw: needs about 1 MiB"):
        convert(source, tmp_path / "raw", raw)
    free(monkeypatch, COUNT * 3 * 5 * 7)
    convert(source, tmp_path / "raw", raw)


def test_a_network_disk_is_told(
    tmp_path: Path, source: Source, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvgg.data.disks.network_type", lambda mounts, path: "nfs4")
    convert(source, tmp_path / "db", FORM)
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path}/db: on a network file system (nfs4)")


def test_the_first_batch_shows_what_the_rest_needs_and_stays(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(source, tmp_path / "whole", FORM)
    values = [len(value) for _, value in sorted(records(tmp_path / "whole").items())]
    first = next(n for n in range(COUNT) if sum(values[:n]) >= BATCH)
    need = sum(values[:first]) * (COUNT - first) * 9 // (10 * first)
    free(monkeypatch, need - 1)
    with pytest.raises(CannotCreateError, match=r"db: needs about 1 MiB, 0 MiB are free in"):
        convert(source, tmp_path / "db", FORM, batch=BATCH)
    before = contents(tmp_path / "db.partial")
    with pytest.raises(CannotCreateError, match=r"db: needs about 1 MiB"):
        convert(source, tmp_path / "db", FORM, batch=BATCH, resume=True)
    assert contents(tmp_path / "db.partial") == before
    taken: list[int] = []
    left = len(before["data.mdb"]) * (COUNT - first) // first  # what is done needs no more room
    free(monkeypatch, left)
    convert(source, tmp_path / "db", FORM, batch=BATCH, resume=True, taken_over=taken.append)
    assert taken == [first]
    assert_same(tmp_path / "db", tmp_path / "whole")
