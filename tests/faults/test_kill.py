"""What is killed again and again ends with the bytes of what was not: a training, a conversion."""

import hashlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
import simplejpeg
from faults.places import FC, Place

CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
"""
ITERATIONS = 6000
ROUNDS = 30


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def start(place: Place) -> "subprocess.Popen[str]":
    words = ["train", "--solver", "solver.prototxt", "--cpu", "--threads", "1", "--quiet"]
    words += ["--snapshot", "auto", "--keep", "2"]
    command = [sys.executable, "-m", "cvgg", *words]
    return subprocess.Popen(command, cwd=place.folder, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_thirty_kills_at_random_moments_change_no_bit(place: Place, tmp_path: Path) -> None:
    """Moments from before the first iteration to behind several snapshots. A round that comes to
    the end starts a new training."""
    place.replace("net.prototxt", FC, CONV + FC.replace('bottom: "data"', 'bottom: "conv"'))
    place.replace("net.prototxt", "backend: LMDB", "backend: LMDB shuffle: true")
    place.replace("solver.prototxt", "max_iter: 4", f"max_iter: {ITERATIONS} average_loss: 3")
    place.replace("solver.prototxt", "snapshot: 2", "snapshot: 50")
    place.replace("solver.prototxt", "0.01", "0.0001")
    last = tmp_path / f"run_iter_{ITERATIONS}.caffemodel"
    process = start(place)
    assert process.communicate(timeout=300)[1] == ""
    assert process.returncode == 0
    expected = md5(last)
    chance = random.Random(11)
    kills = finished = 0
    remove(tmp_path)
    while kills < ROUNDS or not finished:
        process = start(place)
        if kills < ROUNDS:
            time.sleep(0.3 + 1.2 * chance.random())
            process.kill()
        _, log = process.communicate(timeout=300)
        if process.returncode == 0:
            assert md5(last) == expected
            finished += 1
            remove(tmp_path)
        else:
            assert process.returncode == -9, log
            assert "Passed over" not in log, log
            kills += 1
    assert not list(tmp_path.glob(".run*"))


def remove(folder: Path) -> None:
    """All snapshots, so that the next training starts at the beginning."""
    for path in (*folder.glob("run_iter_*"), *folder.glob(".run_iter_*")):
        path.unlink()


# ---- a conversion
IMAGES = 400
CONVERT = """
import sys
from pathlib import Path
from cvgg.commands import logs
from cvgg.data.convert import Form, convert, short_side
from cvgg.data.imagenet import read_source
logs.start(quiet=False)
source = read_source(Path("im"))
form = Form(short_side(40), about="short side 40")
result = convert(
    source, Path(sys.argv[1]), form, threads=2, shuffle=3, resume=True, skip_damaged=True,
    batch=20_000, progress=lambda done, total: print(done, flush=True),
)
print(result)
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with im: images of two classes, one of them damaged."""
    rng = np.random.default_rng(6)
    for number in range(IMAGES):
        path = tmp_path / "im" / "ab"[number % 2] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (30, 33, 3), np.uint8)
        path.write_bytes(simplejpeg.encode_jpeg(pixels) if number != 77 else b"no image")
    return tmp_path


def start_converter(folder: Path, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CONVERT, name]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def database(folder: Path) -> tuple[dict[bytes, bytes], dict[str, bytes]]:
    """The records, and the other files."""
    with lmdb.open(str(folder), readonly=True, lock=False) as opened, opened.begin() as reader:
        records = dict(reader.cursor())
    assert len(list(folder.iterdir())) == 3
    return records, {name: (folder / name).read_bytes() for name in ("crc32", "cvgg.json")}


def killed_until_done(folder: Path, kills: int, chance: random.Random) -> int:
    """Kills so many converters that make folder/db, then lets one come to the end. How many of
    those that were killed had something to go on from."""
    went_on = 0
    for left in range(kills, -1, -1):
        process = start_converter(folder, "db")
        assert process.stdout is not None
        if left:
            for _ in range(chance.randrange(1, 2 * IMAGES // (kills + 1))):
                process.stdout.readline()
            time.sleep(0.02 * chance.random())  # also between two lines: the moment is any
            process.kill()
        _, log = process.communicate(timeout=100)
        went_on += "are taken over" in log
        if process.returncode == 0:
            return went_on
        assert process.returncode == -9, log
        if (folder / "db").exists():  # the kill came behind the last step
            return went_on
    raise AssertionError("the last one was not killed")


def undisturbed(folder: Path) -> tuple[dict[bytes, bytes], dict[str, bytes]]:
    process = start_converter(folder, "whole")
    out, log = process.communicate(timeout=100)
    assert process.returncode == 0, log
    assert f"records={IMAGES - 1}" in out
    return database(folder / "whole")


def test_a_killed_conversion_ends_with_the_records_of_one_that_was_not__row_18(
    images: Path,
) -> None:
    assert killed_until_done(images, 1, random.Random(4)) == 1
    assert database(images / "db") == undisturbed(images)


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_no_record__row_18(images: Path) -> None:
    expected = undisturbed(images)
    for seed in range(10):
        assert killed_until_done(images, 10, random.Random(seed)) > 1
        assert database(images / "db") == expected
        assert not (images / "db.partial").exists()
        shutil.rmtree(images / "db")
