"""cvgg predict: what goes into the net, and which classes come out."""

import json
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shell import Shell

from cvgg import Net
from cvgg.commands.preparation import Preparation
from cvgg.data.images import Scratch
from cvgg.data.mean import write_mean

COLOURS = {"blue": (10, 20, 200), "green": (10, 150, 20), "red": (100, 30, 20)}  # R G B
DEPLOY = """
name: "colours"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 6 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 3 kernel_h: 4 kernel_w: 6 } }
"""
SOFTMAX = 'layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }'


class Trial:
    """A net whose class is the channel that is largest, B G R; its score is 0.01 times the mean."""

    def __init__(self, folder: Path, text: str = DEPLOY + SOFTMAX) -> None:
        self.folder = folder
        self.model, self.weights = folder / "deploy.prototxt", folder / "net.caffemodel"
        self.model.write_text(text)
        net = Net(self.model)
        weights = net.params["score"][0].data
        weights[:] = 0
        for channel in range(3):
            weights[channel, channel] = 0.01 / weights[channel, channel].size
        net.save(self.weights)
        for name, colour in COLOURS.items():
            self.image(f"{name}.png", np.full((4, 6, 3), colour))

    def image(self, name: str, pixels: NDArray[Any]) -> Path:
        """An image file of R G B pixels (h,w,3)."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        return path

    def words(self, *images: object) -> tuple[object, ...]:
        engine = ("--cpu", "--threads", 1)
        return ("predict", "--model", self.model, "--weights", self.weights, *engine, *images)

    def result(self, shell: Shell, *words: object) -> Any:
        done = shell(*self.words(*words), "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


def probabilities(scores: list[float]) -> list[float]:
    exponentials = np.exp(np.array(scores))
    return list(exponentials / exponentials.sum())


def test_the_class_of_each_image_comes_first(cvgg: Shell, trial: Trial) -> None:
    files = [trial.folder / f"{name}.png" for name in ("red", "blue", "green")]  # 2 at a time
    result = trial.result(cvgg, *files, "--mean", "0")
    assert [each["file"] for each in result] == [str(file) for file in files]
    assert [each["classes"][0]["class"] for each in result] == [2, 0, 1]


def test_mean_and_scale_are_applied_in_caffes_order(cvgg: Shell, trial: Trial) -> None:
    words = (trial.folder / "red.png", "--mean", "3,5,7", "--scale", "0.5")
    (result,) = trial.result(cvgg, *words)
    r, g, b = COLOURS["red"]
    scores = [0.01 * 0.5 * (value - mean) for value, mean in ((b, 3), (g, 5), (r, 7))]
    expected = probabilities(scores)
    found = {each["class"]: each["probability"] for each in result["classes"]}
    for number, probability in enumerate(expected):
        assert found[number] == pytest.approx(probability, rel=1e-5)  # 24 products in float32


def prepared(preparation: Preparation, path: Path) -> NDArray[np.float32]:
    values = np.full(preparation.shape, np.nan, np.float32)
    preparation.fill(values, path.read_bytes(), str(path), Scratch())
    return values


def test_preparation_resizes_cuts_the_centre_and_subtracts(trial: Trial) -> None:
    rows = np.arange(8)[:, None, None] * np.ones((8, 14, 3), int)
    columns = np.arange(14)[None, :, None] * np.ones((8, 14, 3), int)
    pixels = 10 * rows + columns + np.array([3, 40, 100])
    path = trial.image("large.png", pixels)
    mean = np.array([1, 2, 4], np.float32).reshape(3, 1, 1)
    values = prepared(Preparation((3, 4, 6), 8, mean, 0.25), path)
    cut = pixels[2:6, 4:10, ::-1].transpose(2, 0, 1)  # B G R
    np.testing.assert_array_equal(values, (cut - mean) * 0.25)  # exact: quarters of integers


@pytest.mark.parametrize(
    ("side", "image", "size"),
    [
        (None, (8, 14), (4, 7)),  # the height decides
        (None, (8, 10), (4, 6)),  # 4.8 rows would do, cut to 4
        (None, (30, 12), (15, 6)),  # the width decides
        (None, (2, 3), (4, 6)),  # enlarged
        (7, (8, 14), (7, 12)),
        (7, (20, 10), (14, 7)),
    ],
)
def test_the_image_is_made_as_small_as_fills_the_input(
    side: int | None, image: tuple[int, int], size: tuple[int, int]
) -> None:
    assert Preparation((3, 4, 6), side, None, 1.0).size(*image) == size


def test_a_grey_net_gets_one_channel(trial: Trial) -> None:
    path = trial.image("red4.png", np.full((4, 6, 3), (100, 0, 0)))
    values = prepared(Preparation((1, 4, 6), None, None, 1.0), path)
    np.testing.assert_array_equal(values, 30)  # 0.299 R


def test_the_centre_of_a_mean_image_is_taken_off(cvgg: Shell, trial: Trial) -> None:
    mean = np.full((3, 8, 8), 1000.0)
    mean[:, 2:6, 1:7] = np.array([10, 20, 90]).reshape(3, 1, 1)
    write_mean(trial.folder / "mean.binaryproto", mean)
    (result,) = trial.result(
        cvgg, trial.folder / "red.png", "--mean-file", trial.folder / "mean.binaryproto"
    )
    r, g, b = COLOURS["red"]
    expected = probabilities([0.01 * (b - 10), 0.01 * (g - 20), 0.01 * (r - 90)])
    first = result["classes"][0]
    assert first["class"] == int(np.argmax(expected))
    assert first["probability"] == pytest.approx(max(expected), rel=1e-5)


def test_a_mean_image_that_is_too_small_is_refused(cvgg: Shell, trial: Trial) -> None:
    write_mean(trial.folder / "mean.binaryproto", np.zeros((3, 4, 5)))
    words = (trial.folder / "red.png", "--mean-file", trial.folder / "mean.binaryproto")
    done = cvgg(*trial.words(*words))
    assert (done.code, "4 x 5 pixels" in done.err) == (65, True)


def test_labels_name_the_classes(cvgg: Shell, trial: Trial) -> None:
    (trial.folder / "labels").write_text("n01 sky\nn02 leaf, grass\nn03 rose\n")
    words = ("--labels", trial.folder / "labels", "--mean", 0, "--top", 2, "--quiet")
    done = cvgg(*trial.words(trial.folder / "green.png", *words))
    lines = done.out.splitlines()
    assert lines[0] == str(trial.folder / "green.png")
    assert [line.split(maxsplit=2)[1:] for line in lines[1:]] == [
        ["1", "n02 leaf, grass"],
        ["0", "n01 sky"],
    ]
    (trial.folder / "labels").write_text("one\ntwo\n")
    done = cvgg(*trial.words(trial.folder / "green.png", *words))
    assert (done.code, "2 names, but the net has 3 classes" in done.err) == (65, True)


def test_folders_are_searched_for_images(cvgg: Shell, trial: Trial) -> None:
    trial.image("in/b.png", np.full((4, 6, 3), COLOURS["red"]))
    trial.image("in/a.PNG", np.full((4, 6, 3), COLOURS["blue"]))
    (trial.folder / "in" / "notes.txt").write_text("no image")
    result = trial.result(cvgg, trial.folder / "in", "--mean", 0)
    names = [Path(each["file"]).name for each in result]
    assert names == ["a.PNG", "b.png"]
    (trial.folder / "empty").mkdir()
    assert cvgg(*trial.words(trial.folder / "empty")).code == 66


def test_a_damaged_image_does_not_stop_the_others(cvgg: Shell, trial: Trial) -> None:
    (trial.folder / "bad.jpg").write_text("no image")
    names = ("blue.png", "bad.jpg", "green.png", "red.png", "bad.jpg")
    done = cvgg(*trial.words(*(trial.folder / name for name in names)), "--json", "--mean", 0)
    assert done.code == 65
    assert [each["classes"][0]["class"] for each in json.loads(done.out)] == [0, 1, 2]
    assert done.err.count("bad.jpg: not an image") == 2


def test_pixels_without_a_mean_are_worth_a_warning(cvgg: Shell, trial: Trial) -> None:
    image = trial.folder / "red.png"
    assert "No --mean" in cvgg(*trial.words(image, "--quiet")).err
    assert cvgg(*trial.words(image, "--quiet", "--mean", "0")).err == ""


def test_a_net_without_softmax_is_worth_a_warning(cvgg: Shell, tmp_path: Path) -> None:
    trial = Trial(tmp_path, DEPLOY)
    done = cvgg(*trial.words(tmp_path / "red.png", "--mean", "0", "--quiet"))
    assert done.code == 0
    assert "does not hold probabilities" in done.err


def test_a_net_applied_densely_counts_by_its_mean(cvgg: Shell, tmp_path: Path) -> None:
    trial = Trial(tmp_path, DEPLOY.replace("dim: 4 dim: 6", "dim: 5 dim: 8") + SOFTMAX)
    left, right = np.full((5, 4, 3), COLOURS["red"]), np.full((5, 4, 3), COLOURS["blue"])
    path = trial.image("both.png", np.concatenate((left, right), axis=1))
    (result,) = trial.result(cvgg, path, "--mean", 0)
    expected = np.zeros(3)
    for column in range(3):  # the windows start at columns 0, 1, 2 and rows 0, 1
        red = (4 - column) / 6
        r, g, b = red * np.array(COLOURS["red"]) + (1 - red) * np.array(COLOURS["blue"])
        expected += np.array(probabilities([0.01 * b, 0.01 * g, 0.01 * r])) / 3
    for each in result["classes"]:
        assert each["probability"] == pytest.approx(expected[each["class"]], rel=1e-5)


def test_one_of_several_outputs_has_to_be_chosen(cvgg: Shell, tmp_path: Path) -> None:
    more = SOFTMAX.replace('"prob"', '"again"')
    trial = Trial(tmp_path, DEPLOY + SOFTMAX + more)
    image = tmp_path / "red.png"
    done = cvgg(*trial.words(image))
    assert (done.code, "outputs again, prob" in done.err) == (2, True)
    assert cvgg(*trial.words(image, "--output", "prob", "--mean", 0)).code == 0
    assert cvgg(*trial.words(image, "--output", "score")).code == 2


def test_an_output_without_values_for_each_image_is_refused(cvgg: Shell, trial: Trial) -> None:
    trial.model.write_text(
        DEPLOY + nets.fc("sum", "score", 5).replace("num_output", "axis: 0 num_output")
    )
    done = cvgg(*trial.words(trial.folder / "red.png"))
    assert (done.code, "output 'sum' of shape 5 has no values" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--mean", "1,2"), 2, "2 numbers for 3 channels"),
        (("--mean", "1,x"), 2, "write numbers"),
        (("--short-side", "5"), 2, "4 x 6 pixels"),
        (("--labels", "nowhere"), 66, "nowhere"),
        (("--mean-file", "nowhere"), 66, "nowhere"),
        (("nowhere.png",), 66, "nowhere.png: no such file"),
    ],
)
def test_wrong_words_are_told(
    cvgg: Shell, trial: Trial, words: tuple[str, ...], code: int, text: str
) -> None:
    done = cvgg(*trial.words(trial.folder / "red.png", *words))
    assert (done.code, done.out) == (code, "")
    assert text in done.err


def test_a_train_net_is_refused(cvgg: Shell, trial: Trial) -> None:
    trial.model.write_text(nets.images(2) + nets.VGG)
    done = cvgg(*trial.words(trial.folder / "red.png"))
    assert (done.code, "one Input blob" in done.err) == (2, True)
