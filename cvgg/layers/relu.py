"""ReLU: negative values become 0, or `negative_slope` times themselves."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape


class ReLU(Layer):
    """y = x where x > 0, else negative_slope * x."""

    type = "ReLU"
    fields: ClassVar = {"relu_param": frozenset({"negative_slope"})}
    layout = "any"
    kernels = ("relu_forward", "relu_backward")

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self._slope = spec.relu_param.negative_slope
        # In place backward sees y for x: the same sign, but only with such a slope.
        self.may_be_in_place = self._slope >= 0
        self.tops = [bottoms[0]]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.relu_forward(bottom[0].data, top[0].data, negative_slope=self._slope)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        (x,), (y,) = bottom, top
        if propagate_down[0]:
            kernels.relu_backward(x.data, y.diff, x.diff, negative_slope=self._slope)
