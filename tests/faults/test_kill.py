"""A training that is killed again and again ends with the bytes of one that was not."""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
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
