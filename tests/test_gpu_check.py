"""tools/gpu_check.py on the emulated device: what it finds, keeps and prints."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_check
import nets
import numpy as np
import pytest
from card import check as checking
from card import step as stepping
from card.case import Case
from card.check import cases, sanitize, whole_step
from card.device import Card
from card.records import MOST_LINES, Records
from card.scale import Scale, net_text, solver_text
from emulator.driver import EmulatorDriver

import cvgg
from cvgg.kernels.cuda.driver import Launch
from cvgg.kernels.cuda.table import KERNELS
from cvgg.netdef.prototxt import read_net, read_solver

TINY = replace(gpu_check.SMALL, checked_nets=(("tiny", 2),), timed_nets=(("tiny", 2),))
NET = nets.dummy_data(2) + nets.VGG + nets.loss("fc4")

Run = Callable[..., tuple[int, list[str], dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A subcommand: exit code, lines printed, what the file holds. No torch, no
    compute-sanitizer."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    for module in (checking, stepping):
        monkeypatch.setattr(module, "net_text", lambda name, batch, quick=False: NET)

    def call(
        command: str, scale: Scale = TINY, driver: Any = None
    ) -> tuple[int, list[str], dict[str, Any]]:
        path = tmp_path / f"{command}.json"
        given = driver or EmulatorDriver()
        code = gpu_check.main([command, "--json", str(path)], driver=given, scale=scale)
        return code, capsys.readouterr().out.splitlines(), json.loads(path.read_text())

    return call


# ---- check


def test_check_finds_every_function_right_and_the_nets_step_too(run: Run) -> None:
    code, lines, found = run("check")
    assert code == 0
    names = {row["name"].split()[0] for row in found["functions"]}
    assert len(names) > 45
    assert all(row["right"] for row in found["functions"])
    (net,) = found["nets"]
    assert net["right"]
    assert net["loss"] == pytest.approx(net["cpu_loss"])
    assert (found["command"], found["card"], found["finished"]) == ("check", "emulator", True)
    assert found["environment"]["cvgg"] == cvgg.__version__
    assert lines[0].startswith(f"emulator, sm_90; cvgg {cvgg.__version__}, driver ")
    count = len(found["functions"])
    assert f"{count} of {count} functions are right" in lines
    assert "compute-sanitizer was not run: it is not on the PATH, or no time was left" in lines
    assert any(line.startswith("right net tiny, batch 2: ") for line in lines)
    assert lines[-1].endswith("check.json")
    assert len(lines) <= MOST_LINES


def test_the_small_problems_launch_every_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that compute-sanitizer is given."""
    card = Card(EmulatorDriver())
    assert gpu_check.small(card)
    assert card.launched == KERNELS.keys()
    assert capsys.readouterr().out == "wrong: nothing\n"
    assert card.driver.properties.multiprocessors == 4


class Wrong(EmulatorDriver):
    """A card whose relu kernel adds a little to its result, the more the later."""

    def launch(self, call: Launch) -> None:
        super().launch(call)
        array = call.arrays[1] if call.name == "relu_forward" else None
        if array is not None and array.size > 1:
            host = np.zeros(array.size, np.float32)
            self.copy_out(host, array.pointer, self.compute)
            self.synchronize(self.compute)
            self.calls = getattr(self, "calls", 0) + 1
            host[0] += self.calls
            self.copy_in(array.pointer, host, self.compute)
            self.synchronize(self.compute)


def test_check_says_which_function_is_wrong_and_that_it_changes(run: Run) -> None:
    code, lines, found = run("check", replace(TINY, checked_nets=()), Wrong())
    assert code == 1
    (wrong,) = (row for row in found["functions"] if not row["right"])
    assert wrong["name"] == "relu_forward"
    assert not wrong["same_bytes"]
    (line,) = (line for line in lines if line.startswith("WRONG"))
    assert line.startswith("WRONG relu_forward: ")
    assert line.endswith(" of 0e+00, another result the second time")


def test_a_result_that_is_not_finite_is_wrong() -> None:
    card = Card(EmulatorDriver())
    y = card.blank((7,))
    case = Case("nothing", lambda: None, {"y": y}, lambda found: [])
    assert case.check(card) == {
        "name": "nothing",
        "error": 0.0,
        "limit": 1e-5,
        "same_bytes": True,
        "finite": False,
        "right": False,
    }


def test_a_result_that_is_another_the_second_time_is_wrong() -> None:
    card = Card(EmulatorDriver())
    y, calls = card.blank((7,)), []

    def run() -> None:
        calls.append(1)
        card.write(y, np.full(7, 1 + 1e-6 * len(calls), np.float32))

    case = Case("changing", run, {"y": y}, lambda found: [(found["y"], np.ones(7))])
    found = case.check(card)
    assert found["error"] < found["limit"]
    assert not found["same_bytes"]
    assert not found["right"]


def test_a_net_that_differs_from_the_cpus_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Card(EmulatorDriver()).engine
    assert whole_step(engine, "tiny", 2, NET)["right"]
    real = engine.kernels.relu_backward  # type: ignore[union-attr]

    def wrong(x: Any, dy: Any, dx: Any, *, negative_slope: float) -> None:
        real(x, dy, dx, negative_slope=negative_slope + 0.5)

    monkeypatch.setattr(engine.kernels, "relu_backward", wrong)
    found = whole_step(engine, "tiny", 2, NET)
    assert found["error"] > found["limit"]
    assert not found["right"]
    assert found["same_bytes"]


@pytest.mark.parametrize(
    ("ends", "right", "said"),
    [
        ("exit 0", True, "ERROR SUMMARY: 0 errors"),
        ("exit 9", False, "ERROR SUMMARY: 0 errors"),
        ("sleep 60", False, "not done after 1 s"),
    ],
)
def test_the_verdict_of_compute_sanitizer_is_its_exit_code(
    ends: str, *, right: bool, said: str, tmp_path: Path
) -> None:
    program = tmp_path / "compute-sanitizer"
    program.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3 $4" = "--tool racecheck --error-exitcode 9" ] || exit 3\n'
        f'echo "wrong: nothing $5"; echo "========= ERROR SUMMARY: 0 errors"\n{ends}\n'
    )
    program.chmod(0o755)
    found = sanitize(str(program), "racecheck", ["small"], 1.0)
    assert (found["name"], found["right"], found["said"]) == ("racecheck", right, said)


# ---- layers and step


def test_layers_times_every_part_of_every_layer(run: Run) -> None:
    code, lines, found = run("layers")
    assert code == 0
    assert lines[1] == "torch is not installed: no comparison"
    names = [conv.name for conv in TINY.convs] + [fc.name for fc in TINY.fcs] + ["copy", "update"]
    assert list(dict.fromkeys(row["layer"] for row in found["layers"])) == names
    for row in found["layers"]:
        assert row["ours"]["p10_ms"] <= row["ours"]["ms"] <= row["ours"]["p90_ms"]
        assert "torch" not in row
    parts = [row["part"] for row in found["layers"] if row["layer"] == "wide"]
    assert parts == [
        *("forward", "with pool", "unpool back", "mask back", "data back", "weights back")
    ]
    assert "data back" not in [r["part"] for r in found["layers"] if r["layer"] == "small"]
    (forward,) = (r for r in found["layers"] if (r["layer"], r["part"]) == ("wide", "forward"))
    assert forward["operations"] == 2 * (3 * 72 * 6 * 6) * 68 * 9
    assert forward["bytes"] == 4 * (3 * 68 * 36 + 72 * 68 * 9 + 3 * 72 * 36)
    assert [line.split()[0] for line in lines[3:-1]] == names
    assert len(lines) <= MOST_LINES


def test_step_times_whole_steps(run: Run) -> None:
    code, lines, found = run("step")
    assert code == 0
    assert lines[1] == "torch is not installed: no comparison"
    (row,) = found["steps"]
    assert (row["name"], row["batch"], row["ours"]["micro_batches"]) == ("tiny", 2, 1)
    assert row["ours"]["ms"] > 0
    assert lines[3].split()[:2] == ["tiny", "2"]


def test_a_net_that_does_not_fit_does_not_end_the_run(run: Run) -> None:
    code, lines, found = run("step", driver=EmulatorDriver(memory=50_000))
    assert code == 0
    assert "failed" in found["steps"][0]["ours"]
    assert lines[3].split() == ["tiny", "2", "failed"]
    assert lines[4].startswith("tiny, batch 2, ours: ")


class FakeTorch:
    """Has what layers and step ask of torch, at twice our speed."""

    version = "0.0, cuDNN 0"

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **more: lambda: 0.5

    def timer(self, work: Callable[[], float]) -> Callable[[], float]:
        return lambda: 2.0

    def forget(self) -> None: ...


def test_torch_stands_beside_ours_where_it_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "find_torch", lambda number, flush: FakeTorch())
    monkeypatch.setattr(gpu_check, "Torch", FakeTorch)
    monkeypatch.setitem(stepping.COLUMNS, "tiny", ((4,),))
    _, lines, found = run("layers")
    assert lines[1] == "torch 0.0, cuDNN 0"
    assert {row["torch"]["ms"] for row in found["layers"]} == {2.0}
    row = found["layers"][0]
    assert f"{row['ours']['ms']:.3f} ({2 / row['ours']['ms']:.2f})" in lines[3]
    _, lines, found = run("step")
    assert found["torch"] == "0.0, cuDNN 0"
    assert found["steps"][0].keys() == {"name", "batch", "ours", "eager", "compiled"}


# ---- what is kept and printed


def test_the_file_holds_every_result_as_soon_as_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    records = Records(path, {"card": "some"})
    assert json.loads(path.read_text()) == {"card": "some", "finished": False}
    records.add("layers", name="one", ms=1.5)
    assert json.loads(path.read_text())["layers"] == [{"name": "one", "ms": 1.5}]
    assert [each.name for each in tmp_path.iterdir()] == ["found.json"]


def test_what_does_not_fit_into_the_time_is_left_out_and_named(tmp_path: Path) -> None:
    now = [100.0]
    records = Records(tmp_path / "found.json", {}, clock=lambda: now[0], limit_s=10)
    assert records.reached("layers", "one")
    assert records.left_s() == 10
    now[0] += 7
    assert not records.reached("layers", "long", needed_s=4)
    assert records.reached("layers", "short", needed_s=2)
    now[0] += 3
    left_out = [records.reached("layers", name) for name in ("two", "three", "four")]
    assert not any(left_out)
    lines = records.finish().splitlines()
    assert lines[0] == "no time was left for long, two, three and 1 more"
    assert lines[1].startswith("10 s; ")
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["name"] for row in found["not_reached"]] == ["long", "two", "three", "four"]


def test_a_summary_has_forty_lines_at_most(tmp_path: Path) -> None:
    records = Records(tmp_path / "found.json", {})
    records.say(*(f"line {i}" for i in range(50)))
    lines = records.finish().splitlines()
    assert len(lines) == MOST_LINES
    assert lines[37:39] == ["line 37", "... 12 more lines in the file"]
    assert len(json.loads((tmp_path / "found.json").read_text())["summary"]) == 50


# ---- the problems


def test_check_has_a_case_for_every_function_of_the_backend() -> None:
    names = {case.name.split()[0] for case in cases(Card(EmulatorDriver()), TINY)}
    card = Card(EmulatorDriver())
    functions = {
        name
        for name in dir(card.kernels)
        if not name.startswith("_") and callable(getattr(card.kernels, name))
    }
    launcher = {"launch", "piece", "blocks", "last"}
    pure = {"conv_workspace", "conv_relu_pool_fits", "fc_workspace"}
    assert names == functions - launcher - pure


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["A", "A-LRN", "E"])
def test_nets_of_the_paper_bring_their_own_images(name: str, *, quick: bool) -> None:
    net = read_net(net_text(name, 2, quick=quick)).message
    assert [layer.type for layer in net.layer[:2]] == ["DummyData", "Convolution"]
    assert {layer.type for layer in net.layer}.isdisjoint({"Data", "Accuracy"})
    assert sum(layer.type == "Convolution" for layer in net.layer) == {"E": 16}.get(name, 8)
    read_solver(solver_text(net_text(name, 2, quick=quick)))


def test_without_a_card_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    code = gpu_check.main(["check", "--json", str(tmp_path / "found.json")])
    assert code == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu_check: CuPy cannot be loaded (")
    assert not (tmp_path / "found.json").exists()
