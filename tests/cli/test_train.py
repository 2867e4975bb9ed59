"""cvgg train as a process: resume after kill -9, signals, files it leaves, first mistakes."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from databases import numbered, write_images

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { crop_size: 8 mirror: true mean_value: 120 scale: 0.0078125 }
  data_param { source: "train_lmdb" batch_size: 6 backend: LMDB shuffle: true } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc2" type: "InnerProduct" bottom: "conv1" top: "fc2"
  inner_product_param { num_output: 9 weight_filler { type: "msra" } } }
layer { name: "drop2" type: "Dropout" bottom: "fc2" top: "fc2" }
layer { name: "fc3" type: "InnerProduct" bottom: "fc2" top: "fc3"
  inner_product_param { num_output: 17 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc3" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.001
lr_policy: "poly" power: 1 max_iter: {max_iter} display: 5 average_loss: 3
snapshot: {snapshot} snapshot_prefix: "{prefix}" {more}
"""


def files(folder: Path) -> None:
    """A net and a database of 17 images: a batch of 6 runs over the end of an epoch."""
    (folder / "net.prototxt").write_text(NET)
    write_images(folder / "train_lmdb", numbered(17, (3, 11, 10)))


def solver(
    folder: Path, prefix: str, *, more: str = "", max_iter: int = 20, snapshot: int = 10
) -> str:
    text = SOLVER.format(prefix=prefix, more=more, max_iter=max_iter, snapshot=snapshot)
    (folder / f"{prefix}.prototxt").write_text(text)
    return f"{prefix}.prototxt"


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cvgg", "train", "--threads", "1", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, log = process.communicate(timeout=60)
    return process.returncode, log


@pytest.mark.parametrize(
    ("memory", "cut", "there"),
    [
        ("64M", "in one pass", "64"),
        ("40K", "in (2 micro-batches of 3|3 micro-batches of 2)", "0.0391"),
    ],
)
def test_what_it_needs_and_may_use_is_told_before_it_trains(
    memory: str, cut: str, there: str, tmp_path: Path
) -> None:
    files(tmp_path)
    code, log = finish(
        start(tmp_path, "--solver", solver(tmp_path, "run", max_iter=1), "--memory", memory)
    )
    assert code == 0, log
    batch = re.search(f"Batch of 6 images {cut};", log)
    assert batch, log
    need = log.index(" that it may use (params 0.0")
    assert f"MiB of the {there} that" in log
    assert batch.start() < need < log.index("Iteration 0")


def wait_for(path: Path) -> None:
    """Returns once a process has made `path`."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        os.sched_yield()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_run_killed_and_resumed_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    files(tmp_path)
    seed = "random_seed: 7"
    whole = start(tmp_path, "--solver", solver(tmp_path, "whole", more=seed))
    assert finish(whole)[0] == 0
    name = solver(tmp_path, "cut", more=seed)
    killed = start(tmp_path, "-solver", name)
    wait_for(tmp_path / "cut_iter_10.solverstate")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    for later in ("cut_iter_20.caffemodel", "cut_iter_20.solverstate"):
        (tmp_path / later).unlink(missing_ok=True)
    resumed = start(tmp_path, f"--solver={name}", "--snapshot=cut_iter_10.solverstate")
    code, log = finish(resumed)
    assert code == 0, log
    assert "Restored cut_iter_10.solverstate: iteration 10" in log
    assert md5(tmp_path / "cut_iter_20.caffemodel") == md5(tmp_path / "whole_iter_20.caffemodel")
    assert md5(tmp_path / "cut_iter_10.caffemodel") != md5(tmp_path / "cut_iter_20.caffemodel")


def test_two_runs_of_one_seed_write_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    files(tmp_path)
    for prefix, seed in (("one", 3), ("two", 3), ("other", 4)):
        more = f"random_seed: {seed}"
        assert finish(start(tmp_path, "--solver", solver(tmp_path, prefix, more=more)))[0] == 0
    one, two, other = (md5(tmp_path / f"{p}_iter_20.caffemodel") for p in ("one", "two", "other"))
    assert one == two
    assert one != other


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_a_snapshot_with_code_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    files(tmp_path)
    name = solver(tmp_path, "run", max_iter=10**8, snapshot=10)
    process = start(tmp_path, "--solver", name)
    wait_for(tmp_path / "run_iter_10.solverstate")
    process.send_signal(number)
    code, log = finish(process)
    assert code == 0, log
    assert "Optimization stopped early." in log
    last = max(int(p.stem.split("_")[-1]) for p in tmp_path.glob("run_iter_*.solverstate"))
    assert (tmp_path / f"run_iter_{last}.caffemodel").exists()


def test_sighup_writes_a_snapshot_and_the_run_goes_on(tmp_path: Path) -> None:
    files(tmp_path)
    process = start(tmp_path, "--solver", solver(tmp_path, "run", max_iter=10**8, snapshot=10**6))
    wait_for(tmp_path / "run.metrics.jsonl")
    while not (tmp_path / "run.metrics.jsonl").read_text().count("\n"):
        os.sched_yield()
    process.send_signal(signal.SIGHUP)
    while not list(tmp_path.glob("run_iter_*.solverstate")):
        assert process.poll() is None
        os.sched_yield()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0


def test_the_log_and_the_metrics_lie_beside_the_snapshots(tmp_path: Path) -> None:
    files(tmp_path)
    code, shown = finish(start(tmp_path, "--solver", solver(tmp_path, "run")))
    assert code == 0, shown
    log = (tmp_path / "run.log").read_text()
    assert re.search(r"^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] Solving small$", log, re.M)
    assert re.search(r"\] Iteration 5 \(.* iter/s, .*s/5 iters\), loss = \d", log)
    records = [
        json.loads(line) for line in (tmp_path / "run.metrics.jsonl").read_text().splitlines()
    ]
    displayed = [record["iter"] for record in records if record["event"] == "train"]
    assert displayed == [0, 5, 10, 15, 20]


def test_a_missing_database_is_one_line_that_says_how_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    code, log = finish(start(tmp_path, "--solver", solver(tmp_path, "run")))
    assert code == 66
    last = log.strip().splitlines()[-1]
    assert "train_lmdb: no such database" in last
    assert "cvgg convert-imagenet SOURCE train_lmdb" in last
    assert "Traceback" not in log


def test_a_model_given_as_snapshot_is_told_to_be_weights(tmp_path: Path) -> None:
    files(tmp_path)
    name = solver(tmp_path, "run", max_iter=2, snapshot=2)
    assert finish(start(tmp_path, "--solver", name))[0] == 0
    code, log = finish(start(tmp_path, "--solver", name, "--snapshot", "run_iter_2.caffemodel"))
    assert code == 65
    assert "use --weights" in log


def test_snapshot_auto_takes_the_last_one(tmp_path: Path) -> None:
    files(tmp_path)
    name = solver(tmp_path, "run", max_iter=4, snapshot=2)
    assert finish(start(tmp_path, "--solver", name, "--snapshot", "auto"))[0] == 0
    code, log = finish(start(tmp_path, "--solver", name, "--snapshot", "auto"))
    assert code == 0
    assert "Restored run_iter_4.solverstate: iteration 4" in log
