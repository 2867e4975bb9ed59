"""check_gradient finds wrong gradients, and OneLayer refuses what it cannot run."""

from collections.abc import Sequence

import numpy as np
import pytest

import cvgg
from cvgg import layers
from cvgg.engine import Engine
from cvgg.errors import UsageError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import FillerParameter, LayerParameter
from cvgg.netdef.params import param_defs
from cvgg.netdef.shapes import Shape
from cvgg.testing import OneLayer, check_gradient

TEXT = 'layer { name: "l" type: "Doubled" bottom: "x" top: "y" }'
X = np.random.default_rng(26).normal(size=(2, 3))


class Doubled(Layer):
    """y = 2 x, with a factor on the gradients, and a param that has no effect."""

    type = "Doubled"
    factor = 2.0
    assigns = True
    param_diff = 0.0

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self.tops = [bottoms[0]]
        self.params = param_defs(spec, [((4,), FillerParameter())])

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.eltwise_sum_forward([bottom[0].data] * 2, top[0].data, coeff=[1, 1])

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if self.assigns:
            kernels.eltwise_sum_backward(top[0].diff, bottom[0].diff, coeff=self.factor)
        if self.param_diff:
            kernels.fill(own.params[0].diff, value=self.param_diff)


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> type[Doubled]:
    kind = type("Kind", (Doubled,), {})
    monkeypatch.setitem(layers.TYPES, "Doubled", kind)  # type: ignore[arg-type]
    return kind


def test_it_accepts_right_gradients(doubled: type[Doubled], engine: Engine) -> None:
    cvgg.check_gradient(TEXT, [X], engine=engine)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("factor", 2.01, r"bottom 0, element \(0, 0\): backward says -?\d"),
        ("factor", float("nan"), r"bottom 0, element \(0, 0\): backward says nan"),
        ("assigns", False, "bottom 0"),
        ("param_diff", 1.5, r"param 0, element \(0,\): backward says 0.5"),
    ],
)
def test_it_finds_wrong_missing_and_assigned_gradients(
    attribute: str, value: float, words: str, doubled: type[Doubled], engine: Engine
) -> None:
    setattr(doubled, attribute, value)
    with pytest.raises(AssertionError, match=words):
        check_gradient(TEXT, [X], engine=engine)


def test_elements_near_a_kink_are_left_out(doubled: type[Doubled], engine: Engine) -> None:
    doubled.factor = 3.0
    check_gradient(TEXT, [np.array([0.49, -0.51])], engine=engine, kink=0.5)
    with pytest.raises(AssertionError, match=r"element \(1,\)"):
        check_gradient(TEXT, [np.array([0.49, -0.53])], engine=engine, kink=0.5)


@pytest.mark.parametrize(("text", "words"), [("\n", "none"), (TEXT * 2, "Doubled, Doubled")])
def test_one_layer_wants_one_layer(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"must hold one layer .* it holds {words}"):
        OneLayer(text, [X])


def test_one_layer_names_values_of_a_wrong_shape(doubled: type[Doubled]) -> None:
    with pytest.raises(UsageError, match="param 0 has shape 4, the values have 5"):
        OneLayer(TEXT, [X], params=[np.zeros(5)])
    with pytest.raises(UsageError, match="diff of top 0 has shape 2 3, the values have 3 2"):
        OneLayer(TEXT, [X]).backward([X.T])
