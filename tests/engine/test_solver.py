"""The solver: update arithmetic, rates, tests, log lines, settings, a loss or gradient that is
not finite."""

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import TEST, TRAIN, accuracy, conv, dummy_data, fc, loss, relu
from numpy.typing import NDArray

import cvgg
from cvgg.errors import (
    CannotCreateError,
    MissingInputError,
    PrototxtError,
    TrainingError,
    UsageError,
)
from cvgg.lr_policy import Plateau, learning_rate
from cvgg.net import Net
from cvgg.netdef.prototxt import read_solver
from cvgg.solver import Action

# Every multiplier differs, so that none can stand in for another; fc2's bias is not learned.
NET = (
    dummy_data(3)
    + conv("conv1", "data", 4, more="param { lr_mult: 2 decay_mult: 0.5 } param { lr_mult: 3 }")
    + relu("relu1", "conv1")
    + fc("fc2", "conv1", 3, more="param { decay_mult: 4 } param { lr_mult: 0 }")
    + loss("fc2")
)
MULTIPLIERS = {
    "conv1[0]": (2.0, 0.5),
    "conv1[1]": (3.0, 1.0),
    "fc2[0]": (1.0, 4.0),
    "fc2[1]": (0.0, 1.0),
}
SETTINGS = "base_lr: 0.1 random_seed: 5 snapshot_after_train: false"

Weights = dict[str, NDArray[np.float64]]


def solver(settings: str = "", *, net: str = NET) -> cvgg.Solver:
    policy = "" if "lr_policy" in settings else 'lr_policy: "fixed"'
    return cvgg.Solver(f"net_param {{ {net} }} {SETTINGS} {policy} {settings}")


def weights_of(net: Net) -> Weights:
    return {
        f"{name}[{i}]": blob.data.astype(np.float64)
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def summed_gradients(net: Net, weights: Weights, batches: Sequence[int]) -> Weights:
    """d(sum of the losses of these batches)/d(weights), zero where nothing is learned."""
    net.clear_param_diffs()
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            blob.data[...] = weights[f"{name}[{i}]"]
    for number in batches:
        net.run(number, draw=number, backward=True)
    return {
        f"{name}[{i}]": np.zeros(blob.shape) if blob.diff is None else blob.diff.astype(np.float64)
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def descend(
    rates: Sequence[float],
    *,
    momentum: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    clip: float = math.inf,
    iter_size: int = 1,
) -> Weights:
    """The weights after one update for each rate, element by element in float64."""
    net = Net(NET, phase=TRAIN, seed=5)
    weights = weights_of(net)
    history = {name: np.zeros(values.shape) for name, values in weights.items()}
    for iteration, rate in enumerate(rates):
        batches = range(iteration * iter_size, (iteration + 1) * iter_size)
        gradients = summed_gradients(net, weights, batches)
        norm = math.sqrt(sum(g**2 for each in gradients.values() for g in each.flat))
        for name, (lr_mult, decay_mult) in MULTIPLIERS.items():
            w, v, dw = weights[name], history[name], gradients[name]
            for at in np.ndindex(w.shape):
                g = dw[at] * min(1.0, clip / norm) / iter_size
                g += decay_mult * (l2 * w[at] + l1 * np.sign(w[at]))
                v[at] = momentum * v[at] + rate * lr_mult * g
                w[at] -= v[at]
    return weights


def assert_same(actual: Weights, expected: Weights) -> None:
    """Weights below 1 that four float32 updates moved: each rounds by 6e-8, and gradients of 100
    terms by 1e-6."""
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ("", {}),
        ("momentum: 0.9", {"momentum": 0.9}),
        ("weight_decay: 0.3", {"l2": 0.3}),
        ('weight_decay: 0.3 regularization_type: "L1"', {"l1": 0.3}),
        ("clip_gradients: 0.2", {"clip": 0.2}),
        ("clip_gradients: 1e6", {"clip": 1e6}),
        ("iter_size: 3", {"iter_size": 3}),
        (
            "iter_size: 3 clip_gradients: 0.7 momentum: 0.8 weight_decay: 0.2",
            {"iter_size": 3, "clip": 0.7, "momentum": 0.8, "l2": 0.2},
        ),
    ],
    ids=["plain", "momentum", "L2", "L1", "clipped", "not clipped", "iter_size", "all"],
)
def test_four_updates_are_those_of_a_float64_loop(settings: str, numbers: dict[str, Any]) -> None:
    trained = solver(settings)
    trained.step(4)
    assert trained.iter == 4
    assert_same(weights_of(trained.net), descend([0.1] * 4, **numbers))


def test_each_update_takes_the_rate_of_its_own_iteration() -> None:
    trained = solver('momentum: 0.9 lr_policy: "step" stepsize: 2 gamma: 0.25')
    trained.step(4)
    assert_same(weights_of(trained.net), descend([0.1, 0.1, 0.025, 0.025], momentum=0.9))


def test_the_clip_looks_at_the_summed_gradient_before_iter_size_divides_it() -> None:
    """Caffe's order. The sum's norm lies above the threshold and the mean's below: the update is
    threshold / iter_size long."""
    net = Net(NET, phase=TRAIN, seed=5)
    gradients = summed_gradients(net, weights_of(net), range(2))
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    trained = solver(f"iter_size: 2 clip_gradients: {0.75 * norm}")
    before = weights_of(trained.net)
    trained.step(1)
    after = weights_of(trained.net)
    moved = sum(
        float((((before[name] - after[name]) / (0.1 * mult)) ** 2).sum())
        for name, (mult, _) in MULTIPLIERS.items()
        if mult
    )
    # Differences of weights near 0.3 carry 3e-8 / 0.1 in each of 500 elements.
    assert math.sqrt(moved) == pytest.approx(0.75 * norm / 2, rel=1e-4)


def test_what_is_not_learned_stays_bit_for_bit() -> None:
    trained = solver("weight_decay: 0.5 momentum: 0.9")
    trained.net.params["fc2"][1].data[...] = [0.25, -3, 7]
    trained.step(3)
    np.testing.assert_array_equal(trained.net.params["fc2"][1].data, [0.25, -3, 7])


# ---- rates
@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ('"fixed"', {0: 0.5, 9: 0.5}),
        ('"step" gamma: 0.5 stepsize: 3', {0: 0.5, 2: 0.5, 3: 0.25, 8: 0.125}),
        ('"exp" gamma: 0.5', {0: 0.5, 1: 0.25, 3: 0.0625}),
        ('"inv" gamma: 3 power: 2', {0: 0.5, 1: 0.5 / 16, 5: 0.5 / 256}),
        (
            '"multistep" gamma: 0.1 stepvalue: 2 stepvalue: 5',
            {1: 0.5, 2: 0.05, 4: 0.05, 5: 0.005, 99: 0.005},
        ),
        ('"poly" power: 2 max_iter: 10', {0: 0.5, 4: 0.18, 10: 0.0, 12: 0.0}),
        ('"sigmoid" gamma: -1 stepsize: 4', {4: 0.25, 6: 0.5 / (1 + math.exp(2))}),
    ],
)
def test_a_policy_gives_the_rate_of_its_formula(text: str, rates: dict[int, float]) -> None:
    param = read_solver(f"base_lr: 0.5\nlr_policy: {text}").message
    for iteration, rate in rates.items():
        # gamma and base_lr are float32 in the message: 6e-8 for each factor.
        assert learning_rate(param, iteration, Plateau()) == pytest.approx(rate, rel=1e-6)


def test_plateau_drops_after_patience_tests_without_a_new_best_and_so_many_times_only() -> None:
    plateau = Plateau()
    values = [3, 5, 5, 4, 4, 6, 6, 1, 1, 2, 0, 0]
    drops = [plateau.watch(value, patience=2, most=2) for value in values]
    # After a drop the count starts anew, so place 4 is no drop; a third one is not allowed.
    assert [i for i, drop in enumerate(drops) if drop] == [3, 7]
    assert (plateau.best, plateau.drops) == (6, 2)


CONSTANT = """
layer { name: "watched" type: "DummyData" top: "watched" include { phase: TEST }
  dummy_data_param { shape { dim: 1 } data_filler { type: "constant" value: 3 } } }
"""


def plateau(output: str = "watched") -> cvgg.Solver:
    return solver(
        f'lr_policy: "plateau" gamma: 0.5 plateau_output: "{output}" plateau_patience: 2 '
        "plateau_drops: 1 test_iter: 1 test_interval: 1",
        net=NET + CONSTANT,
    )


def test_the_rate_drops_when_a_test_output_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="cvgg")
    trained = plateau()
    rates = []
    trained.report.listeners.append(lambda record: rates.append((record["event"], trained.lr)))
    trained.step(6)
    seen = [rate for event, rate in rates if event == "plateau"]
    assert seen == [pytest.approx(0.05)]
    assert trained.lr == pytest.approx(0.05)
    assert "Plateau: watched has not passed 3; the rate drops to 0.05" in caplog.messages
    # The first test is the best, the next two are without a new one: before update 2.
    at = caplog.messages.index("Plateau: watched has not passed 3; the rate drops to 0.05")
    assert sum("Testing net" in line for line in caplog.messages[:at]) == 3


def test_a_plateau_output_that_no_test_net_has_is_named() -> None:
    with pytest.raises(UsageError, match="plateau_output 'acuracy' is no output of a test net"):
        plateau("acuracy")


# ---- tests
def test_a_test_net_gives_means_over_its_batches_with_the_weights_of_the_train_net() -> None:
    trained = solver("test_iter: 3 test_interval: 2 test_initialization: false")
    records: list[dict[str, Any]] = []
    trained.report.listeners.append(records.append)
    trained.step(3)
    (record,) = records  # before update 2; not before update 0
    assert (record["event"], record["iter"], record["net"]) == ("test", 2, 0)
    twin = solver()
    twin.step(2)
    net = Net(NET, phase=TEST, seed=5)
    for name, blobs in twin.net.params.items():
        for ours, theirs in zip(net.params[name], blobs, strict=True):
            ours.data[...] = theirs.data
    losses = [float(net.run(i, draw=i, backward=False)["loss"]) for i in range(3)]
    assert len(set(losses)) == 3
    assert record["outputs"]["loss"] == pytest.approx(sum(losses) / 3, rel=1e-6)


def test_testing_does_not_change_what_is_learned() -> None:
    tested = solver("test_iter: 2 test_interval: 1 momentum: 0.9")
    plain = solver("momentum: 0.9")
    tested.step(3)
    plain.step(3)
    for name, values in weights_of(plain.net).items():
        np.testing.assert_array_equal(weights_of(tested.net)[name], values)


def test_every_test_net_has_its_own_state_and_test_iter() -> None:
    more = accuracy("fc2", more="").replace("phase: TEST", 'phase: TEST stage: "top1"')
    trained = solver(
        'test_iter: 1 test_iter: 2 test_interval: 1 test_state { } test_state { stage: "top1" }',
        net=NET + more,
    )
    first, second = trained.test()
    assert list(first) == ["loss"]
    assert list(second) == ["accuracy", "loss"]
    # The same weights and data, but one batch against the mean of two.
    assert float(first["loss"]) != float(second["loss"])


# ---- log
def test_the_log_has_the_lines_that_parsers_of_caffe_logs_look_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="cvgg")
    solver(
        "max_iter: 2 display: 1 test_iter: 1 test_interval: 2 test_compute_loss: true",
        net=f'name: "tiny" {NET} {accuracy("fc2")}',
    ).solve()
    number = r"[-+.e\d]+"
    patterns = [
        "Solving tiny",
        "Learning Rate Policy: fixed",
        r"Iteration 0, Testing net \(#0\)",
        f"Test loss: {number}",
        f"    Test net output #0: accuracy = {number}",
        rf"    Test net output #1: loss = {number} \(\* 1 = {number} loss\)",
        rf"Iteration 0 \({number} iter/s, {number}s/0 iters\), loss = {number}",
        rf"    Train net output #0: loss = {number} \(\* 1 = {number} loss\)",
        "Iteration 0, lr = 0.1",
        rf"Iteration 1 \({number} iter/s, {number}s/1 iters\), loss = {number}",
        "Iteration 1, lr = 0.1",
        rf"Iteration 2 \({number} iter/s, {number}s/1 iters\), loss = {number}",
        r"Iteration 2, Testing net \(#0\)",
        "Optimization Done.",
    ]
    lines = iter(caplog.messages)
    for pattern in patterns:
        assert any(re.fullmatch(pattern, line) for line in lines), pattern


def train_losses(trained: cvgg.Solver, steps: int) -> list[float]:
    records: list[dict[str, Any]] = []
    trained.report.listeners.append(records.append)
    trained.step(steps)
    return [record["loss"] for record in records if record["event"] == "train"]


def test_the_shown_loss_is_the_mean_of_the_last_average_loss_losses() -> None:
    single = train_losses(solver("display: 1"), 5)
    smoothed = train_losses(solver("display: 1 average_loss: 3"), 5)
    expected = [float(np.mean(single[max(0, i - 2) : i + 1])) for i in range(5)]
    assert len(set(single)) == 5
    assert smoothed == pytest.approx(expected, rel=1e-12)


def test_the_shown_loss_is_the_mean_over_iter_size() -> None:
    net = Net(NET, phase=TRAIN, seed=5)
    losses = [float(net.run(i, draw=i, backward=False)["loss"]) for i in range(3)]
    shown = train_losses(solver("display: 1 iter_size: 3"), 1)
    assert shown == [pytest.approx(sum(losses) / 3, rel=1e-6)]


# ---- stopping
def test_an_action_stops_after_the_update_that_it_came_with() -> None:
    trained = solver("max_iter: 9")
    answers: Iterator[Action] = iter(("", "", "stop"))
    trained.action = lambda: next(answers)
    assert trained.solve() == "stop"
    assert trained.iter == 3


def test_solve_without_max_iter_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"solve\(\) needs max_iter; or call step\(n\)"):
        solver().solve()


# ---- settings
GOOD = {"net": '"net.prototxt"', "base_lr": "0.1", "lr_policy": '"fixed"'}


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("type", '"Adam"', '"Adam" is a solver of Caffe that cvgg does not have yet; use "SGD"'),
        ("precision", '"FP16"', '"FP16" needs a GPU engine of that precision; use "FP32"'),
        ("base_lr", "-1", "must be a number from 0 up, is -1.0"),
        ("base_lr", "nan", "must be a number from 0 up, is nan"),
        ("momentum", "1", "must be at least 0 and below 1, is 1.0"),
        ("weight_decay", "-0.5", "must be a number from 0 up, is -0.5"),
        ("regularization_type", '"L3"', 'must be "L1" or "L2", is "L3"'),
        ("max_iter", "-1", "must be at least 0, is -1"),
        ("iter_size", "0", "must be at least 1, is 0"),
        ("average_loss", "0", "must be at least 1, is 0"),
        ("display", "-1", "must be at least 0, is -1"),
        ("snapshot", "-1", "must be at least 0, is -1"),
        ("test_interval", "-2", "must be at least 0, is -2"),
        ("test_iter", "0", r"must be at least 1, is [0]"),
        ("snapshot_format", "HDF5", "HDF5 is not written by cvgg"),
        ("snapshot_diff", "true", "diffs are not written to snapshots"),
        ("debug_info", "true", "is not done by cvgg"),
        ("plateau_patience", "0", "must be at least 1, is 0"),
        ("lr_policy", '"stepp"', "'stepp' is not known; known are fixed, step"),
        ("lr_policy", '"step"', 'lr_policy "step" needs gamma'),
        ("train_state", "{ phase: TEST }", "phase must be TRAIN here"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_told_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: str, rule: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    others = [f"{name}: {text}" for name, text in GOOD.items() if name != field]
    colon = "" if value.startswith("{") else ":"
    Path("s.prototxt").write_text("\n".join([*others, f"  {field}{colon} {value}"]))
    with pytest.raises(PrototxtError) as caught:
        cvgg.Solver("s.prototxt")
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"s.prototxt:{len(others) + 1}:3: ")
    assert field in first
    assert rule in first


def change(**fields: str | None) -> Callable[[], cvgg.Solver]:
    """A solver in the current folder with other lines; None takes one out."""
    lines = [f"{name}: {text}" for name, text in {**GOOD, **fields}.items() if text is not None]
    Path("net.prototxt").write_text(NET)
    Path("s.prototxt").write_text("\n".join(lines))
    return lambda: cvgg.Solver("s.prototxt")


@pytest.mark.parametrize(
    ("fields", "where", "rule"),
    [
        ({"net": None}, "s.prototxt", "a solver needs one of net, net_param, .* it has none"),
        ({"train_net": '"net.prototxt"'}, "s.prototxt", "it has net, train_net"),
        ({"test_interval": "2"}, "s.prototxt:4:1", "test_interval needs a test_iter"),
        ({"test_iter": "2"}, "s.prototxt:4:1", "test_iter needs a test_interval above 0"),
        (
            {"net": None, "train_net": '"net.prototxt"', "test_iter": "2"},
            "s.prototxt:4:1",
            "1 test_iter for 0 test nets",
        ),
    ],
)
def test_nets_that_do_not_go_together_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, str | None],
    where: str,
    rule: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrototxtError, match=f"^{re.escape(where)}: .*{rule}"):
        change(**fields)()


def test_a_net_that_is_beside_the_solver_but_not_in_the_folder_is_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    change()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match=r"there is models/net.prototxt: paths count from"):
        cvgg.Solver("models/s.prototxt")


def test_a_snapshot_folder_that_is_not_there_is_told_before_training() -> None:
    with pytest.raises(CannotCreateError, match="there is no folder '/nowhere/at/all'; make it"):
        solver('snapshot: 5 snapshot_prefix: "/nowhere/at/all/vgg"')


# ---- a loss that is not finite
def test_a_label_that_is_no_class_stops_training_at_the_loss_layer() -> None:
    net = dummy_data(3, classes=9) + fc("fc2", "data", 3) + loss("fc2")  # every label is 7
    with pytest.raises(TrainingError, match=r"^iteration 0: the loss is nan; .*blob 'loss'") as e:
        solver(net=net).step(1)
    assert "layer 'loss' (SoftmaxWithLoss)" in str(e.value)


def test_weights_that_run_away_are_told_with_the_iteration_and_the_param() -> None:
    trained = solver()
    trained.step(2)
    trained.net.params["conv1"][0].data[1, 0, 2, 1] = np.inf
    with pytest.raises(
        TrainingError,
        match=r"^iteration 2: the loss is \S+; first seen in param 0 of layer 'conv1', element 25; "
        r"a lower base_lr usually helps \(now 0.1\)$",
    ):
        trained.step(1)
    assert trained.iter == 2


# ---- a gradient that is not finite
def overflowing(settings: str = "") -> cvgg.Solver:
    """Two steps, then weights whose loss is finite, 1e-37 times 3e38, while the gradient that comes
    back through the second is too large for float32."""
    trained = solver(settings)
    trained.step(2)
    for blob in trained.net.params["conv1"]:
        blob.data[...] = 1e-37 * np.sign(blob.data)
    weights, bias = trained.net.params["fc2"]
    weights.data[...] = 3e38
    weights.data[1] *= -1  # the class of every image, so that no image is told right
    bias.data[...] = 0
    return trained


@pytest.mark.parametrize("settings", ["", "iter_size: 2", "clip_gradients: 0.5"])
def test_a_gradient_that_is_not_finite_stops_training_and_changes_no_weight(settings: str) -> None:
    trained = overflowing(settings)
    weights, history = weights_of(trained.net), trained.engine.copy_out(trained._history)
    with pytest.raises(
        TrainingError,
        match=r"^iteration 2: the gradient is not finite; first seen in the gradient of param 0 of "
        r"layer 'conv1', element \d+; the weights were not updated; a lower base_lr usually helps "
        r"\(now 0.1\)$",
    ):
        trained.step(1)
    for name, before in weights.items():
        np.testing.assert_array_equal(weights_of(trained.net)[name], before)
    np.testing.assert_array_equal(trained.engine.copy_out(trained._history), history)


def test_no_snapshot_counts_an_update_that_was_left_out(tmp_path: Path) -> None:
    trained = overflowing(f'snapshot: 3 snapshot_prefix: "{tmp_path}/net"')
    with pytest.raises(TrainingError, match=r"^iteration 2: the gradient is not finite"):
        trained.step(1)
    assert list(tmp_path.iterdir()) == []
