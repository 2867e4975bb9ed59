"""cvgg test: means over batches, log lines, JSON."""

import json
import re
from pathlib import Path

import databases
import nets
import numpy as np
import pytest
from numpy.typing import NDArray
from shell import Shell

from cvgg import Net
from cvgg.data.datum import Datum, datum_bytes

CLASSES = 3


def net_text(source: str, *, scale: float = 0.01) -> str:
    """6 images of 2 x 3 x 4 pixels by twos, through one layer, to a loss of weight 3."""
    return (
        f"""
    layer {{ name: "data" type: "Data" top: "data" top: "label"
      transform_param {{ scale: {scale} }}
      data_param {{ source: "{source}" backend: LMDB batch_size: 2 }} }}
    """
        + nets.fc("fc", "data", CLASSES)
        + nets.accuracy("fc")
        + nets.loss("fc", more="loss_weight: 3")
    )


class Trial:
    """A database, a net, its weights, and what a test of them must give."""

    def __init__(self, folder: Path) -> None:
        self.images = databases.numbered(6, (2, 3, 4))
        self.labels = [label % CLASSES for label in range(6)]
        records = {}
        for i, (image, label) in enumerate(zip(self.images, self.labels, strict=True)):
            datum = Datum(2, 3, 4, image.tobytes(), label)
            records[b"%08d" % i] = datum_bytes(datum)
        source = databases.write_lmdb(folder / "lmdb", records)
        self.model, self.weights = folder / "net.prototxt", folder / "net.caffemodel"
        self.model.write_text(net_text(source))
        net = Net(self.model, seed=5)
        net.save(self.weights)
        self.w: NDArray[np.float64] = net.params["fc"][0].data.astype(np.float64)
        net.close()

    def expected(self, images: int) -> tuple[float, float]:
        """Accuracy and loss over the first records, in float64."""
        right, loss = 0, 0.0
        for image, label in zip(self.images[:images], self.labels[:images], strict=True):
            scores = self.w @ (image.reshape(-1) * 0.01)
            right += int(np.argmax(scores) == label)
            loss -= scores[label] - np.log(np.exp(scores).sum())
        return right / images, loss / images


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def test_means_are_those_of_a_loop_over_the_records(cvgg: Shell, trial: Trial) -> None:
    words = ("--model", trial.model, "--weights", trial.weights, "--cpu", "--threads", 1)
    for batches in (1, 3):
        done = cvgg("test", *words, "--iterations", batches, "--json")
        assert done.code == 0, done.err
        result = json.loads(done.out)
        accuracy, loss = trial.expected(2 * batches)
        assert result["images"] == 2 * batches
        assert result["outputs"]["accuracy"] == pytest.approx(accuracy, rel=1e-6)
        # rtol: 24 products and a log in float32.
        assert result["outputs"]["loss"] == pytest.approx(loss, rel=1e-5)
        assert result["loss"] == pytest.approx(3 * loss, rel=1e-5)


def test_the_log_has_the_lines_of_caffe_test(cvgg: Shell, trial: Trial) -> None:
    done = cvgg("test", "-model", trial.model, f"-weights={trial.weights}", "-iterations", 2)
    texts = [line.partition("] ")[2] for line in done.err.splitlines()]
    assert "Running for 2 iterations." in texts
    batches = [re.fullmatch(r"Batch (\d), loss = (\S+)", text) for text in texts]
    values = {int(found[1]): float(found[2]) for found in batches if found}
    assert values.keys() == {0, 1}
    loss = (values[0] + values[1]) / 2
    last = re.fullmatch(r"loss = (\S+) \(\* 3 = (\S+) loss\)", texts[-1])
    assert last is not None
    # 6 digits are printed.
    assert float(last[1]) == pytest.approx(loss, rel=1e-5)
    assert float(last[2]) == pytest.approx(3 * loss, rel=1e-5)
    assert re.fullmatch(r"accuracy = [\d.]+", texts[-2])
    assert texts[-3] == f"Loss: {last[2]}"
    assert done.out.splitlines()[0].split() == [
        "output",
        "mean",
        "of",
        "2",
        "batches,",
        "4",
        "images",
    ]
    assert done.out.splitlines()[-1].split() == ["loss", last[1]]


def test_quiet_leaves_only_the_result(cvgg: Shell, trial: Trial) -> None:
    done = cvgg("test", "--model", trial.model, "--weights", trial.weights, "--quiet")
    assert done.err == ""
    assert "mean of 50 batches, 100 images" in done.out


def test_later_weights_go_over_earlier_ones(cvgg: Shell, trial: Trial, tmp_path: Path) -> None:
    other = Net(trial.model, seed=6)
    other.save(tmp_path / "other.caffemodel")
    other.close()

    def loss(*weights: object) -> float:
        files = ",".join(map(str, weights))
        done = cvgg("test", "--model", trial.model, "--weights", files, "--json", "--iterations=3")
        return float(json.loads(done.out)["loss"])

    alone = loss(trial.weights)
    assert loss(tmp_path / "other.caffemodel", trial.weights) == alone
    assert loss(trial.weights, tmp_path / "other.caffemodel") != alone


def test_an_output_of_several_values_is_given_value_by_value(
    cvgg: Shell, tmp_path: Path, trial: Trial
) -> None:
    text = trial.model.read_text().replace('top: "accuracy"', 'top: "accuracy" top: "each"')
    trial.model.write_text(text)
    done = cvgg("test", "--model", trial.model, "--weights", trial.weights, "--json")
    names = {"accuracy", "each[0]", "each[1]", "each[2]", "loss"}
    assert json.loads(done.out)["outputs"].keys() == names


def test_a_test_gives_the_same_numbers_every_time(cvgg: Shell, tmp_path: Path) -> None:
    text = nets.dummy_data(2) + nets.fc("fc", "data", 3) + nets.loss("fc")
    (tmp_path / "net").write_text(text)
    Net(text, seed=1).save(tmp_path / "weights")
    words = ("--model", tmp_path / "net", "--weights", tmp_path / "weights", "--json")
    first = cvgg("test", *words, "--iterations", 2).out
    assert cvgg("test", *words, "--iterations", 2).out == first


def test_a_loss_that_is_not_finite_ends_the_test(cvgg: Shell, trial: Trial) -> None:
    text = trial.model.read_text().replace("scale: 0.01", "scale: 1e38")
    trial.model.write_text(text)
    done = cvgg("test", "--model", trial.model, "--weights", trial.weights)
    assert done.code == 1
    assert "batch 0: the loss is nan; first seen in blob 'data'" in done.err


def test_a_deploy_net_has_nothing_to_test_on(cvgg: Shell, tmp_path: Path, trial: Trial) -> None:
    path = tmp_path / "deploy"
    path.write_text(nets.images(2) + nets.VGG)
    done = cvgg("test", "--model", path, "--weights", trial.weights)
    assert done.code == 2
    assert "Input layers (data, label)" in done.err


def test_missing_weights_end_with_66(cvgg: Shell, trial: Trial) -> None:
    done = cvgg("test", "--model", trial.model, "--weights", "nowhere.caffemodel", "--quiet")
    assert (done.code, done.out) == (66, "")
    assert cvgg("test", "--model", trial.model).code == 2
    words = ("--model", trial.model, "--weights", trial.weights)
    assert cvgg("test", *words, "--iterations", 0).code == 2
