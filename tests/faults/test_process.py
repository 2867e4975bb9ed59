"""Rows 49 to 56 of the table of faults: signals, closed streams, full disks behind them, odd
surroundings.

Signals that come once are in tests/cli/test_train.py, GPUs that are not there in test_gpu.py.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from faults.places import LOSS, Place, wait_for

from cvgg.commands.train import Remaining
from cvgg.solver.report import Report

CVGG = f"{sys.executable} -m cvgg"
TRAIN = "train --solver solver.prototxt --cpu --threads 1"


def start(place: Place, *words: str) -> "subprocess.Popen[str]":
    command = [*CVGG.split(), *TRAIN.split(), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=place.folder, stdout=pipe, stderr=pipe, text=True)


def wait_for_line(process: "subprocess.Popen[str]", text: str) -> None:
    """Returns once the process has logged a line with `text`; one that does not is killed."""
    assert process.stderr is not None
    watch = threading.Timer(60, process.kill)
    watch.start()
    assert any(text in line for line in process.stderr)
    watch.cancel()


def endless(place: Place, snapshot: int = 1000) -> None:
    place.replace("solver.prototxt", "max_iter: 4", f"max_iter: {10**8}")
    place.replace("solver.prototxt", "snapshot: 2", f"snapshot: {snapshot}")


# ---- 49
def test_a_test_net_that_does_not_fit_is_refused_before_training__row_49(place: Place) -> None:
    place.replace("solver.prototxt", "max_iter", "test_iter: 1 test_interval: 9 max_iter")
    place.refuses(69, r"needs [0-9,.]+ MiB .* are there", "--memory", "1000")


# ---- 50
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once__row_50(
    place: Place, number: signal.Signals
) -> None:
    """The test between them would take hours: nothing asks what the first one wanted."""
    endless(place)
    more = f"test_iter: {10**8} test_interval: 500 test_initialization: false base_lr"
    place.replace("solver.prototxt", "base_lr", more)
    process = start(place)
    wait_for_line(process, "Iteration 500, Testing")
    end = time.monotonic() + 60
    while process.poll() is None:  # two of a kind that come too close are one
        assert time.monotonic() < end
        process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "cvgg: stopped at once; the last snapshot stands" in log
    assert "Traceback" not in log


def test_a_signal_while_snapshots_are_written_leaves_whole_ones__row_50(place: Place) -> None:
    endless(place, snapshot=1)
    process = start(place, "--keep", "3")
    wait_for(place / "run_iter_20.solverstate")
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    states = sorted(place.folder.glob("run_iter_*.solverstate"))
    models = sorted(place.folder.glob("run_iter_*.caffemodel"))
    assert len(states) == 3
    assert [path.stem for path in states] == [path.stem for path in models]
    assert not list(place.folder.glob(".run*"))


def test_without_a_last_snapshot_the_code_is_the_signal_s__row_50(place: Place) -> None:
    endless(place, snapshot=100)
    place.replace("solver.prototxt", "random", "snapshot_after_train: false random")
    process = start(place)
    wait_for(place / "run_iter_100.solverstate")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_signal_without_effect_is_passed_over__row_50(place: Place) -> None:
    endless(place, snapshot=200)
    process = start(place, "--sighup-effect", "none", "--sigint_effect=none")
    wait_for(place / "run_iter_200.solverstate")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    wait_for(place / "run_iter_600.solverstate")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


# ---- 53
def shell(place: Place, line: str) -> tuple[int, str]:
    """Exit code of the first command of a bash line, and what came on its own standard error."""
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=place.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", ["summary net.prototxt", "dataset info db", "env"])
def test_a_full_disk_behind_standard_output_is_one_line__row_53(place: Place, words: str) -> None:
    done = place.run(*words.split(), stdout="/dev/full")
    assert done.code == 74
    assert done.err.splitlines()[-1] == "cvgg: error: No space left on device"
    assert "Traceback" not in done.err


def test_a_reader_that_goes_away_ends_a_command_quietly__row_53(place: Place) -> None:
    relu = 'layer { name: "r%d" type: "ReLU" bottom: "fc" top: "fc" }\n'
    place.replace("net.prototxt", LOSS, "\n" + "".join(relu % i for i in range(2000)) + LOSS)
    assert shell(place, f"{CVGG} summary net.prototxt | head -1") == (141, "")


def test_training_goes_on_when_nobody_reads_its_log__row_53(place: Place) -> None:
    code, _ = shell(place, f"{CVGG} {TRAIN} 2>&1 | head -1")
    assert code == 0
    assert "Optimization Done" in (place / "run.log").read_text()


def test_training_goes_on_when_its_log_has_no_room__row_53(place: Place) -> None:
    for name in ("run.log", "run.metrics.jsonl"):
        (place / name).symlink_to("/dev/full")
    done = place.train()
    assert done.code == 0, done.err
    told = "run.metrics.jsonl: No space left on device; lines are missing from it"
    assert done.err.count(told) == 1
    assert (place / "run_iter_4.solverstate").exists()
    assert place.train(stderr="/dev/full").code == 0


def test_closed_streams_are_no_fault__row_53(place: Place) -> None:
    assert shell(place, f"{CVGG} {TRAIN} <&- >&- 2>&-") == (0, "")
    assert "Optimization Done" in (place / "run.log").read_text()
    assert shell(place, f"{CVGG} summary nothing.prototxt <&- >&- 2>&-") == (66, "")


@pytest.mark.parametrize("name", ["run.log", "run.metrics.jsonl"])
def test_a_log_that_cannot_be_opened_is_told_at_the_start__row_53(place: Place, name: str) -> None:
    (place / name).mkdir()
    place.refuses(73, f"{re.escape(name)}: Is a directory")


# ---- 54
def test_a_clock_that_jumps_changes_no_speed_and_no_time_left__row_54(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report, seen = Report(), []
    report.listeners += [seen.append, Remaining(100)]
    report.start(0, 0.0)
    with caplog.at_level("INFO", logger="cvgg"):
        for number, clock in ((10, 0.0), (20, -1e9), (30, 4e9)):
            monkeypatch.setattr(time, "time", lambda clock=clock: clock)
            report.display(number, loss=1, rate=1, outputs={}, weights={}, images=5, waited_s=0)
    assert all(record["images_per_s"] > 0 for record in seen)
    left = [message for message in caplog.messages if message.endswith(" left")]
    assert len(left) == 2
    assert all(re.search(r"of 100 iterations, 0:0\d left", message) for message in left), left


# ---- 56
def test_no_home_and_no_cache_are_no_fault__row_56(place: Place) -> None:
    settings = {
        "unset": ("HOME", "XDG_CACHE_HOME"),
        "environment": {"XDG_CACHE_HOME": "/proc/none", "TMPDIR": "/proc/none"},
    }
    for words in (("env",), ("train", "--solver", "solver.prototxt", "--cpu")):
        done = place.run(*words, **settings)
        assert done.code == 0, done.err


def test_a_folder_without_the_right_to_write_is_told_at_the_start__row_56(place: Place) -> None:
    other = None if os.geteuid() else 65534  # nobody
    for folder in place.folder.parents[:3]:
        folder.chmod(0o755)
    place.folder.chmod(0o555)
    try:
        place.refuses(73, "snapshot_prefix 'run': cannot write in '.': Permission", user=other)
        assert place.run("summary", "net.prototxt", user=other).code == 0
    finally:
        place.folder.chmod(0o755)
