"""Accuracy: top_k, ties, ignored labels, classes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cvgg.engine import Engine
from cvgg.errors import LayerError, ShapeError
from cvgg.testing import OneLayer

RANDOM = np.random.default_rng(20)
SCORES = RANDOM.normal(size=(5, 6, 4))
LABELS = RANDOM.integers(0, 6, size=(5, 4))


def accuracy(settings: str = "", more: str = "") -> str:
    return f"""layer {{ name: "accuracy" type: "Accuracy" bottom: "x" bottom: "label"
      top: "accuracy" {more} accuracy_param {{ {settings} }} }}"""


def right(top_k: int) -> NDArray[np.bool_]:
    """Which positions have their label among the top_k scores."""
    answer = np.zeros((5, 4), bool)
    for o, i in np.ndindex(5, 4):
        best = np.argsort(-SCORES[o, :, i])[:top_k]
        answer[o, i] = LABELS[o, i] in best
    return answer


@pytest.mark.parametrize("top_k", [1, 3, 6])
def test_accuracy_is_the_share_of_labels_among_the_best_scores(top_k: int, engine: Engine) -> None:
    (y,) = OneLayer(accuracy(f"top_k: {top_k}"), [SCORES, LABELS], engine=engine).forward()
    assert y.shape == ()
    assert y == pytest.approx(right(top_k).mean(), rel=1e-6)


def test_the_classes_may_lie_on_another_axis(engine: Engine) -> None:
    moved = np.moveaxis(SCORES, 1, 2)
    one = OneLayer(accuracy("top_k: 2 axis: -1"), [moved, LABELS], engine=engine)
    assert one.forward()[0] == pytest.approx(right(2).mean(), rel=1e-6)


def test_ignored_labels_do_not_count(engine: Engine) -> None:
    one = OneLayer(accuracy("top_k: 3 ignore_label: 2"), [SCORES, LABELS], engine=engine)
    assert one.forward()[0] == pytest.approx(right(3)[LABELS != 2].mean(), rel=1e-6)
    one.set_bottoms([SCORES, np.full_like(LABELS, 2)])
    assert one.forward()[0] == 0


def test_a_score_equal_to_the_labels_counts_as_better(engine: Engine) -> None:
    one = OneLayer(accuracy("top_k: 2"), [[[0.5, 0.5, 0.5, 0.1]], [0]], engine=engine)
    assert one.forward()[0] == 0
    one.set_bottoms([[[0.5, 0.5, 0.4, 0.1]], [0]])
    assert one.forward()[0] == 1


def test_a_second_top_is_the_accuracy_of_each_class(engine: Engine) -> None:
    labels = np.where(LABELS == 4, 1, LABELS)  # class 4 does not occur
    hits = np.array(
        [[labels[o, i] in np.argsort(-SCORES[o, :, i])[:3] for i in range(4)] for o in range(5)]
    )
    text = accuracy("top_k: 3 ignore_label: 2", 'top: "classes"')
    _, y = OneLayer(text, [SCORES, labels], engine=engine).forward()
    expected = [
        hits[labels == k].mean() if k not in (2, 4) and np.any(labels == k) else 0 for k in range(6)
    ]
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_parts_of_a_batch_add_up_but_classes_do_not() -> None:
    layer = OneLayer(accuracy(), [SCORES, LABELS]).layer
    assert layer.sums_images
    assert not layer.couples_images
    assert layer.count(7, 0) == 20  # uncut, a pass is what the batch is
    assert OneLayer(accuracy(more='top: "classes"'), [SCORES, LABELS]).layer.couples_images


def test_it_has_no_backward() -> None:
    layer = OneLayer(accuracy("ignore_label: 2"), [SCORES, LABELS]).layer
    assert not layer.has_backward
    assert layer.labels == {1}
    assert layer.ignore_label == 2


@pytest.mark.parametrize("top_k", [0, 7])
def test_top_k_beyond_the_classes_is_refused(top_k: int) -> None:
    with pytest.raises(LayerError, match=f"top_k must be from 1 to .* 6, is {top_k}"):
        OneLayer(accuracy(f"top_k: {top_k}"), [SCORES, LABELS])


def test_a_label_for_each_position_is_needed() -> None:
    with pytest.raises(ShapeError, match="need 20 labels; the labels have shape 5"):
        OneLayer(accuracy(), [SCORES, LABELS[:, 0]])
