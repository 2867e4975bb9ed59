"""Rows 40 to 47 of the table of faults: models and snapshots that are damaged, or cannot be
written.

What holds inside one process is in tests/engine/test_snapshot.py and test_caffemodel.py.
"""

import fcntl
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.places import FC, Place

from cvgg.netdef.caffe_pb2 import SolverState
from cvgg.netdef.caffemodel import read_state

MODEL, STATE = "run_iter_4.caffemodel", "run_iter_4.solverstate"


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory, forks: object) -> Path:
    """What a training leaves."""
    place = Place(tmp_path_factory.mktemp("trained"), forks)  # type: ignore[arg-type]
    assert place.train().code == 0
    return place.folder


@pytest.fixture
def trained(place: Place, trained_folder: Path) -> Place:
    """A place with snapshots of iterations 2 and 4."""
    shutil.copytree(trained_folder, place.folder, dirs_exist_ok=True)
    return place


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def huge_length(place: Place) -> None:
    (place / MODEL).write_bytes(b"\xa2\x06\xff\xff\xff\xff\x07")  # a layer of 2**31 - 1 bytes


def with_nan(place: Place) -> None:
    content = bytearray((place / MODEL).read_bytes())
    content[-1000:-996] = struct.pack("<f", float("nan"))
    (place / MODEL).write_bytes(content)


def without_layers(place: Place) -> None:
    content = (place / MODEL).read_bytes()
    (place / MODEL).write_bytes(content[: content.index(b"\xa2\x06")])


Change = Callable[[Place], object]
MODELS: dict[str, tuple[Change, tuple[str, ...], int, str]] = {
    "40-empty": (lambda p: os.truncate(p / MODEL, 0), ("--weights", MODEL), 65, "file is empty"),
    "40-cut": (lambda p: os.truncate(p / MODEL, 400), ("--weights", MODEL), 65, "damaged, cut"),
    "40-no-layer": (without_layers, ("--weights", MODEL), 65, "holds no layers"),
    "40-other-net": (
        lambda p: p.replace("net.prototxt", 'name: "fc"', 'name: "fc9"'),
        ("--weights", MODEL),
        65,
        "no layer of the net is in it; its layers are fc",
    ),
    "41-state": (lambda p: 0, ("--weights", STATE), 65, "this is a .solverstate: use --snapshot"),
    "41-model": (lambda p: 0, ("--snapshot", MODEL), 65, "this is a .caffemodel: use --weights"),
    "41-both": (lambda p: 0, ("--snapshot", STATE, "--weights", MODEL), 2, "not allowed with"),
    "42-shape": (
        lambda p: p.replace("net.prototxt", "num_output: 9", "num_output: 8"),
        ("--weights", MODEL),
        65,
        "layer 'fc': blob 0 has shape 9 192, the net's has 8 192; .* rename the layer",
    ),
    "43-length": (huge_length, ("--weights", MODEL), 65, "2147483647 bytes, 0 are left"),
    "44-nan": (with_nan, ("--weights", MODEL), 1, "iteration 0: .*param 0 of layer 'fc'"),
    "45-state-cut": (lambda p: os.truncate(p / STATE, 400), ("--snapshot", STATE), 65, "damaged"),
    "45-state-flip": (lambda p: flip(p / STATE, 700), ("--snapshot", STATE), 65, "its checksum"),
    "45-state-tail": (lambda p: flip(p / STATE, -1), ("--snapshot", STATE), 65, "its checksum"),
    "45-state-tag": (lambda p: flip(p / STATE, -6), ("--snapshot", STATE), 65, "checksum"),
    "45-model-flip": (
        lambda p: flip(p / MODEL, -500),
        ("--snapshot", STATE),
        65,
        "run_iter_4.caffemodel: not as it was written with run_iter_4.solverstate",
    ),
    "45-other-model": (
        lambda p: shutil.copy(p / "run_iter_2.caffemodel", p / MODEL),
        ("--snapshot", STATE),
        65,
        "run_iter_4.caffemodel: not as it was written with",
    ),
    "47-shape": (
        lambda p: p.replace("net.prototxt", "num_output: 9", "num_output: 8"),
        ("--snapshot", STATE),
        65,
        "history 0 has shape 9 192, the net's param has 8 192",
    ),
    "47-layers": (
        lambda p: p.replace("net.prototxt", FC, FC + FC.replace('"fc"', '"fd"')),
        ("--snapshot", STATE),
        65,
        "the history has 2 blobs, this net has 4 params",
    ),
    "47-model-gone": (
        lambda p: os.unlink(p / MODEL),
        ("--snapshot", STATE),
        66,
        "'run_iter_4.caffemodel' is neither there nor beside the state",
    ),
}


@pytest.mark.parametrize("row", MODELS)
def test_a_model_or_state_that_does_not_fit_is_refused(trained: Place, row: str) -> None:
    change, words, code, message = MODELS[row]
    change(trained)
    trained.refuses(code, message, *words)


def test_weights_that_are_not_finite_are_a_warning__row_44(trained: Place) -> None:
    with_nan(trained)
    done = trained.train("--weights", MODEL)
    assert f"{MODEL}: layer 'fc': blob 0 has NaN or infinity" in done.err


def test_a_state_of_another_type_of_solver_is_refused__row_47(trained: Place) -> None:
    content = (trained / STATE).read_bytes()
    (trained / STATE).write_bytes(content.replace(b"\x42\x03SGD", b"\x42\x03SGX"))
    trained.refuses(65, "checksum", "--snapshot", STATE)
    state = SolverState.FromString((trained / STATE).read_bytes())
    state.cvgg.ClearField("model_checksum")
    (trained / STATE).write_bytes(state.SerializeToString())
    trained.refuses(65, "written by a solver of type 'SGX'; this one is 'SGD'", "--snapshot", STATE)


def test_another_batch_or_net_is_told__row_47(trained: Place) -> None:
    trained.replace("net.prototxt", "batch_size: 3", "batch_size: 2")
    done = trained.train("--snapshot", STATE)
    assert done.code == 0
    assert f"{STATE} was written for a net whose prototxt read otherwise" in done.err


def test_caffe_reads_the_state_as_before(trained: Place) -> None:
    """Fields of our own stand behind Caffe's, and nothing else does."""
    state, history = read_state(trained / STATE)
    assert state.iter == 4
    assert state.learned_net == MODEL
    assert [blob.shape for blob in history] == [(9, 192), (9,)]
    fields = [field.number for field, _ in state.ListFields()]
    assert fields == [1, 2, 4, 10001, 10002]


def test_auto_passes_over_a_damaged_snapshot_and_says_so__row_45(trained: Place) -> None:
    os.truncate(trained / STATE, 400)
    done = trained.train("--snapshot", "auto")
    assert done.code == 0
    assert f"Passed over: {STATE}: damaged" in done.err
    assert "Restored run_iter_2.solverstate: iteration 2" in done.err


def test_auto_does_not_start_anew_over_damaged_snapshots__row_45(trained: Place) -> None:
    for name in (STATE, "run_iter_2.solverstate"):
        os.truncate(trained / name, 400)
    trained.refuses(65, f"{STATE}: damaged", "--snapshot", "auto")


def test_what_killed_processes_left_is_swept_at_the_start__row_45(trained: Place) -> None:
    left = [".run_iter_6.caffemodel.0123abcd.tmp", ".run_iter_6.solverstate.0123abcd.tmp"]
    others = [".run2_iter_6.caffemodel.0123abcd.tmp", ".run_iter_6.caffemodel.tmp", "run_iter_6"]
    for name in left + others:
        (trained / name).write_bytes(b"x")
    written = trained / ".run_iter_8.caffemodel.0123abcd.tmp"
    with written.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert trained.train("--snapshot", STATE).code == 0
    assert [name for name in left if (trained / name).exists()] == []
    assert [name for name in others if (trained / name).exists()] == others
    assert written.exists()


# ---- the disk is full
def test_a_full_disk_costs_the_snapshot_and_not_the_training__row_46(place: Place) -> None:
    """The limit lets no model through: it has 7 KB."""
    place.replace("solver.prototxt", "snapshot: 2", "snapshot: 2 display: 1")
    before = place.hashes()
    done = place.train(largest_file=6000)
    assert done.code == 73
    assert place.hashes() == before
    assert "Iteration 2: no snapshot: run_iter_2.caffemodel: writing failed: File too" in done.err
    assert "Iteration 4: no snapshot" in done.err
    assert "Iteration 3 (" in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("cvgg: error: the last snapshot is missing: run_iter_4.caffemodel")
    assert "Traceback" not in done.err


def test_a_snapshot_that_the_next_one_makes_up_for_is_no_fault__row_46(place: Place) -> None:
    (place / "run_iter_2.caffemodel").mkdir()  # what cannot be replaced
    done = place.train()
    assert done.code == 0
    assert "Iteration 2: no snapshot: run_iter_2.caffemodel: not a regular file" in done.err
    assert not (place / "run_iter_2.solverstate").exists()
    assert (place / STATE).exists()


# ---- how many stay
def iterations(place: Place, suffix: str = "solverstate") -> list[int]:
    return sorted(int(p.stem.split("_")[-1]) for p in place.folder.glob(f"run_iter_*.{suffix}"))


def test_the_newest_snapshots_stay(place: Place) -> None:
    place.replace("solver.prototxt", "max_iter: 4\nsnapshot: 2", "max_iter: 7\nsnapshot: 1")
    (place / "run_iter_9.solverstate").write_bytes(b"another training's")
    assert place.train("--keep", "2").code == 0
    assert iterations(place) == [6, 7, 9]
    assert iterations(place, "caffemodel") == [6, 7]


def test_a_resumed_training_counts_the_snapshots_before_it(trained: Place) -> None:
    trained.replace("solver.prototxt", "max_iter: 4", "max_iter: 6")
    assert trained.train("--keep", "2", "--snapshot", "auto").code == 0
    assert iterations(trained) == [4, 6]
    trained.replace("solver.prototxt", "max_iter: 6", "max_iter: 2")
    assert trained.train("--keep", "1").code == 0  # from the start: those are not its own
    assert iterations(trained) == [2, 4, 6]


def test_the_best_snapshot_stays_also_after_a_resume(place: Place) -> None:
    """A rate far too high: the loss of the test only rises, so the first snapshot is the best."""
    place.replace("net.prototxt", 'top: "loss"', 'top: "loss" loss_weight: 1')
    place.replace("solver.prototxt", "max_iter: 4\nsnapshot: 2", "max_iter: 3\nsnapshot: 1")
    place.replace("solver.prototxt", "0.01", "10 test_iter: 2 test_interval: 1")
    words = ("--keep", "1", "--keep-best", "loss")
    done = place.train(*words)
    assert done.code == 0, done.err
    assert iterations(place) == [1, 3]
    place.replace("solver.prototxt", "max_iter: 3", "max_iter: 5")
    assert place.train(*words, "--snapshot", "auto").code == 0
    assert iterations(place) == [1, 5]


KEEPING = {
    "no-number": (("--keep-best", "loss"), "--keep-best goes with --keep"),
    "no-output": (("--keep", "1", "--keep-best", "x"), "'x' is no output of a test net; .*: none"),
    "zero": (("--keep", "0"), "argument --keep"),
}


@pytest.mark.parametrize("case", KEEPING)
def test_what_to_keep_must_be_clear(place: Place, case: str) -> None:
    words, message = KEEPING[case]
    place.refuses(2, message, *words)


def test_a_snapshot_without_its_test_cannot_be_the_best(place: Place) -> None:
    place.replace("solver.prototxt", "max_iter", "test_iter: 2 test_interval: 4 max_iter")
    message = r"let snapshot \(2\) be a multiple of test_interval \(4\)"
    place.refuses(2, message, "--keep", "1", "--keep-best", "loss")


def test_weights_that_run_away_get_no_snapshot__row_48(place: Place) -> None:
    """The update after iteration 0 makes them infinite: nothing has shown that yet."""
    place.replace("solver.prototxt", "0.01", "1e38")
    place.replace("solver.prototxt", "snapshot: 2", "snapshot: 1")
    place.replace("net.prototxt", "scale: 0.01", "scale: 100")
    (place / "run_iter_1.caffemodel").write_bytes(b"a good one")
    place.refuses(1, "iteration 1: no snapshot: param 0 of layer 'fc', element [0-9]+, is not fin")


def test_a_loss_that_is_not_finite_stops_the_training__row_48(place: Place) -> None:
    place.replace("solver.prototxt", "snapshot: 2", "snapshot: 0 snapshot_after_train: false")
    place.replace("solver.prototxt", "0.01", "1e38")
    place.replace("net.prototxt", "scale: 0.01", "scale: 100")
    done = place.refuses(1, "iteration 1: the loss is nan; first seen in param 0 of layer 'fc'")
    assert "lower base_lr" in done.err
