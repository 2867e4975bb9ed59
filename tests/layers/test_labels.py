"""The divisor of a sum over labels: the net writes it for a batch, else the layer for a pass."""

import numpy as np
import pytest

from cvgg.blob import Blob
from cvgg.engine import Engine
from cvgg.layers.base import Own, Setting
from cvgg.layers.labels import Divisor
from cvgg.netdef.caffe_pb2 import LossParameter


@pytest.mark.parametrize(
    ("counted", "ignore_label", "expected"), [(True, 2, 77), (False, 2, 4), (False, None, 6)]
)
def test_the_layer_counts_only_what_the_net_has_not_counted(
    *, counted: bool, ignore_label: int | None, expected: float, engine: Engine
) -> None:
    label = engine.empty((3, 1, 2))
    engine.copy_in(label, np.array([0, 2, 1, 2, 3, 0], np.float32).reshape(3, 1, 2))
    count, nothing = engine.empty((1,)), engine.empty((0,))
    engine.copy_in(count, np.array([77], np.float32))
    divisor = Divisor.of((3, 4, 2), Setting(), mode=LossParameter.VALID, ignore_label=ignore_label)
    own = Own([], {"count": count}, nothing, nothing, counted=counted)
    divisor.write(engine.kernels, Blob("label", (3, 1, 2), label), own)
    assert engine.copy_out(count)[0] == expected
