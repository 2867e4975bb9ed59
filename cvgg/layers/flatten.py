"""Flatten: several axes become one; the memory is the bottom's."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape, canonical_axis, count


class Flatten(Layer):
    """The axes from `axis` to `end_axis`, both included, become one."""

    type = "Flatten"
    fields: ClassVar = {"flatten_param": frozenset({"axis", "end_axis"})}
    shares_data = True
    shares_diff = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param, shape = spec.flatten_param, bottoms[0]
        first = canonical_axis(param.axis, len(shape))
        last = canonical_axis(param.end_axis, len(shape), field="end_axis")
        if first > last:
            raise ShapeError(f"end_axis {last} lies before axis {first}", field="end_axis")
        self.couples_images = first == 0
        self.tops = [(*shape[:first], count(shape[first : last + 1]), *shape[last + 1 :])]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        """Nothing: the top's data is the bottom's."""

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        """Nothing: the top's diff is the bottom's."""
