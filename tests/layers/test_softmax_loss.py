"""SoftmaxWithLoss: the value, what it is divided by, what is ignored, gradients."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cvgg.engine import Engine
from cvgg.errors import ShapeError
from cvgg.layers import infer
from cvgg.layers.base import Layer, Setting
from cvgg.netdef.caffe_pb2 import TRAIN
from cvgg.netdef.graph import build
from cvgg.netdef.prototxt import read_net
from cvgg.testing import STALE, OneLayer, check_gradient

RANDOM = np.random.default_rng(19)
SCORES = RANDOM.normal(size=(2, 5, 3, 4))
LABELS = RANDOM.integers(0, 5, size=(2, 1, 3, 4))
LABELS[0, 0, 0] = 3  # four of them at least
IGNORED = int((LABELS == 3).sum())


def loss(settings: str = "", more: str = "") -> str:
    return f"""layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "label"
      top: "loss" {more} loss_param {{ {settings} }} }}"""


def naive(
    scores: NDArray[np.float64], labels: NDArray[np.int64], ignore: int | None = None
) -> float:
    """The sum over all positions; scores (outer, c, inner), labels (outer, inner)."""
    total = 0.0
    for o, i in np.ndindex(labels.shape):
        if labels[o, i] != ignore:
            e = np.exp(scores[o, :, i])
            total -= np.log(e[labels[o, i]] / e.sum())
    return total


SUM = naive(SCORES.reshape(2, 5, 12), LABELS.reshape(2, 12))
SUM_WITHOUT_3 = naive(SCORES.reshape(2, 5, 12), LABELS.reshape(2, 12), 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", SUM / 24),
        ("normalization: VALID", SUM / 24),
        ("normalization: FULL", SUM / 24),
        ("normalization: BATCH_SIZE", SUM / 2),
        ("normalization: NONE", SUM),
        ("ignore_label: 3", SUM_WITHOUT_3 / (24 - IGNORED)),
        ("ignore_label: 3 normalization: FULL", SUM_WITHOUT_3 / 24),
        ("ignore_label: 3 normalization: BATCH_SIZE", SUM_WITHOUT_3 / 2),
        ("ignore_label: 3 normalization: NONE", SUM_WITHOUT_3),
        ("ignore_label: 3 normalize: true", SUM_WITHOUT_3 / (24 - IGNORED)),
        ("ignore_label: 3 normalize: false", SUM_WITHOUT_3 / 2),
        ("ignore_label: 3 normalize: false normalization: FULL", SUM_WITHOUT_3 / 24),
    ],
)
def test_the_loss_is_divided_by_what_the_settings_say(
    settings: str, expected: float, engine: Engine
) -> None:
    (value,) = OneLayer(loss(settings), [SCORES, LABELS], engine=engine).forward()
    assert value.shape == ()
    assert value == pytest.approx(expected, rel=1e-5)  # 24 logarithms, float32


def test_the_classes_may_lie_on_another_axis(engine: Engine) -> None:
    text = loss(more="softmax_param { axis: -1 }")
    labels = RANDOM.integers(0, 4, size=(2, 5, 3))
    (value,) = OneLayer(text, [SCORES, labels], engine=engine).forward()
    expected = naive(SCORES.reshape(30, 4, 1), labels.reshape(30, 1)) / 30
    assert value == pytest.approx(expected, rel=1e-5)


def test_if_all_is_ignored_loss_and_gradient_are_0(engine: Engine) -> None:
    one = OneLayer(loss("ignore_label: 3"), [SCORES, np.full_like(LABELS, 3)], engine=engine)
    assert one.forward()[0] == 0
    assert not np.any(one.backward([1.0])[0])


def test_a_second_top_is_the_probabilities(engine: Engine) -> None:
    one = OneLayer(loss(more='top: "prob"'), [SCORES, LABELS], engine=engine)
    _, prob = one.forward()
    expected = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    np.testing.assert_allclose(prob, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    ["", "ignore_label: 3", "normalization: BATCH_SIZE", "normalization: NONE ignore_label: 3"],
)
def test_gradient_of_the_loss(settings: str, engine: Engine) -> None:
    check_gradient(loss(settings), [SCORES[..., :2], LABELS[..., :2]], engine=engine)


def test_gradient_with_a_second_top_and_another_axis(engine: Engine) -> None:
    text = loss(more='top: "prob" softmax_param { axis: 2 }')
    labels = RANDOM.integers(0, 3, size=(2, 5, 4))
    check_gradient(text, [SCORES, labels], engine=engine)


def test_the_top_diff_scales_the_gradient(engine: Engine) -> None:
    one = OneLayer(loss(), [SCORES, LABELS], engine=engine)
    one.forward()
    diff, label_diff = one.backward([1.0])
    np.testing.assert_allclose(one.backward([0.25])[0], diff / 4, rtol=1e-6)
    assert np.all(label_diff == STALE)


def inferred(settings: str, images: int | None, more: str = "") -> Layer:
    """The layer in a net whose data are `images` pictures of 3 x 4 positions and 5 classes."""
    text = f"""layer {{ name: "in" type: "Input" top: "x" top: "label" input_param {{
      shape {{ dim: {images or 8} dim: 5 dim: 3 dim: 4 }}
      shape {{ dim: {images or 8} dim: 3 dim: 4 }} }} }}"""
    graph = build(read_net(text + loss(settings, more)), phase=TRAIN)
    return infer(graph, Setting(TRAIN, images))[-1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", 8 * 12),
        ("normalization: FULL ignore_label: 3", 8 * 12),
        ("normalization: BATCH_SIZE ignore_label: 3", 8),
        ("normalization: NONE", 1),
        ("ignore_label: 3", 8 * 12 - 7),
    ],
)
@pytest.mark.parametrize("images", [None, 8, 2, 3])
def test_a_part_of_a_batch_is_divided_by_the_count_of_the_whole_batch(
    images: int | None, settings: str, expected: float
) -> None:
    assert (
        inferred(settings, images).count(8, 7 if settings == "ignore_label: 3" else 0) == expected
    )


def test_all_labels_of_a_batch_ignored_counts_as_one() -> None:
    assert inferred("ignore_label: 3", 2).count(8, 96) == 1


def test_the_labels_matter_to_the_count_only_if_they_change_it() -> None:
    assert inferred("ignore_label: 3", 2).ignore_label == 3
    assert inferred("ignore_label: 3 normalization: FULL", 2).ignore_label is None
    assert inferred("", 2).ignore_label is None
    assert inferred("", 2).positions_per_image == 12


def test_a_cut_batch_is_refused_where_it_would_add_up_probabilities() -> None:
    assert inferred("", 2).sums_images
    assert not inferred("", 2).couples_images
    assert inferred("", 2, 'top: "prob"').couples_images


def test_a_label_for_each_position_is_needed() -> None:
    rule = "scores of shape 2 5 3 4 with the classes on axis 1 need 24 labels; .* shape 2 1 3 3"
    with pytest.raises(ShapeError, match=rule):
        OneLayer(loss(), [SCORES, LABELS[..., :3]])
