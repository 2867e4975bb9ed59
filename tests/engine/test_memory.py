"""Memory in training: once the first iteration is over, nothing large is allocated any more."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from databases import write_checksums, write_lmdb

from cvgg import Solver
from cvgg.data.datum import Datum, datum_bytes

LARGE = 1 << 16  # bytes
SIDE, COUNT, BATCH = 256, 13, 4  # a batch of uncut images has 768 KiB, an image 192
NET = """
name: "small"
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ crop_size: {crop} mirror: true
    mean_value: 104 mean_value: 117 mean_value: 123 }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB shuffle: true }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 3 kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "halves" type: "Pooling" bottom: "conv" top: "halves"
  pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "conv2" type: "Convolution" bottom: "halves" top: "conv2"
  convolution_param {{ num_output: 7 kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv2" top: "pool"
  pooling_param {{ kernel_size: 8 stride: 8 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "fc" top: "fc" }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
  {ignored} }}
"""
SOLVER = """
net: "{net}"
base_lr: 0.001 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed"
display: 3 random_seed: 7 clip_gradients: 5 iter_size: {iter_size}
"""
# Trains on, and says the largest resident set (KiB) after 5 and after 50 iterations.
PROGRAM = """
import sys
from pathlib import Path
from cvgg import Solver

def largest():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmHWM:"))

solver = Solver(sys.argv[1], engine="cpu")
solver.step(5)
early = largest()
solver.step(45)
print(early, largest())
solver.close()
"""


def pictures() -> list[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]]:
    """Images (256,256,3), smooth but for some noise."""
    chance = np.random.default_rng(8)
    slope = np.linspace(0, 200, SIDE)
    noise = chance.integers(0, 50, (COUNT, SIDE, SIDE, 3))
    return list((slope[:, None, None] + noise).astype(np.uint8))


def record(kind: str, image: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], i: int) -> bytes:
    if kind == "jpeg":
        data = simplejpeg.encode_jpeg(image, quality=90)
        return datum_bytes(Datum(data=data, label=i % 5, encoded=True))
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes()
    return datum_bytes(Datum(3, SIDE, SIDE, pixels, i % 5))


@pytest.fixture(params=["raw", "jpeg"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def prepare(folder: Path, kind: str, *, crop: int, ignored: str = "", iter_size: int = 1) -> Path:
    """A database of 256x256 images with checksums, and a solver for it."""
    records = {b"%05d" % i: record(kind, image, i) for i, image in enumerate(pictures())}
    source = write_lmdb(folder / "db", records)
    write_checksums(source)
    text = NET.format(source=source, crop=crop, batch=BATCH, ignored=ignored)
    (folder / "net.prototxt").write_text(text)
    solver = folder / "solver.prototxt"
    solver.write_text(SOLVER.format(net=folder / "net.prototxt", iter_size=iter_size))
    return solver


def largest_rises(solver: Solver, iterations: int) -> list[int]:
    """For each iteration the bytes that were in use at most on top of those before it, whether or
    not they were given back: by all threads, in Python's objects and numpy's arrays."""
    rises = []
    tracemalloc.start()
    try:
        for _ in range(iterations):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            solver.step(1)
            rises.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return rises


def test_a_large_array_that_is_given_back_at_once_is_seen(tmp_path: Path) -> None:
    solver = Solver(str(prepare(tmp_path, "raw", crop=0)), engine="cpu")
    solver.step(1)
    solver.action = lambda: "" if np.empty(LARGE, np.uint8).size else "stop"
    assert all(rise >= LARGE for rise in largest_rises(solver, 3))
    solver.close()


@pytest.mark.parametrize("crop", [0, 224])
@pytest.mark.parametrize("case", ["plain", "ignoring", "summing"])
def test_iterations_2_to_20_allocate_nothing_large(
    tmp_path: Path, kind: str, crop: int, case: str
) -> None:
    more: dict[str, object] = {
        "plain": {},
        "ignoring": {"ignored": "loss_param { ignore_label: 3 }"},
        "summing": {"iter_size": 2},
    }[case]
    path = prepare(tmp_path, kind, crop=crop, **more)  # type: ignore[arg-type]
    solver = Solver(str(path), engine="cpu")
    solver.step(1)
    rises = largest_rises(solver, 19)
    solver.close()
    assert len(rises) == 19
    assert max(rises) < LARGE, rises


def test_a_batch_that_is_cut_for_memory_allocates_nothing_large(tmp_path: Path, kind: str) -> None:
    path = prepare(tmp_path, kind, crop=224)
    whole = Solver(str(path), engine="cpu")
    needed = whole.net.memory.total
    whole.close()
    solver = Solver(str(path), engine="cpu", memory=needed * 2 // 3)
    assert len(solver.net.micro_batches) > 1
    solver.step(1)
    rises = largest_rises(solver, 19)
    solver.close()
    assert max(rises) < LARGE, rises


def test_resident_memory_stays_from_iteration_5_to_50(tmp_path: Path, kind: str) -> None:
    path = prepare(tmp_path, kind, crop=224)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    early, late = map(int, done.stdout.split())
    assert late - early <= 1024  # KiB
