"""cvgg summary: counts, memory, phases."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import nets
import pytest
from shell import Shell

from cvgg import Net
from cvgg.engine.cpu import CpuEngine

TRAIN, TEST = 0, 1

DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: PHASE }
  transform_param { crop_size: 6 mean_value: 3 mean_value: 5 }
  data_param { source: "no_such_lmdb" backend: LMDB batch_size: BATCH } }
"""


def data(phase: str, batch: int) -> str:
    return DATA.replace("PHASE", phase).replace("BATCH", str(batch))


TRAIN_VAL = (
    'name: "small"\n'
    + data("TRAIN", 7)
    + data("TEST", 4)
    + nets.VGG
    + nets.accuracy("fc4")
    + nets.loss("fc4")
)


@pytest.fixture
def net(tmp_path: Path) -> str:
    return write(tmp_path, TRAIN_VAL)


def write(folder: Path, text: str, name: str = "net.prototxt") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def phases(shell: Shell, *words: object) -> dict[str, dict[str, Any]]:
    """{phase: what --json says of it}."""
    done = shell("summary", "--json", *words)
    assert done.code == 0, done.err
    return {each["phase"]: each for each in json.loads(done.out)["phases"]}


def layer(phase: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in phase["layers"] if each["name"] == name)
    return dict(found)


def test_params_and_macs_are_those_counted_by_hand(cvgg: Shell, tmp_path: Path) -> None:
    text = """
    layer { name: "in" type: "Input" top: "x"
      input_param { shape { dim: 5 dim: 4 dim: 9 dim: 8 } } }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param {
      num_output: 6 kernel_h: 3 kernel_w: 2 stride: 2 group: 2 } }
    layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param {
      num_output: 3 bias_term: false } }
    layer { name: "rows" type: "InnerProduct" bottom: "conv" top: "rows" inner_product_param {
      num_output: 7 axis: 2 } }
    """
    test = phases(cvgg, write(tmp_path, text))["TEST"]
    conv, fc, rows = (layer(test, name) for name in ("conv", "fc", "rows"))
    assert conv["tops"] == {"conv": [5, 6, 4, 4]}
    assert (conv["params"], conv["macs"]) == (6 * 2 * 3 * 2 + 6, 6 * 2 * 3 * 2 * 4 * 4)
    assert (fc["params"], fc["macs"]) == (3 * 6 * 4 * 4, 3 * 6 * 4 * 4)
    assert (rows["params"], rows["macs"]) == (7 * 16 + 7, 6 * 7 * 16)  # 6 rows an image
    assert test["params"] == conv["params"] + fc["params"] + rows["params"]
    assert test["macs"] == conv["macs"] + fc["macs"] + rows["macs"]
    assert test["batch"] == 5


def test_net_d_of_the_paper_has_its_published_size(cvgg: Shell) -> None:
    done = cvgg("summary", files("cvgg.prototxt") / "train_val_D.prototxt")
    assert done.code == 0
    assert done.out.startswith("VGG-D (")
    assert "138,357,544 params; 15,470,264,320 MACs an image, forward" in done.out
    assert "conv3_1 Convolution 256 x 256 x 56 x 56 295,168 924,844,032" in squeezed(done.out)
    assert "memory, MiB TRAIN, batch 256 TEST, batch 50" in squeezed(done.out)


def test_numbers_stand_below_each_other(cvgg: Shell) -> None:
    lines = cvgg("summary", files("cvgg.prototxt") / "deploy_A.prototxt").out.splitlines()
    convs = [line for line in lines if "Convolution" in line]
    assert len({len(line) for line in convs}) == 1
    assert len({line.index("Convolution") for line in convs}) == 1


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_no_array_is_made_and_no_database_is_needed(
    cvgg: Shell, net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("an array was made")

    monkeypatch.setattr(CpuEngine, "empty", refuse)
    found = phases(cvgg, net)
    assert layer(found["TRAIN"], "data")["tops"] == {"data": [7, 2, 6, 6], "label": [7]}


def test_memory_is_that_of_the_nets_of_a_solver(cvgg: Shell, tmp_path: Path) -> None:
    text = nets.dummy_data(5) + nets.VGG + nets.accuracy("fc4") + nets.loss("fc4")
    found = phases(cvgg, write(tmp_path, text))
    train = Net(text, TRAIN, keep=False, histories=1).plan.memory
    test = Net(text, TEST, backward=False, keep=False).plan.memory
    assert found["TRAIN"]["memory"] == {**asdict(train), "total": train.total}
    assert found["TEST"]["memory"] == {**asdict(test), "total": test.total}
    assert found["TRAIN"]["memory"]["history"] > 0 == found["TEST"]["memory"]["gradients"]


def test_a_layer_that_both_phases_have_is_listed_once(cvgg: Shell, net: str) -> None:
    lines = cvgg("summary", net).out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("layer"))
    rows = [line.split() for line in lines[head + 1 : lines.index("", head)]]
    names = [row[0] for row in rows]
    middle = ["conv1", "relu1", "pool1", "conv2", "relu2", "fc3", "relu3", "drop3", "fc4"]
    assert names == ["data", "data", *middle, "accuracy", "loss"]
    assert rows[0][2:] == ["TRAIN", "7", "x", "2", "x", "6", "x", "6,", "7"]
    assert rows[1][2:] == ["TEST", "4", "x", "2", "x", "6", "x", "6,", "4"]
    assert rows[names.index("accuracy")][2] == "TEST"
    assert rows[names.index("conv2")] == [
        "conv2",
        "Convolution",
        "7",
        "x",
        "5",
        "x",
        "3",
        "x",
        "3",
        "185",
        "1,620",
    ]


def test_splits_are_not_listed(cvgg: Shell, net: str) -> None:
    assert "Split" not in {each["type"] for each in phases(cvgg, net)["TEST"]["layers"]}
    assert "_1_split" not in cvgg("summary", net).out


def test_one_phase_can_be_asked_for(cvgg: Shell, net: str) -> None:
    assert list(phases(cvgg, net, "--phase", "TEST")) == ["TEST"]
    assert "  phase" not in cvgg("summary", net, "--phase=train").out


def test_a_net_without_a_loss_is_shown_in_test_only(cvgg: Shell, tmp_path: Path) -> None:
    path = write(tmp_path, nets.images(3) + nets.VGG)
    assert list(phases(cvgg, path)) == ["TEST"]


@pytest.mark.parametrize("source", [data("TRAIN", 7), nets.images(3), nets.dummy_data(3)])
def test_batch_replaces_what_the_net_says(cvgg: Shell, tmp_path: Path, source: str) -> None:
    path = write(tmp_path, source + nets.VGG + nets.loss("fc4"))
    train = phases(cvgg, path, "--phase=TRAIN", "--batch", 11)["TRAIN"]
    assert train["batch"] == 11
    assert layer(train, "conv1")["tops"] == {"conv1": [11, 4, 6, 6]}
    before = phases(cvgg, path, "--phase=TRAIN")["TRAIN"]
    assert train["macs"] == before["macs"]
    assert train["params"] == before["params"]
    assert train["memory"]["blobs"] > before["memory"]["blobs"]


def test_a_solver_stands_for_its_nets(
    cvgg: Shell, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(
        tmp_path, 'net: "net.prototxt" base_lr: 0.1\ntest_iter: 3 test_interval: 9', "solver"
    )
    found = phases(cvgg, path)
    assert {phase: each["batch"] for phase, each in found.items()} == {"TRAIN": 7, "TEST": 4}
    assert found == phases(cvgg, net)


def test_a_solver_without_a_test_net_says_so(cvgg: Shell, net: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'base_lr: 0.1 net: "{net}"', "solver")
    assert list(phases(cvgg, path)) == ["TRAIN"]
    done = cvgg("summary", path, "--phase", "test")
    assert (done.code, "has no test net" in done.err) == (2, True)


def test_shared_params_count_once(cvgg: Shell, tmp_path: Path) -> None:
    share = 'param { name: "w" } param { name: "b" }'
    text = (
        nets.images(3)
        + nets.fc("one", "data", 5, more=share)
        + nets.fc("two", "data", 5, more=share)
    )
    path = write(tmp_path, text)
    test = phases(cvgg, path)["TEST"]
    assert test["params"] == 5 * 72 + 5
    assert test["macs"] == 2 * 5 * 72
    assert "two InnerProduct 3 x 5 shared 360" in squeezed(cvgg("summary", path).out)


def test_params_that_do_not_learn_are_told_apart(cvgg: Shell, tmp_path: Path) -> None:
    frozen = "param { lr_mult: 0 } param { lr_mult: 2 }"
    path = write(tmp_path, nets.images(3) + nets.fc("fc", "data", 5, more=frozen))
    test = phases(cvgg, path)["TEST"]
    assert (test["params"], test["learned"]) == (365, 5)
    assert "365 params, 360 of them not learned" in cvgg("summary", path).out


def test_small_nets_are_shown_in_kib(cvgg: Shell, net: str) -> None:
    assert "memory, KiB" in cvgg("summary", net).out


def test_a_net_of_one_phase_names_the_other(cvgg: Shell, tmp_path: Path) -> None:
    path = write(tmp_path, data("TRAIN", 7) + nets.VGG + nets.loss("fc4"))
    done = cvgg("summary", path)
    assert done.code == 65
    assert "phase TEST" in done.err
    assert cvgg("summary", path, "--phase", "train").code == 0


def test_a_missing_file_is_an_error_of_one_line(cvgg: Shell) -> None:
    done = cvgg("summary", "nowhere.prototxt")
    assert done.code == 66
    assert done.err.count("\n") == 1
    assert "nowhere.prototxt" in done.err
