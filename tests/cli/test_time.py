"""cvgg time: what is measured, by a clock that the test turns."""

import json
from pathlib import Path
from typing import Any

import databases
import nets
import pytest
from shell import Shell

from cvgg.commands import time as command
from cvgg.engine import cpu as cpu_engine
from cvgg.engine.cpu import CpuEngine
from cvgg.kernels import cpu
from cvgg.layers.dummy_data import DummyData
from cvgg.net import Net

TEXT = (
    nets.dummy_data(5) + nets.conv("conv", "data", 4) + nets.fc("fc", "conv", 3) + nets.loss("fc")
)
LAYERS = ["data", "conv", "fc", "loss"]


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(command, "perf_counter", clock.read)
    monkeypatch.setattr(cpu_engine, "perf_counter", clock.read)
    return clock


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.prototxt").write_text(TEXT)
    return str(tmp_path / "net.prototxt")


def result(shell: Shell, *words: object) -> dict[str, Any]:
    done = shell("time", "--json", "--quiet", *words)
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def takes(clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str, *seconds: float) -> None:
    """Lets the kernel `name` take so many seconds, call by call; the last for ever."""
    real, left = getattr(cpu, name), list(seconds)

    def slow(*arrays: object, **numbers: object) -> object:
        clock.now += left.pop(0) if len(left) > 1 else left[0]
        return real(*arrays, **numbers)

    monkeypatch.setattr(cpu, name, slow)


def test_each_layer_has_the_time_of_its_kernels(
    cvgg: Shell, net: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(clock, monkeypatch, "conv_forward", 0.002)
    takes(clock, monkeypatch, "conv_backward_weights", 0.003)
    takes(clock, monkeypatch, "fc_forward", 0.005)
    takes(clock, monkeypatch, "fc_backward_data", 0.007)
    takes(clock, monkeypatch, "fc_backward_weights", 0.011)
    found = result(cvgg, "--model", net, "--iterations", 3)
    layers = {each["name"]: (each["forward_ms"], each["backward_ms"]) for each in found["layers"]}
    assert layers == {"data": (0, 0), "conv": (2, 3), "fc": (5, 18), "loss": (0, 0)}
    assert (found["forward_ms"], found["backward_ms"]) == (7, 21)
    assert found["batch"] == 5
    assert found["images_per_s"] == pytest.approx(5 / 0.028, abs=1e-4)  # 4 digits are given


def test_medians_leave_out_the_first_pass_and_outliers(
    cvgg: Shell, net: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(clock, monkeypatch, "fc_forward", 900, 0.004, 500, 0.001)
    found = result(cvgg, "--model", net, "--iterations", 3)
    assert found["forward_ms"] == 4  # of 4, 500000 and 1
    assert found["layers"][LAYERS.index("fc")]["forward_ms"] == 4


def test_a_layer_ends_when_the_engine_has_done_it(
    cvgg: Shell, net: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [0.0]

    def queue(*arrays: object, **numbers: object) -> None:
        late[0] += 0.006

    def mark(engine: CpuEngine) -> float:
        clock.now += late[0]
        late[0] = 0.0
        return clock.now

    monkeypatch.setattr(cpu, "fc_forward", queue)
    monkeypatch.setattr(CpuEngine, "mark", mark)
    found = result(cvgg, "--model", net, "--iterations", 1)
    assert [each["forward_ms"] for each in found["layers"]] == [0, 0, 6, 0]


def test_phase_test_goes_forward_only(cvgg: Shell, net: str) -> None:
    words = ("--model", net, "--iterations", 2, "--threads", 1)
    found = result(cvgg, *words, "--phase", "test")
    assert found["backward_ms"] == 0 < found["forward_ms"]
    done = cvgg("time", *words, "--phase=TEST")
    assert "backward" not in done.out
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == LAYERS
    assert lines[5].split()[0] == "total"
    assert "images/s, batch 5" in lines[-1]
    assert "backward, ms" in cvgg("time", *words).out


def test_micro_batches_are_summed(
    cvgg: Shell, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = databases.write_images(tmp_path / "lmdb", databases.numbered(7, (2, 40, 40)))
    text = (
        f"""
    layer {{ name: "data" type: "Data" top: "data" top: "label"
      data_param {{ source: "{source}" backend: LMDB batch_size: 7 }} }}
    """
        + nets.fc("fc", "data", 9)
        + nets.loss("fc")
    )
    (tmp_path / "net").write_text(text)
    whole = Net(text, 0, keep=False)
    half = whole.plan.memory.total - 3 * 2 * 40 * 40 * 5  # 3 images less: float32 and the bytes
    whole.close()
    takes(clock, monkeypatch, "fc_forward", 0.002)
    found = result(cvgg, "--model", tmp_path / "net", "--iterations", 1, "--memory", half)
    assert (found["micro_batches"], found["batch"]) == (2, 7)
    assert found["forward_ms"] == 4


def test_fused_layers_are_named_together(cvgg: Shell, tmp_path: Path) -> None:
    text = nets.images(3) + nets.VGG
    (tmp_path / "net").write_text(text)
    words = ("--model", tmp_path / "net", "--iterations", 1, "--phase", "TEST")
    found = result(cvgg, *words)
    assert found["layers"][1]["name"] == "conv1+relu1+pool1"
    assert found["layers"][1]["type"] == "Convolution+ReLU+Pooling"
    assert found["layers"][2]["name"] == "conv2+relu2"
    assert found["batch"] == 3


def test_loading_counts_by_itself(
    cvgg: Shell, net: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DummyData.load

    def slow(*arguments: Any) -> None:
        clock.now += 0.001
        real(*arguments)

    monkeypatch.setattr(DummyData, "load", slow)
    takes(clock, monkeypatch, "fc_forward", 0.004)
    found = result(cvgg, "--model", net, "--iterations", 1, "--phase", "TEST")
    assert found["load_ms"] == 1
    assert found["forward_ms"] == 4


def test_a_wrong_phase_is_wrong_usage(cvgg: Shell, net: str) -> None:
    assert cvgg("time", "--model", net, "--phase", "deploy").code == 2
