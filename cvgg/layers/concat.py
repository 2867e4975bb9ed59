"""Concat: bottoms side by side along one axis."""

from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar

from cvgg.errors import LayerError, ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import around, by_axis, shaped
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import ConcatParameter, LayerParameter
from cvgg.netdef.shapes import Shape, canonical_axis, describe


class Concat(Layer):
    """The other axes of all bottoms are equal. `concat_dim` is the old name of `axis`."""

    type = "Concat"
    fields: ClassVar = {"concat_param": frozenset({"axis", "concat_dim"})}
    bottom_count = (1, None)
    kernels = ("concat_forward", "concat_backward")

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        first = bottoms[0]
        axis = _axis(spec.concat_param, len(first))
        for i, shape in enumerate(bottoms):
            if len(shape) != len(first) or _others(shape, axis) != _others(first, axis):
                raise ShapeError(
                    f"all axes but axis {axis} must be equal; bottom {spec.bottom[0]!r} has shape "
                    f"{describe(first)}, bottom {spec.bottom[i]!r} has {describe(shape)}",
                    field="bottom",
                )
        self.layout = by_axis(axis)
        self.couples_images = axis == 0
        self.tops = [(*first[:axis], sum(s[axis] for s in bottoms), *first[axis + 1 :])]
        self._parts = [around(shape, axis) for shape in bottoms]
        self._whole = around(self.tops[0], axis)
        self._at = list(accumulate((shape[axis] for shape in bottoms), initial=0))

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        whole = shaped(top[0].data, *self._whole)
        for part, form, at in zip(bottom, self._parts, self._at, strict=False):
            kernels.concat_forward(shaped(part.data, *form), whole, at=at)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        whole = shaped(top[0].diff, *self._whole)
        for i, part in enumerate(bottom):
            if propagate_down[i]:
                diff = shaped(part.diff, *self._parts[i])
                kernels.concat_backward(whole, diff, at=self._at[i])


def _axis(param: ConcatParameter, ndim: int) -> int:
    if not param.HasField("concat_dim"):
        return canonical_axis(param.axis, ndim)
    if param.HasField("axis"):
        raise LayerError("write axis or concat_dim, not both", field="concat_dim")
    return canonical_axis(param.concat_dim, ndim, field="concat_dim")


def _others(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]
