"""Reads mutants of one kind, each within limits of time and memory; started as a module by
test_mutants.py, so that a crash and a hang end this process and not the tests.

    python -m faults.reading KIND FIRST COUNT SECONDS FOLDER

The input being read lies in FOLDER/input. At the end a line of JSON says how many there were."""

import json
import os
import random
import signal
import sys
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import hypothesis
import numpy as np
from faults.grammar import BEGINNING, nets, solvers
from faults.mutants import ANY, PRINTED, mutated
from faults.places import DATA, NET, SOLVER
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from PIL import Image

from cvgg.data.datum import Datum, datum_bytes, read_datum
from cvgg.data.images import Colour, decode
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

MORE = 16 * 2**20  # bytes beside twice the file

Look = Callable[[Path], object]
Chance = Callable[[random.Random], bytes]
Source = Chance | st.SearchStrategy[bytes]


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


def encoded(form: str) -> bytes:
    """A Datum that holds an image file."""
    stream = BytesIO()
    pixels = np.random.default_rng(5).integers(0, 256, (9, 13, 3), np.uint8)
    Image.fromarray(pixels).save(stream, form)
    return datum_bytes(Datum(3, 9, 13, stream.getvalue(), 5, encoded=True))


def look_at_model(path: Path) -> None:
    """Refused only if it is neither a model nor a state nor a blob."""
    refused = 0
    for read in (read_model, read_state, read_blob):
        try:
            read(path)
        except Error:
            refused += 1
    if refused == 3:
        raise Error("refused by all")


def look_at_net(path: Path) -> None:
    graph = build(read_net(path), phase=0)
    infer(graph, Setting(0, None))


def look_at_solver(path: Path) -> None:
    check(read_solver(path))


def look_at_datum(path: Path) -> None:
    datum = read_datum(path.read_bytes(), "db[key]")
    datum_image(datum, "db[key]", Colour.AS_STORED)


def look_at_encoded(path: Path) -> None:
    """An image's memory goes by the pixels that it promises: here 3 MB of them at most."""
    datum = read_datum(path.read_bytes(), "db[key]")
    if datum.encoded:
        decode(datum.data, "db[key]", most_pixels=10**6)


DATUMS = (
    datum_bytes(Datum(3, 7, 10, bytes(range(210)), 5)),
    datum_bytes(Datum(1, 2, 3, b"", -1, np.arange(6, dtype=np.float32))),
)
FILES = tuple(encoded(form) for form in ("JPEG", "PNG", "GIF", "BMP"))
MODEL, STATE = a_model(), a_state()
LIST = b"a.jpg 0\r\nb c.jpg\t1\nd\xff.png   2\n"


def mutants_of(*inputs: bytes) -> Chance:
    return lambda chance: mutated(chance.choice(inputs), chance)


def texts_of(*inputs: str) -> Chance:
    """Mostly of letters that a text may have: others are refused at once."""

    def make(chance: random.Random) -> bytes:
        letters = chance.choice((ANY, PRINTED, PRINTED, PRINTED))
        return mutated(chance.choice(inputs).encode(), chance, letters)

    return make


KINDS: dict[str, tuple[Look, Source]] = {
    "net-grammar": (look_at_net, nets()),
    "net-bytes": (look_at_net, texts_of(NET, NET.replace(DATA, BEGINNING))),
    "solver-grammar": (look_at_solver, solvers()),
    "solver-bytes": (look_at_solver, texts_of(SOLVER)),
    "datum": (look_at_datum, mutants_of(*DATUMS)),
    "datum-encoded": (look_at_encoded, mutants_of(*FILES)),
    "model": (look_at_model, mutants_of(MODEL)),
    "state": (look_at_model, mutants_of(STATE)),
    "list": (read_list, mutants_of(LIST)),
}


TWO_BYTES = b"\x08\x01\x10\x01\x18\x025\x00\x00\x80?\xb5\x00\x00\x00\x00@"
"""A Datum of two floats; the tag of the second is written in two bytes, where one would do."""


def exactly(content: bytes) -> Chance:
    return lambda chance: content


KEPT: dict[str, tuple[Look, Source]] = {
    "a label of 5000 digits": (read_list, exactly(b"a.jpg " + b"1" * 5000)),  # was a traceback
    "a tag of two bytes": (look_at_datum, exactly(TWO_BYTES)),  # had no end
}
"""Inputs that once failed."""


def hang(path: Path) -> None:
    while True:
        signal.pause()


def allocate(path: Path) -> None:
    """More than may be, in memory that Python does not see either."""
    BytesIO(bytes(MORE + 2**20))


FAULTY: dict[str, tuple[Look, Source]] = {
    "crash": (lambda path: os.abort(), mutants_of(LIST)),
    "hang": (hang, mutants_of(LIST)),
    "traceback": (lambda path: {}[path], mutants_of(LIST)),
    "traceback-grammar": (lambda path: {}[path], nets()),
    "memory": (allocate, mutants_of(LIST)),
}
"""What the limits are for: test_mutants.py sees each of them noticed."""


class Reader:
    """Reads inputs one by one. Raises AssertionError at one that is neither read nor refused."""

    def __init__(self, look: Look, folder: Path, longest_s: float) -> None:
        self.read = self.refused = self.most_bytes = 0
        self._look, self._path, self._longest_s = look, folder / "input", longest_s

    def __call__(self, content: bytes) -> None:
        self._path.write_bytes(content)
        resident, highest = _resident()
        tracemalloc.start()  # here: it would slow the making of inputs down
        signal.setitimer(signal.ITIMER_REAL, self._longest_s)  # SIGALRM ends the process
        try:
            self._look(self._path)
        except Error:
            self.refused += 1
        except Exception as fault:
            raise AssertionError(f"{fault!r} for {content!r}") from fault
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _, taken = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        self.read += 1
        _, now_highest = _resident()
        if now_highest > highest:  # else it stayed below what another one was allowed
            taken = max(taken, now_highest - resident)
        self.most_bytes = max(self.most_bytes, taken - 2 * len(content))
        assert taken <= 2 * len(content) + MORE, f"{taken} bytes for {content!r}"
        self._path.unlink()  # a new file each time: a model's blobs may still be mapped


def _resident() -> tuple[int, int]:
    """Bytes of memory that this process has, and the most it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line[:5]: int(line[6:-2]) * 1024 for line in lines if line.startswith(("VmH", "VmR"))}
    return found["VmRSS"], found["VmHWM"]


def main() -> None:
    kind, first, count, longest_s, folder = sys.argv[1:]
    look, source = (KINDS | FAULTY | KEPT)[kind]
    reader = Reader(look, Path(folder), float(longest_s))
    if isinstance(source, st.SearchStrategy):
        set_hypothesis_home_dir(folder)
        bounds = hypothesis.settings(
            max_examples=int(count), database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
        )  # fmt: skip
        hypothesis.seed(int(first))(bounds(hypothesis.given(source)(reader.__call__)))()
    else:
        for seed in range(int(first), int(first) + int(count)):
            reader(source(random.Random(seed)))
    told = {"read": reader.read, "refused": reader.refused, "most_bytes": reader.most_bytes}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
