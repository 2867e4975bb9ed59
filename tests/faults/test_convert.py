"""Rows 1 to 20 of the table of faults: images and lists that cannot be converted.

What holds inside one process is in tests/data/test_convert.py, test_imagenet.py and test_images.py.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults.forks import Done
from faults.places import Place, wait_for
from PIL import Image

from cvgg.data.convert import Form, as_stored, convert
from cvgg.data.database import open_database
from cvgg.data.datum import read_datum
from cvgg.data.imagenet import read_source

LIST = b"a.jpg 0\nb.jpg 1\nc.jpg 2\n"


def jpeg(seed: int, mode: str = "RGB") -> bytes:
    """A file whose pixels no smoothing would leave as they are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG")
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes whose header promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def vast_jpeg() -> bytes:
    """A JPEG whose header promises 65500 x 65500 pixels."""
    data = bytearray(jpeg(1))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(data)


def flipped() -> bytes:
    """A JPEG with 40 bytes of its scan inverted."""
    data = bytearray(jpeg(ord("b")))
    scan = data.index(b"\xff\xda") + 14
    for at in np.random.default_rng(3).integers(scan, len(data) - 2, 40):
        data[at] ^= 0xFF
    return bytes(data)


@pytest.fixture
def images(place: Place) -> Place:
    """Three images in the folder im, and a list of them."""
    (place / "im").mkdir()
    for name in "abc":
        (place / "im" / f"{name}.jpg").write_bytes(jpeg(ord(name)))
    (place / "list").write_bytes(LIST)
    return place


WORDS = ("convert-imagenet", "list", "out", "--root", "im", "--threads", "1")


def refuses(images: Place, code: int, message: str) -> None:
    images.refuses(code, message, *WORDS)
    assert not (images / "out").exists()


LISTS = {
    "2-no-label": (b"b.jpg 0\na.jpg\n", "list:2: no label behind 'a.jpg'"),
    "2-word": (b"b.jpg 0\na.jpg x\n", "list:2: the label must be a whole number, is 'x'"),
    "2-fraction": (b"b.jpg 0\na.jpg 1.5\n", "list:2: the label must be a whole number"),
    "4-large": (b"a.jpg 2147483648\n", "list:1: the label 2147483648 does not fit in 32"),
    "11-parent": (b"a.jpg 0\n../list 0\n", r"list:2: \.\./list lies outside the folder im"),
    "11-absolute": (b"/etc/passwd 0\n", "list:1: /etc/passwd lies outside the folder im"),
    "11-link": (b"link.jpg 0\n", r"list:1: link\.jpg lies outside the folder im"),
    "11-nul": (b"a\0.jpg 0\n", "list:1: a NUL byte"),
    "12-pipe": (b"pipe.jpg 0\n", r"im/pipe\.jpg: not a regular file"),
    "12-folder": (b"folder.jpg 0\n", r"im/folder\.jpg: not a regular file"),
    "20-empty": (b"", "list: the list has no entries"),
    "20-blank": (b"\r\n\n", "list: the list has no entries"),
}


@pytest.mark.parametrize("row", LISTS)
def test_a_list_that_cannot_be_obeyed_is_told_at_its_line(images: Place, row: str) -> None:
    text, message = LISTS[row]
    os.mkfifo(images / "im/pipe.jpg")
    (images / "im/folder.jpg").mkdir()
    (images / "im/link.jpg").symlink_to("/etc/passwd")
    (images / "list").write_bytes(text)
    refuses(images, 65, message)


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "5-half": (lambda: jpeg(ord("b"))[:900], "b.jpg: damaged JPEG"),
    "5-last-2-bytes": (lambda: jpeg(ord("b"))[:-2], "b.jpg: damaged JPEG: Premature end"),
    "6-flipped": (flipped, "b.jpg: damaged JPEG: "),
    "7-empty": (lambda: b"", r"b.jpg: not an image \(it is empty\)"),
    "7-text": (lambda: b"hello", r"b.jpg: not an image \(it starts with 'hello'\)"),
    "7-html": (lambda: b"<html>404", r"b.jpg: not an image \(it starts with '<html"),
    "10-jpeg": (vast_jpeg, "b.jpg: 65500x65500 is more than the 50000000 pixels"),
    "10-png": (lambda: bomb(12000, 12000), "b.jpg: 12000x12000 is more than"),
    "10-vast-png": (lambda: bomb(30000, 30000), "b.jpg: "),
}


@pytest.mark.parametrize("row", FILES)
def test_a_file_that_is_no_whole_image_is_told_with_its_path(images: Place, row: str) -> None:
    make, message = FILES[row]
    (images / "im/b.jpg").write_bytes(make())
    refuses(images, 65, message)
    done = images.run(*WORDS, "--skip-damaged")
    assert done.code == 0
    assert "2 records" in done.out
    assert "skipped: im/b.jpg" in done.out
    assert "Warning" not in done.err


def test_a_missing_image_is_told__row_1(images: Place) -> None:
    (images / "im/b.jpg").unlink()
    refuses(images, 66, r"im/b\.jpg: no such file")


def records(place: Place) -> list[tuple[bytes, int]]:
    database = open_database(str(place / "out"))
    return [(database.key(i), read_datum(database.get(i), "").label) for i in range(len(database))]


def test_blanks_tabs_and_line_ends_are_no_fault__row_3(images: Place) -> None:
    shutil.copy(images / "im/a.jpg", images / "im/x y  z.jpg")
    (images / "list").write_bytes(b"x y  z.jpg   1  \r\na.jpg\t0\r\n\r\n")
    assert images.run(*WORDS).code == 0
    assert records(images) == [(b"00000000_x y  z.jpg", 1), (b"00000001_a.jpg", 0)]


def test_a_name_that_is_not_utf8_is_no_fault__row_13(images: Place) -> None:
    shutil.copy(images / "im/a.jpg", os.fsencode(images / "im") + b"/\xff.jpg")
    (images / "list").write_bytes(b"\xff.jpg 0\n")
    assert images.run(*WORDS).code == 0
    assert records(images) == [(b"00000000_\xff.jpg", 0)]


LABELS = {
    "4-negative": (b"a.jpg -1\nb.jpg 0\n", "the least label is -1"),
    "4-gaps": (b"a.jpg 0\nb.jpg 4\n", "labels go up to 4, but no image has 1, 2, 3$"),
    "4-many-gaps": (b"a.jpg 1\nb.jpg 9\n", r"no image has 0, 2, 3, 4, 5, \.\.\.$"),
    "14-twice": (LIST + b"a.jpg 5\n", " list:4: a.jpg is there already, at list:1$"),
}


@pytest.mark.parametrize("row", LABELS)
def test_what_is_rarely_meant_is_a_warning(images: Place, row: str) -> None:
    text, message = LABELS[row]
    (images / "list").write_bytes(text)
    done = images.run(*WORDS)
    assert done.code == 0
    warned(done, message)


def warned(done: Done, message: str) -> None:
    assert re.search(f"^W.*{message}", done.err, re.MULTILINE), done.err


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16", "LA", "1", "CMYK"])
def test_other_formats_than_the_name_says_are_decoded__row_8(images: Place, mode: str) -> None:
    if mode == "CMYK":
        (images / "im/b.jpg").write_bytes(jpeg(1, "CMYK"))
    else:
        Image.new(mode, (20, 24)).save(images / "im/b.jpg", "PNG")
    done = images.run(*WORDS)
    assert done.code == 0
    assert "3 records" in done.out


def test_what_an_image_says_of_its_orientation_is_not_obeyed__row_9(images: Place) -> None:
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn
    stream = io.BytesIO()
    Image.new("RGB", (20, 24)).save(stream, "JPEG", exif=exif)
    (images / "im/b.jpg").write_bytes(stream.getvalue())
    assert images.run(*WORDS, "--encoding", "raw").code == 0
    database = open_database(str(images / "out"))
    datum = read_datum(database.get(1), "")
    assert (datum.height, datum.width) == (24, 20)


@pytest.mark.parametrize("kind", ["list", "--labels"])
def test_a_list_that_is_a_pipe_is_not_waited_for__row_12(images: Place, kind: str) -> None:
    os.mkfifo(images / "pipe")
    words = ("pipe", "out", "--root", "im") if kind == "list" else ("im", "out", kind, "pipe")
    images.refuses(65, "pipe: not a regular file", "convert-imagenet", *words)


def test_what_is_there_is_never_written_over__row_15(images: Place) -> None:
    (images / "out").mkdir()
    (images / "out/mine").write_text("kept")
    images.refuses(73, "out: exists: choose another name or remove it", *WORDS)


def test_a_full_disk_is_told_with_the_room_there_is__row_17(images: Place) -> None:
    done = images.run(*WORDS, largest_file=5000)
    assert done.code == 73, done.err
    assert re.search(
        r"^cvgg: error: out: writing failed: .* \([0-9]+ MiB are free\)$", done.err, re.M
    )
    assert "Traceback" not in done.err
    assert not (images / "out").exists()
    assert not (images / "out.partial").exists()
    assert images.run(*WORDS).code == 0


def test_a_converter_that_is_killed_leaves_nothing_under_the_name__rows_18_19(
    images: Place,
) -> None:
    (images / "list").write_bytes(LIST * 3000)
    process = subprocess.Popen(
        [sys.executable, "-m", "cvgg", *WORDS, "--short-side", "256"],
        cwd=images.folder,
        stderr=subprocess.DEVNULL,
    )
    wait_for(images / "out.partial/data.mdb")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (images / "out").exists()
    (images / "list").write_bytes(LIST)
    images.refuses(73, r"out\.partial: left by a converter that was stopped before", *WORDS)
    images.replace("net.prototxt", '"db"', '"out.partial"')
    done = images.train()
    assert done.code == 65
    assert "Traceback" not in done.err
    shutil.rmtree(images / "out.partial")
    assert images.run(*WORDS).code == 0
    assert json.loads((images / "out/cvgg.json").read_text())["records"] == 3


def stopped(images: Place) -> None:
    """out.partial, as WORDS leave it when they are stopped after the second image."""

    def progress(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with contextlib.chdir(images.folder):
        source = read_source(Path("im"), Path("list"))
        with pytest.raises(KeyboardInterrupt):
            convert(source, Path("out"), Form(as_stored()), batch=1, progress=progress)


def test_a_stopped_conversion_is_resumed_and_not_trained_on__rows_15_18_19(
    images: Place,
) -> None:
    stopped(images)
    images.refuses(73, r"out\.partial: left by .*: --resume goes on from it, or remove it", *WORDS)
    other = (*WORDS, "--resume", "--shuffle")
    images.refuses(65, r"out\.partial: left by .*: shuffle none there, 1 now: give the", *other)
    images.replace("net.prototxt", '"db"', '"out.partial"')
    images.refuses(65, r"out\.partial: not whole: a converter writes it, or was stopped")
    done = images.run(*WORDS, "--resume")
    assert done.code == 0, done.err
    assert "out.partial: 2 of 3 images are taken over\n" in done.err
    assert done.out == "out: 3 records, 3 with the file's own bytes, 0 images skipped\n"
    assert not (images / "out.partial").exists()
    assert images.run("dataset", "check", "out").code == 0
    images.refuses(73, "out: exists: choose another name or remove it", *WORDS, "--resume")


def test_half_a_database_is_not_trained_on__row_19(place: Place) -> None:
    (place / "db").rename(place / "db.partial")
    place.replace("net.prototxt", '"db"', '"db.partial"')
    place.refuses(65, r"db\.partial: not whole: a converter writes it, or was stopped")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> None:
    """No test starts with a database of another."""
    assert not (tmp_path / "out").exists()
