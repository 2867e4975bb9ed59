"""How many threads there are changes no bit."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest

from cvgg.kernels import cpu
from cvgg.kernels.interface import Scalars, Segment, State

Result: TypeAlias = list[np.ndarray[Any, Any]]
LONG = 70_001  # elements: loops over chunks of 16 384 have five, the last one small
CONV: dict[str, Any] = {"stride": (1, 2), "pad": (1, 0), "dilation": (1, 1), "group": 1}
POOL: dict[str, Any] = {"window": (3, 2), "stride": (2, 1), "pad": (1, 0)}
LRN: dict[str, Any] = {"size": 3, "alpha": 1.0, "beta": 0.6}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Leaves the number of threads as the engine of other tests wants it."""
    yield
    cpu.set_threads(2)


def draw(*shape: int) -> np.ndarray[Any, Any]:
    """The same numbers in (-1, 1) at each call with the same shape."""
    return np.random.default_rng(len(shape)).uniform(-1, 1, shape).astype(np.float32)


def empty(*shape: int) -> np.ndarray[Any, Any]:
    return np.empty(shape, np.float32)


def conv() -> Result:
    x, w, y = draw(7, 3, 6, 8), draw(5, 3, 3, 2), draw(7, 5, 6, 4)
    dx, dw, db = empty(*x.shape), draw(5, 3, 3, 2), draw(5)
    workspace = empty(cpu.conv_workspace(x.shape, w.shape, **CONV))
    cpu.conv_backward_data(w, y, dx, **CONV, workspace=workspace)
    cpu.conv_backward_weights(x, y, dw, db, **CONV, workspace=workspace)
    cpu.conv_forward(x, w, db, y, **CONV, workspace=workspace)
    return [y, dx, dw, db]


def first_layer() -> Result:
    x, w, b = draw(11, 3, 6, 10), draw(6, 3, 3, 3), draw(6)
    said = {**CONV, "stride": (1, 1), "pad": (1, 1)}
    y, dw, db = empty(11, 6, 6, 10), draw(6, 3, 3, 3), draw(6)
    pooled, codes = empty(11, 6, 3, 5), np.empty((11, 3, 5, 2), np.uint8)
    workspace = empty(cpu.conv_workspace(x.shape, w.shape, **said))
    cpu.conv_forward(x, w, b, y, **said, workspace=workspace)
    cpu.conv_backward_weights(x, y, dw, db, **said, workspace=workspace)
    cpu.conv_relu_pool_forward(x, w, b, pooled, codes, **said, workspace=workspace)
    dx, more = empty(*y.shape), draw(6)
    cpu.relu_pool_bias_backward(pooled, codes, pooled, dx, more)
    return [y, dw, db, pooled, codes, dx, more]


def fc() -> Result:
    x, w, y = draw(37, 301), draw(11, 301), draw(37, 11)
    dx, dw, db = empty(37, 301), draw(11, 301), draw(11)
    cpu.fc_backward_data(w, y, dx, transpose=False, workspace=empty(0))
    cpu.fc_backward_weights(x, y, dw, db, transpose=False, workspace=empty(0))
    cpu.fc_forward(x, w, db, y, transpose=False, workspace=empty(0))
    return [y, dx, dw, db]


def pool() -> Result:
    x, y, dx = draw(3, 5, 7, 6), empty(3, 5, 4, 5), empty(3, 5, 7, 6)
    argmax, average, other = np.empty(y.shape, np.int32), empty(*y.shape), empty(*x.shape)
    cpu.pool_max_forward(x, y, argmax, **POOL)
    cpu.pool_max_backward(y, argmax, dx, **POOL)
    cpu.pool_ave_forward(x, average, **POOL)
    cpu.pool_ave_backward(average, other, **POOL)
    return [y, argmax, dx, average, other]


def lrn() -> Result:
    x, *made = draw(3, 7, 5, 4), *(empty(3, 7, 5, 4) for _ in range(6))
    cpu.lrn_across_forward(x, made[0], made[1], **LRN, k=1.0)
    cpu.lrn_across_backward(x, made[0], made[1], x, made[2], **LRN)
    cpu.lrn_within_forward(x, made[3], made[4], **LRN)
    cpu.lrn_within_backward(x, made[3], made[4], x, made[5], **LRN)
    return made


def dropout() -> Result:
    x, y = draw(4 * LONG + 1), empty(4 * LONG + 1)
    state = np.zeros(State.SLOTS, np.int64)
    state[State.FIRST_IMAGE] = 3
    cpu.dropout_forward(x, y, state, layer=5, ratio=0.3)
    return [y]


def losses() -> Result:
    x, label = draw(7, 3, LONG // 7 + 1), np.ones((7, LONG // 7 + 1), np.float32)
    prob, dx, loss, accuracy, count = empty(*x.shape), empty(*x.shape), empty(1), empty(1), empty(1)
    label[:, ::3] = 2
    cpu.count_labels(label, count, ignore_label=2)
    cpu.softmax_loss_forward(x, label, prob, loss, count, ignore_label=2)
    cpu.softmax_loss_backward(prob, label, loss, count, dx, ignore_label=2)
    cpu.accuracy_forward(x, label, accuracy, count, top_k=1, ignore_label=2)
    return [count, prob, loss, dx, accuracy]


def norm() -> Result:
    x, y, dx, dg = draw(5, 3, 7), empty(5, 3, 7), empty(5, 3, 7), draw(3)
    mean, std, *running = empty(3), empty(3), draw(3), draw(3), draw(1)
    cpu.batch_norm_train_forward(x, y, mean, std, *running, fraction=0.9, eps=0.1)
    cpu.batch_norm_train_backward(y, std, x, dx)
    cpu.scale_backward_weights(x, y, dg, None)
    return [y, mean, std, *running, dx, dg]


def update() -> Result:
    w, dw, history = draw(LONG), draw(1, LONG)[0], draw(1, 1, LONG)[0, 0]
    scalars = empty(Scalars.SLOTS)
    scalars[Scalars.RATE] = 0.1
    cpu.clip_gradients(dw, scalars, threshold=0.5, scale=1.0)
    segments = [Segment(3, LONG - 2, 2.0, 1.0)]
    cpu.sgd_update(w, dw, history, scalars, segments=segments, momentum=0.9, l1=0.1, l2=0.2)
    return [w, history, scalars]


@pytest.mark.parametrize("work", [conv, first_layer, fc, pool, lrn, dropout, losses, norm, update])
def test_one_and_two_and_three_threads_give_the_same_bits(work: Callable[[], Result]) -> None:
    cpu.set_threads(1)
    alone = work()
    for threads in (2, 3):
        cpu.set_threads(threads)
        for one, many in zip(alone, work(), strict=True):
            np.testing.assert_array_equal(many, one)
