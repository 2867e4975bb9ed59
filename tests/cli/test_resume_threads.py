"""A training on the CPU ends with the same bytes however many threads each of its parts had."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from databases import numbered, write_images

from cvgg.kernels.cpu.processor import AVX2

pytestmark = pytest.mark.skipif(AVX2 is None, reason="without AVX2 products are BLAS's")

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { crop_size: 12 mirror: true mean_value: 120 scale: 0.0078125 }
  data_param { source: "db" batch_size: 5 backend: LMDB shuffle: true } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 9 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { alpha: 1 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 11 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc3" type: "InnerProduct" bottom: "pool2" top: "fc3"
  inner_product_param { num_output: 21 weight_filler { type: "msra" } } }
layer { name: "relu3" type: "ReLU" bottom: "fc3" top: "fc3" }
layer { name: "drop3" type: "Dropout" bottom: "fc3" top: "fc3" }
layer { name: "fc4" type: "InnerProduct" bottom: "fc3" top: "fc4"
  inner_product_param { num_output: 17 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc4" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 weight_decay: 0.001
lr_policy: "step" stepsize: 2 gamma: 0.5 max_iter: 6 average_loss: 3 random_seed: 5
snapshot: 3 snapshot_prefix: "run"
"""
LAST = "run_iter_6.caffemodel", "run_iter_6.solverstate"
# The command line, without BLAS: numpy's ways to it raise. Its sums' order may go by the threads.
WITHOUT_BLAS = """
import sys
import numpy as np

def refuse(*_, **__):
    raise RuntimeError("a step calls BLAS")

for name in ("dot", "einsum", "inner", "matmul", "tensordot", "vdot"):
    setattr(np, name, refuse)
from cvgg.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a net, a database of 17 images (6 batches of 5 run over an epoch's end), and
    what a training left that ran to its end at once, on one thread."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "net.prototxt").write_text(NET)
    write_images(folder / "db", numbered(17, (3, 15, 14)))
    train(folder, 1, SOLVER)
    return folder


def train(folder: Path, threads: int, solver: str, *words: object) -> None:
    done = run(folder, threads, solver, *words)
    assert done.returncode == 0, done.stderr


def run(
    folder: Path, threads: int, solver: str, *words: object, before: str = ""
) -> "subprocess.CompletedProcess[str]":
    (folder / "solver.prototxt").write_text(solver)
    command = [sys.executable, "-c", before + WITHOUT_BLAS, "train", "--solver", "solver.prototxt"]
    return subprocess.run(
        [*command, "--cpu", "--threads", *map(str, (threads, *words))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def digests(folder: Path) -> list[str]:
    return [hashlib.md5((folder / name).read_bytes()).hexdigest() for name in LAST]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_training_goes_on_with_other_threads_to_the_same_bytes(
    whole: Path, tmp_path: Path, threads: int
) -> None:
    shutil.copy(whole / "net.prototxt", tmp_path)
    shutil.copytree(whole / "db", tmp_path / "db")
    train(tmp_path, 1, SOLVER.replace("max_iter: 6", "max_iter: 3"))
    assert not (tmp_path / LAST[0]).exists()
    train(tmp_path, threads, SOLVER, "--snapshot", "run_iter_3.solverstate")
    assert digests(tmp_path) == digests(whole)


def test_a_step_that_calls_blas_would_be_seen(whole: Path) -> None:
    """As on a processor without AVX2."""
    before = "from cvgg.kernels.cpu import fc; fc.AVX2 = None\n"
    done = run(whole, 1, SOLVER.replace('"run"', '"other"'), before=before)
    assert done.returncode
    assert "RuntimeError: a step calls BLAS" in done.stderr
