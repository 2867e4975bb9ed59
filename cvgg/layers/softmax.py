"""Softmax along one axis."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import around, by_axis, shaped
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape, canonical_axis


class Softmax(Layer):
    """y = exp(x) / sum of exp(x) along `axis`."""

    type = "Softmax"
    fields: ClassVar = {"softmax_param": frozenset({"axis"})}
    kernels = ("softmax_forward", "softmax_backward")
    reads_top = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        axis = canonical_axis(spec.softmax_param.axis, len(bottoms[0]))
        self._form = around(bottoms[0], axis)
        self.layout = by_axis(axis)
        self.couples_images = axis == 0
        self.tops = [bottoms[0]]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.softmax_forward(
            shaped(bottom[0].data, *self._form), shaped(top[0].data, *self._form)
        )

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if propagate_down[0]:
            y, dy, dx = (
                shaped(array, *self._form) for array in (top[0].data, top[0].diff, bottom[0].diff)
            )
            kernels.softmax_backward(y, dy, dx)
