"""cvgg plot: what is read from logs, and what is drawn."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from PIL import Image
from shell import Shell

from cvgg.commands.curves import draw_curves
from cvgg.commands.filters import draw_filters
from cvgg.commands.training_log import Curves, read_log
from cvgg.errors import DataError
from cvgg.netdef.caffe_pb2 import NetParameter
from cvgg.netdef.caffemodel import ModelBlob, model_bytes

HEAD = "I1125 08:01:53.123456  4242 solver.cpp:218] "
CAFFE = """Solving LeNet
Iteration 0, Testing net (#0)
    Test net output #0: accuracy = 0.125
    Test net output #1: cost = 2.5 (* 0.5 = 1.25 loss)
Iteration 0, Testing net (#1)
    Test net output #0: accuracy = 0.0625
Iteration 0 (-1.4e-45 iter/s, 0.5s/100 iters), loss = 2.75
    Train net output #0: cost = 5.5 (* 0.5 = 2.75 loss)
    Train net output #1: each = 0.25
    Train net output #2: each = 0.5
Iteration 0, lr = 0.01
Iteration 100, loss = -nan
    Train net output #0: cost = inf (* 0.5 = inf loss)
Iteration 100, lr = 0.001
Iteration 200, Testing net (#0)
    Test net output #0: accuracy = 0.875
    Test net output #1: cost = 0.5 (* 0.5 = 0.25 loss)
Optimization Done."""


def caffe_log(folder: Path, text: str = CAFFE) -> str:
    path = folder / "caffe.log"
    path.write_text("".join(f"{HEAD}{line}\n" for line in text.splitlines()))
    return str(path)


def train(at: int, loss: float, /, *, rate: float = 0.1, **outputs: float) -> dict[str, Any]:
    return {"event": "train", "iter": at, "loss": loss, "lr": rate, "outputs": outputs}


def measured(at: int, /, *, net: int = 0, **outputs: float) -> dict[str, Any]:
    return {"event": "test", "iter": at, "net": net, "outputs": outputs}


def metrics(folder: Path, *records: dict[str, Any], tail: str = "") -> str:
    path = folder / "small.metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return str(path)


def test_the_lines_of_caffe_are_read(tmp_path: Path) -> None:
    curves = read_log(caffe_log(tmp_path))
    assert curves.rate == {0: 0.01, 100: 0.001}
    assert curves.loss[0] == 2.75
    assert math.isnan(curves.loss[100])
    assert curves.test == {
        "accuracy": {0: 0.125, 200: 0.875},
        "cost": {0: 2.5, 200: 0.5},
        "accuracy (net #1)": {0: 0.0625},
    }
    assert curves.train == {"cost": {0: 5.5, 100: math.inf}, "each": {0: 0.25}, "each[1]": {0: 0.5}}
    assert curves.losses == {"cost"}
    assert curves.last == 200


def test_the_scores_of_the_first_caffe_are_read(tmp_path: Path) -> None:
    text = "Iteration 5, Testing net (#0)\nTest score #0: 0.25\nTest score #1: 2.5"
    curves = read_log(caffe_log(tmp_path, text))
    assert curves.test == {"score #0": {5: 0.25}, "score #1": {5: 2.5}}


def test_records_are_read(tmp_path: Path) -> None:
    path = metrics(
        tmp_path,
        measured(0, accuracy=0.25, loss=2.5),
        measured(0, net=1, accuracy=0.125),
        train(0, 2.75, rate=0.01, loss=3.0),
        {"event": "plateau", "iter": 5, "lr": 0.001, "best": 0.5},
        {"event": "snapshot", "iter": 10, "model": "a", "state": "b"},
        train(20, 1.5, rate=0.001, loss=1.25),
    )
    curves = read_log(path)
    assert curves.loss == {0: 2.75, 20: 1.5}
    assert curves.rate == {0: 0.01, 20: 0.001}
    assert curves.train == {"loss": {0: 3.0, 20: 1.25}}
    assert curves.test == {
        "accuracy": {0: 0.25},
        "loss": {0: 2.5},
        "accuracy (net #1)": {0: 0.125},
    }
    assert curves.losses == {"loss"}


def test_a_resumed_training_replaces_what_it_repeats(tmp_path: Path) -> None:
    before = [train(at, 100.0 + at) for at in (0, 20, 40, 60)]
    before.insert(3, measured(50, accuracy=0.5))
    after = [train(20, 1.0), train(30, 2.0)]
    curves = read_log(metrics(tmp_path, *before, *after))
    assert curves.loss == {0: 100.0, 20: 1.0, 30: 2.0}
    assert curves.test == {"accuracy": {}}
    assert draw_curves(curves, "resumed").axes[0].get_ylabel() == "loss"


def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = metrics(tmp_path, train(0, 2.5), tail='{"event": "train", "iter": 2')
    assert read_log(path).loss == {0: 2.5}
    path = metrics(tmp_path, train(0, 2.5), tail="{broken}\n" + json.dumps(train(1, 2.0)))
    with pytest.raises(DataError, match=r"small\.metrics\.jsonl:2: "):
        read_log(path)


def test_a_file_without_a_training_is_refused(cvgg: Shell, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("nothing of interest\n")
    done = cvgg("plot", tmp_path / "log", "--out", tmp_path / "a.png")
    assert (done.code, "no line of a training" in done.err) == (65, True)
    assert not (tmp_path / "a.png").exists()
    assert cvgg("plot", tmp_path / "nowhere").code == 66


def test_panels_show_loss_accuracy_and_rate() -> None:
    curves = Curves(
        loss={0: 2.5, 100: 1.5, 50: 2.0, 150: math.inf},
        rate={0: 0.1, 100: 0.01},
        train={"loss": {0: 2.5}},
        test={"accuracy": {0: 0.125, 100: 0.875}, "loss": {0: 2.25, 100: 1.25}},
        losses={"loss"},
    )
    figure = draw_curves(curves, "small $net$")
    loss, accuracy, rate = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "accuracy", "rate"]
    assert rate.get_xlabel() == "iteration"
    assert [line.get_label() for line in loss.lines] == ["train loss", "test loss"]
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), [0, 50, 100, 150])
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [2.5, 2.0, 1.5, math.nan])
    assert [line.get_label() for line in accuracy.lines] == ["test accuracy"]
    for line in (loss.lines[1], accuracy.lines[0]):  # tests are marked
        assert line.get_marker() == "o"
    assert accuracy.get_ylim() == (0, 1)
    assert rate.get_yscale() == "log"
    assert all(axis.get_legend() is not None for axis in (loss, accuracy))
    title = figure.get_suptitle()
    assert title == r"small \$net\$: 150 iterations, accuracy 87.5%"
    figure.canvas.draw()  # a formula in the title would fail here


def test_panels_without_points_are_left_out() -> None:
    figure = draw_curves(Curves(test={"error": {0: 7.0, 10: 3.0}}), "tests")
    (axis,) = figure.axes
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("outputs", "iteration")
    assert axis.get_ylim()[1] > 7


def test_curves_of_one_panel_have_colours_of_their_own() -> None:
    named = {f"accuracy{i}": {0: 0.1 * i} for i in range(6)}
    (axis,) = draw_curves(Curves(test=named), "many").axes
    assert len({to_hex(line.get_color()) for line in axis.lines}) == 6


def test_the_picture_is_written_in_the_form_of_its_suffix(cvgg: Shell, tmp_path: Path) -> None:
    log = caffe_log(tmp_path)
    done = cvgg("plot", log, "--out", tmp_path / "curves.png")
    assert (done.code, done.out) == (0, f"{tmp_path / 'curves.png'}\n")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
    assert cvgg("plot", log, "--out", tmp_path / "curves.svg").code == 0
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_the_name_is_curves_png_unless_told(
    cvgg: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cvgg("plot", caffe_log(tmp_path)).out == "curves.png\n"
    assert (tmp_path / "curves.png").exists()


def test_without_matplotlib_it_says_how_to_get_it(
    cvgg: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cvgg("plot", caffe_log(tmp_path), "--out", tmp_path / "curves.png")
    assert (done.code, "pip install cvgg[plot]" in done.err) == (69, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("LOG", "--weights", "a.caffemodel"), 2),
        (("LOG", "--layer", "conv1"), 2),
        (("LOG", "--out", "curves.doc"), 2),
        (("LOG", "--out", "no/such/folder/curves.png"), 73),
    ],
)
def test_wrong_words_are_told(
    cvgg: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    log = caffe_log(tmp_path)
    assert cvgg("plot", *(log if word == "LOG" else word for word in words)).code == code


# ---- filters
def model(folder: Path, **weights: Any) -> str:
    """A .caffemodel with these weights by layer."""
    net = NetParameter()
    blobs = {}
    for name, values in weights.items():
        net.layer.add(name=name, type="Convolution")
        array = np.asarray(values, "<f4")
        blobs[name] = [ModelBlob(array.shape, array.tobytes())]
    path = folder / "net.caffemodel"
    path.write_bytes(b"".join(model_bytes(net, blobs)))
    return str(path)


def test_filters_of_three_channels_are_drawn_in_their_colours(tmp_path: Path) -> None:
    weights = np.zeros((5, 3, 2, 4))
    weights[0, 0] = 0.5  # blue
    weights[1, 2] = -0.5  # less red
    weights[4, 1, 1, 3] = 0.25  # half of the green that can be shown
    figure = draw_filters(model(tmp_path, ip=np.ones((7, 9)), conv=weights), None)
    (axis,) = figure.axes
    sheet = np.asarray(axis.images[0].get_array())
    assert axis.get_title().startswith("conv: 5 filters, 3 x 2 x 4")
    assert sheet.shape == (2 * 3 - 1, 3 * 5 - 1, 3)  # 2 rows of 3 tiles with lines between
    np.testing.assert_allclose(sheet[:2, :4], np.broadcast_to([0.5, 0.5, 1], (2, 4, 3)))
    np.testing.assert_allclose(sheet[:2, 5:9], np.broadcast_to([0, 0.5, 0.5], (2, 4, 3)))
    np.testing.assert_allclose(sheet[4, 8], [0.5, 0.75, 0.5])
    np.testing.assert_allclose(sheet[2], 1)  # a line
    np.testing.assert_allclose(sheet[3:, 10:], 1)  # no sixth filter


def test_filters_of_other_channels_are_drawn_plane_by_plane(tmp_path: Path) -> None:
    weights = np.arange(30 * 2 * 3 * 3).reshape(30, 2, 3, 3) / 1000
    figure = draw_filters(model(tmp_path, first=np.ones((4, 3, 1, 1)), conv=weights), "conv")
    axis, bar = figure.axes
    assert "the first 24 of 30 filters" in axis.get_title()
    sheet: NDArray[Any] = np.ma.filled(np.ma.asarray(axis.images[0].get_array()), np.nan)
    assert sheet.shape == (24 * 4 - 1, 2 * 4 - 1)
    np.testing.assert_allclose(sheet[4 * 23 : 4 * 23 + 3, 4:7], weights[23, 1])
    assert np.isnan(sheet[3]).all()
    low, high = axis.images[0].get_clim()
    assert low == -high
    assert bar.get_ylabel() == "weight"


def test_filters_of_one_channel_stand_in_a_square(tmp_path: Path) -> None:
    weights = np.arange(7 * 5 * 5).reshape(7, 1, 5, 5)
    sheet = draw_filters(model(tmp_path, conv=weights), None).axes[0].images[0].get_array()
    assert sheet is not None
    assert sheet.shape == (3 * 6 - 1, 3 * 6 - 1)
    np.testing.assert_allclose(np.asarray(sheet)[6:11, 6:11], weights[4, 0])


def test_filters_are_written(cvgg: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = model(tmp_path, conv=np.zeros((2, 3, 1, 1)))
    assert cvgg("plot", "--weights", path).out == "filters.png\n"
    with Image.open("filters.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("weights", "layer", "code", "text"),
    [
        ({"conv1": np.ones((2, 3, 1, 1))}, "conv2", 2, 'did you mean "conv1"?'),
        ({"ip": np.ones((2, 3))}, "ip", 2, "weights of shape 2 3 are no filters"),
        ({"ip": np.ones((2, 3))}, None, 65, "no layer has filters"),
        ({"old": np.ones((1, 1, 5, 7))}, None, 65, "no layer has filters"),
        ({"conv": np.full((2, 3, 1, 1), np.nan)}, None, 65, "not finite"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    cvgg: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: dict[str, Any],
    layer: str | None,
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--layer", layer) if layer else ()
    done = cvgg("plot", "--weights", model(tmp_path, **weights), *words)
    assert done.code == code
    assert text in done.err
