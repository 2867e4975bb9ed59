"""Prototxt files, Datums, models and lists changed by chance: each is read, or refused by an error
of ours; memory stays within twice the file and 16 MB. `pytest tests/faults --mutants 100000` makes
more of them.
"""

import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults.mutants import grammar, mutated
from faults.places import NET, SOLVER

from cvgg.data.datum import Datum, datum_bytes, read_datum
from cvgg.data.images import Colour
from cvgg.data.lists import read_list
from cvgg.data.records import datum_image
from cvgg.errors import Error
from cvgg.layers import infer
from cvgg.layers.base import Setting
from cvgg.netdef.caffe_pb2 import ExactState, LayerParameter, NetParameter, SolverState
from cvgg.netdef.caffemodel import (
    ModelBlob,
    model_bytes,
    read_blob,
    read_model,
    read_state,
    state_bytes,
)
from cvgg.netdef.graph import build
from cvgg.netdef.prototxt import read_net, read_solver
from cvgg.solver.settings import check

FEW = 150  # of each kind in `make test`
LONGEST_S = 5.0  # for one input
MORE = 16 * 2**20  # bytes beside twice the file


def a_model() -> bytes:
    blob = ModelBlob((3, 4), np.arange(12, dtype="<f4").tobytes())
    legacy = ModelBlob((1, 1, 1, 3), np.arange(3, dtype="<f4").tobytes(), legacy=True)
    net = NetParameter(name="net", layer=[LayerParameter(name="fc", type="InnerProduct")])
    return b"".join(bytes(piece) for piece in model_bytes(net, {"fc": (blob, legacy)}))


def a_state() -> bytes:
    blob = ModelBlob((3, 4), np.arange(12, dtype="<f4").tobytes())
    exact = ExactState(version=1, seed=5, losses=[1.0, 2.0], model_size=5, model_checksum=7)
    state = SolverState(iter=7, learned_net="a.caffemodel", cvgg=exact, checksum=9)
    return b"".join(bytes(piece) for piece in state_bytes(state, [blob]))


def look_at_model(path: Path) -> None:
    for read in (read_model, read_state, read_blob):
        try:
            read(path)
        except Error:
            continue


def look_at_net(path: Path) -> None:
    graph = build(read_net(path), phase=0)
    infer(graph, Setting(0, None))


def look_at_solver(path: Path) -> None:
    check(read_solver(path))


def look_at_datum(path: Path) -> None:
    datum = read_datum(path.read_bytes(), "db[key]")
    datum_image(datum, "db[key]", Colour.AS_STORED)


PIXELS = bytes(range(210))
DATUMS = (
    datum_bytes(Datum(3, 7, 10, PIXELS, 5)),
    datum_bytes(Datum(1, 2, 3, b"", -1, np.arange(6, dtype=np.float32))),
)
LIST = b"a.jpg 0\r\nb c.jpg\t1\nd\xff.png   2\n"

Look = Callable[[Path], object]
Make = Callable[[random.Random], bytes]
KINDS: dict[str, tuple[Look, Make]] = {
    "net-grammar": (look_at_net, grammar),
    "net-bytes": (look_at_net, lambda chance: mutated(NET.encode(), chance)),
    "solver-grammar": (look_at_solver, grammar),
    "solver-bytes": (look_at_solver, lambda chance: mutated(SOLVER.encode(), chance)),
    "datum": (look_at_datum, lambda chance: mutated(chance.choice(DATUMS), chance)),
    "model": (look_at_model, lambda chance: mutated(a_model(), chance)),
    "state": (look_at_model, lambda chance: mutated(a_state(), chance)),
    "list": (read_list, lambda chance: mutated(LIST, chance)),
}


def try_out(kind: str, folder: Path, seeds: range) -> None:
    """Reads the mutants of these numbers; a failure names the number and shows the bytes."""
    look, make = KINDS[kind]
    path = folder / f"mutant.{kind}"
    for seed in seeds:
        content = make(random.Random(seed))
        path.write_bytes(content)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        began = time.monotonic()
        try:
            look(path)
        except Error:
            pass
        except Exception as fault:
            raise AssertionError(f"{kind} {seed}: {fault!r} for {content!r}") from fault
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before <= 2 * len(content) + MORE, f"{kind} {seed}: {peak - before} bytes"
        assert time.monotonic() - began < LONGEST_S, f"{kind} {seed}: too slow"
        path.unlink()  # a new file each time: a model's blobs may still be mapped


@pytest.fixture
def traced() -> object:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutant_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    try_out(kind, tmp_path, range(FEW))


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutants_are_read_or_refused(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("mutants", default=20_000)
    try_out(kind, tmp_path, range(FEW, FEW + count // len(KINDS)))
