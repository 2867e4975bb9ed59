"""Snapshots: their files, exact resume, states of Caffe, states that do not fit."""

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import numbered, write_images
from nets import conv, dropout, dummy_data, fc, loss, relu

import cvgg
from cvgg import snapshot
from cvgg.data.files import write_whole
from cvgg.errors import DataError, MissingInputError
from cvgg.netdef.caffe_pb2 import ExactState, SolverState
from cvgg.netdef.caffemodel import ModelBlob, read_state, state_bytes
from cvgg.solver import Action
from cvgg.weights import to_array, to_blob

LAYERS = (
    conv("conv1", "data", 4)
    + relu("relu1", "conv1")
    + dropout("drop1", "conv1")
    + fc("fc2", "conv1", 7, more="param { lr_mult: 1 } param { lr_mult: 0 }")
    + loss("fc2")
)
NET = dummy_data(3) + LAYERS
SHAPES = [(4, 2, 3, 3), (4,), (7, 144), (7,)]


def solver(folder: Path, settings: str = "", *, net: str = NET, seed: int = 5) -> cvgg.Solver:
    return cvgg.Solver(
        f'net_param {{ {net} }} base_lr: 0.1 lr_policy: "step" stepsize: 4 gamma: 0.5 '
        f'momentum: 0.9 weight_decay: 0.01 random_seed: {seed} snapshot_prefix: "{folder}/vgg" '
        f"{settings}"
    )


def md5_of_weights(trained: cvgg.Solver) -> str:
    digest = hashlib.md5()
    for blobs in trained.net.params.values():
        for blob in blobs:
            digest.update(blob.data.tobytes())
    return digest.hexdigest()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- files
def test_snapshots_have_the_names_of_caffe_and_come_every_so_many_iterations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cvgg")
    solver(tmp_path, "snapshot: 2 max_iter: 5").solve()
    stems = [f"vgg_iter_{iteration}" for iteration in (2, 4, 5)]
    ends = (".caffemodel", ".solverstate")
    assert files(tmp_path) == [stem + end for stem in stems for end in ends]
    for kind, end in (("", ends[0]), ("solver state ", ends[1])):
        assert (
            f"Snapshotting {kind}to binary proto file {tmp_path}/vgg_iter_4{end}" in caplog.messages
        )


def test_the_last_snapshot_is_not_written_twice(tmp_path: Path) -> None:
    trained = solver(tmp_path, "snapshot: 2 max_iter: 4")
    written: list[dict[str, Any]] = []
    trained.report.listeners.append(written.append)
    trained.solve()
    assert [record["iter"] for record in written if record["event"] == "snapshot"] == [2, 4]


def test_snapshot_after_train_false_writes_nothing(tmp_path: Path) -> None:
    solver(tmp_path, "snapshot_after_train: false max_iter: 2").solve()
    assert files(tmp_path) == []


def test_an_action_asks_for_a_snapshot_and_training_goes_on(tmp_path: Path) -> None:
    trained = solver(tmp_path)
    answers: Iterator[Action] = iter(("", "snapshot", ""))
    trained.action = lambda: next(answers)
    trained.step(3)
    assert files(tmp_path) == ["vgg_iter_2.caffemodel", "vgg_iter_2.solverstate"]


def test_a_state_holds_a_history_for_every_param_in_the_order_of_the_layers(
    tmp_path: Path,
) -> None:
    trained = solver(tmp_path)
    before = {name: [b.data.copy() for b in bs] for name, bs in trained.net.params.items()}
    trained.step(1)
    state, history = read_state(trained.snapshot())
    assert (state.iter, state.learned_net) == (1, f"{tmp_path}/vgg_iter_1.caffemodel")
    assert [blob.shape for blob in history] == SHAPES
    pairs = [
        (old, blob.data)
        for name, blobs in trained.net.params.items()
        for old, blob in zip(before[name], blobs, strict=True)
    ]
    for blob, (old, new) in zip(history, pairs, strict=True):
        # After the first update the history is the way that the weights went, up to rounding of
        # weights below 2.
        values = to_array(blob).reshape(old.shape)
        np.testing.assert_allclose(values, old - new, rtol=0, atol=2e-7)
    assert np.abs(to_array(history[2])).max() > 1e-3
    assert not to_array(history[3]).any()  # lr_mult 0


@pytest.mark.parametrize(
    ("policy", "step"),
    [
        ('"step" stepsize: 2 gamma: 0.5', 2),
        ('"multistep" stepvalue: 1 stepvalue: 4 stepvalue: 6 gamma: 0.5', 2),
        ('"fixed"', 0),
    ],
)
def test_current_step_is_what_caffe_would_have_counted(
    tmp_path: Path, policy: str, step: int
) -> None:
    trained = cvgg.Solver(
        f'net_param {{ {NET} }} base_lr: 0.1 lr_policy: {policy} snapshot_prefix: "{tmp_path}/vgg"'
    )
    trained.step(5)
    assert read_state(trained.snapshot())[0].current_step == step


def test_latest_is_the_highest_iteration_of_the_prefix(tmp_path: Path) -> None:
    for name in (
        "vgg_iter_9.solverstate",
        "vgg_iter_10.solverstate",
        "vgg_iter_11.caffemodel",
        "vgg_iter_x.solverstate",
        "vgg2_iter_12.solverstate",
    ):
        (tmp_path / name).touch()
    assert snapshot.latest(f"{tmp_path}/vgg") == f"{tmp_path}/vgg_iter_10.solverstate"
    assert snapshot.latest(f"{tmp_path}/other") is None


# ---- exact resume
def losses(trained: cvgg.Solver, steps: int) -> list[float]:
    """What was shown: smoothed over average_loss."""
    records: list[dict[str, Any]] = []
    trained.report.listeners.append(records.append)
    trained.step(steps)
    return [record["loss"] for record in records if record["event"] == "train"]


def database_net(folder: Path) -> str:
    """Seven records in batches of three, shuffled, cut and mirrored: no epoch ends with a batch."""
    path = folder / "images"
    if not path.exists():
        write_images(path, numbered(7, (2, 8, 8)))
    return (
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f'data_param {{ source: "{path}" batch_size: 3 backend: LMDB shuffle: true }} '
        "transform_param { crop_size: 6 mirror: true scale: 0.01 } }" + LAYERS
    )


@pytest.mark.parametrize("source", ["dummy", "database"])
def test_k_and_k_more_iterations_give_the_weights_of_2k_bit_for_bit(
    tmp_path: Path, source: str
) -> None:
    """Dropout, momentum, a rate that steps in the second half, iter_size, smoothed losses."""
    net = NET if source == "dummy" else database_net(tmp_path)
    settings = "iter_size: 2 average_loss: 4 display: 1"
    whole = solver(tmp_path, settings, net=net)
    shown = losses(whole, 6)
    first = solver(tmp_path, settings, net=net)
    first.step(3)
    half = md5_of_weights(first)
    state = first.snapshot()
    first.close()
    # No seed of its own: the state brings it.
    second = solver(tmp_path, settings, net=net, seed=-1)
    second.restore(state)
    assert second.iter == 3
    assert md5_of_weights(second) == half
    assert losses(second, 3) == shown[3:]
    assert md5_of_weights(second) == md5_of_weights(whole) != half
    for each in (whole, second):
        each.close()


def test_solve_from_a_snapshot_trains_the_rest(tmp_path: Path) -> None:
    first = solver(tmp_path)
    first.step(2)
    state = first.snapshot()
    again = solver(tmp_path, "max_iter: 5")
    again.solve(state)
    first.step(3)
    assert again.iter == 5
    assert md5_of_weights(again) == md5_of_weights(first)


def test_the_same_solver_can_go_back_to_its_own_snapshot(tmp_path: Path) -> None:
    trained = solver(tmp_path, "average_loss: 4 display: 1")
    trained.step(2)
    state = trained.snapshot()
    shown = losses(trained, 2)
    there = md5_of_weights(trained)
    trained.restore(state)
    assert losses(trained, 2) == shown  # those of the way that was given up are forgotten
    assert md5_of_weights(trained) == there


def test_the_data_goes_on_where_the_state_says_even_with_another_iter_size(
    tmp_path: Path,
) -> None:
    first = solver(tmp_path, "iter_size: 3")
    first.step(2)
    second = solver(tmp_path)
    second.restore(first.snapshot())
    second.step(1)
    assert read_state(second.snapshot())[0].cvgg.batch == 7


WATCHED = """
layer { name: "watched" type: "DummyData" top: "watched" include { phase: TEST }
  dummy_data_param { shape { dim: 1 } data_filler { type: "constant" value: 3 } } }
"""


def test_the_plateau_goes_on_where_it_was(tmp_path: Path) -> None:
    def make() -> cvgg.Solver:
        return cvgg.Solver(
            f'net_param {{ {NET + WATCHED} }} base_lr: 0.1 gamma: 0.5 lr_policy: "plateau" '
            'plateau_output: "watched" plateau_patience: 2 test_iter: 1 test_interval: 1 '
            f'random_seed: 5 snapshot_prefix: "{tmp_path}/vgg"'
        )

    # Tests before updates 0 to 3: the best, one without a new best, the drop, one without.
    first = make()
    first.step(4)
    state = first.snapshot()
    exact = read_state(state)[0].cvgg
    assert (exact.plateau_best, exact.plateau_count, exact.plateau_drops) == (3, 1, 1)
    second = make()
    second.restore(state)
    assert second.lr == pytest.approx(0.05)
    second.step(1)  # the test before it is the second without a new best
    assert second.lr == pytest.approx(0.025)


def test_a_seed_of_the_prototxt_that_is_not_the_states_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = solver(tmp_path)
    first.step(1)
    other = solver(tmp_path, seed=6)
    other.restore(first.snapshot())
    assert other.seed == 6
    assert any("was made with random_seed 5; the solver now says 6" in m for m in caplog.messages)


def test_a_net_that_reads_otherwise_than_the_states_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = solver(tmp_path)
    first.step(1)
    state = first.snapshot()
    solver(tmp_path).restore(state)
    assert not caplog.messages
    solver(tmp_path, net=NET.replace("dropout_ratio: 0.5", "dropout_ratio: 0.4")).restore(state)
    assert any("written for a net whose prototxt read otherwise" in m for m in caplog.messages)


# ---- states from elsewhere
def write_state(
    folder: Path,
    trained: cvgg.Solver,
    history: Sequence[ModelBlob],
    *,
    exact: ExactState | None = None,
) -> Path:
    """A model of `trained` and a state at iteration 7; without `exact` it is what Caffe writes."""
    model = folder / "caffe_iter_7.caffemodel"
    trained.net.save(model)
    state = SolverState(iter=7, learned_net=str(model), current_step=1, cvgg=exact)
    path = folder / "caffe_iter_7.solverstate"
    write_whole(path, state_bytes(state, history))
    return path


def history_of(shapes: Sequence[tuple[int, ...]]) -> list[ModelBlob]:
    """Blobs whose values all differ."""
    return [
        to_blob((np.arange(i, i + math.prod(shape)) / 64).astype(np.float32), shape)
        for i, shape in enumerate(shapes)
    ]


def test_a_state_of_caffe_brings_iteration_weights_and_history(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = solver(tmp_path, seed=9)
    history = history_of(SHAPES)
    path = write_state(tmp_path, other, history)
    # No rate: an update then moves by momentum times history alone.
    trained = cvgg.Solver(f'net_param {{ {NET} }} base_lr: 0 lr_policy: "fixed" momentum: 0.5')
    trained.restore(path)
    assert trained.iter == 7
    assert any("was written by Caffe" in message for message in caplog.messages)
    before = {name: [b.data.copy() for b in bs] for name, bs in other.net.params.items()}
    trained.step(1)
    assert trained.iter == 8
    numbers = iter(history)
    for name, blobs in trained.net.params.items():
        for i, blob in enumerate(blobs):
            moved = 0.5 * to_array(next(numbers)).reshape(blob.shape)
            if (name, i) == ("fc2", 1):
                moved = np.zeros_like(moved)  # lr_mult 0: not learned, whatever the file says
            np.testing.assert_array_equal(blob.data, before[name][i] - moved)


def test_after_a_state_of_caffe_the_data_goes_on_where_caffe_would_have_been(
    tmp_path: Path,
) -> None:
    path = write_state(tmp_path, solver(tmp_path), history_of(SHAPES))
    trained = solver(tmp_path, "iter_size: 3")
    trained.restore(path)
    assert read_state(trained.snapshot())[0].cvgg.batch == 21  # iteration 7


def test_a_history_of_another_net_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    trained = solver(tmp_path)
    before = md5_of_weights(trained)
    for shapes, rule in (
        (SHAPES[:3], "the history has 3 blobs, this net has 4 params"),
        ([*SHAPES[:2], (144, 7), (7,)], "history 2 has shape 144 7, the net's param has 7 144"),
    ):
        path = write_state(tmp_path, solver(tmp_path, seed=9), history_of(shapes))
        with pytest.raises(DataError, match=rule):
            trained.restore(path)
        assert md5_of_weights(trained) == before
        assert trained.iter == 0


def test_a_state_of_a_later_version_is_refused(tmp_path: Path) -> None:
    trained = solver(tmp_path)
    exact = ExactState(version=snapshot.VERSION + 1)
    path = write_state(tmp_path, trained, history_of(SHAPES), exact=exact)
    with pytest.raises(DataError, match=r"written by a later cvgg \(state version 2, .* knows 1\)"):
        trained.restore(path)


def test_a_model_that_was_moved_with_its_state_is_found(tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    trained = solver(folders[0])
    trained.step(2)
    trained.snapshot()
    for name in files(folders[0]):
        (folders[0] / name).rename(folders[1] / name)
    second = solver(folders[0])
    second.restore(folders[1] / "vgg_iter_2.solverstate")
    assert md5_of_weights(second) == md5_of_weights(trained)
    (folders[1] / "vgg_iter_2.caffemodel").unlink()
    with pytest.raises(MissingInputError, match="is neither there nor beside the state"):
        second.restore(folders[1] / "vgg_iter_2.solverstate")
