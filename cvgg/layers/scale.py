"""Scale: a factor and perhaps a bias for each place along some axes, learned or from a bottom."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg import fillers
from cvgg.blob import Blob
from cvgg.errors import LayerError, ShapeError
from cvgg.kernels.interface import Array, Kernels
from cvgg.layers.axes import around, by_axis, shaped
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import FillerParameter, LayerParameter, ScaleParameter
from cvgg.netdef.params import param_defs
from cvgg.netdef.shapes import Shape, canonical_axis, describe


class Scale(Layer):
    """y = g x + b, g and b repeated over the other axes.

    One bottom: g is a param of the shape of `num_axes` axes of x from `axis` on (-1: all the rest).
    Two bottoms: g is the second. b, with bias_term, is a param of g's shape.
    Source: Caffe scale_layer.cpp.
    """

    type = "Scale"
    fields: ClassVar = {
        "scale_param": frozenset({"axis", "num_axes", "filler", "bias_term", "bias_filler"})
    }
    bottom_count = (1, 2)
    kernels = ("scale_forward", "scale_backward_data", "scale_backward_weights", "fill")

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param = spec.scale_param
        self._learned = len(bottoms) == 1
        axis, shape = _of_param(param, bottoms[0]) if self._learned else _of_bottom(param, bottoms)
        self._form = around(bottoms[0], axis, axis + len(shape))
        self.layout = by_axis(axis) if len(shape) == 1 else "rows"
        self.couples_images = self._learned and axis == 0 and len(shape) > 0
        self.tops = [bottoms[0]]
        blobs = []
        if self._learned:
            filler = param.filler if param.HasField("filler") else FillerParameter(value=1)
            blobs.append(fillers.checked(filler, shape, "filler"))
        if param.bias_term:
            blobs.append(fillers.checked(param.bias_filler, shape, "bias_filler"))
        self.params = param_defs(spec, blobs)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        factor, bias = self._factor(bottom, own), self._bias(own)
        kernels.scale_forward(
            shaped(bottom[0].data, *self._form),
            self._flat(factor.data),
            None if bias is None else self._flat(bias.data),
            shaped(top[0].data, *self._form),
        )

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        factor, bias = self._factor(bottom, own), self._bias(own)
        dy = shaped(top[0].diff, *self._form)
        dg, db = factor.diff, None if bias is None else bias.diff
        if not self._learned:
            dg = dg if propagate_down[1] else None
            if dg is not None:
                kernels.fill(dg, value=0.0)  # a bottom's diff is assigned, the kernel adds
        if dg is not None or db is not None:
            kernels.scale_backward_weights(
                shaped(bottom[0].data, *self._form),
                dy,
                None if dg is None else self._flat(dg),
                None if db is None else self._flat(db),
            )
        if propagate_down[0]:
            dx = shaped(bottom[0].diff, *self._form)
            kernels.scale_backward_data(self._flat(factor.data), dy, dx)

    def _factor(self, bottom: Blobs, own: Own) -> Blob:
        return own.params[0] if self._learned else bottom[1]

    def _bias(self, own: Own) -> Blob | None:
        place = 1 if self._learned else 0
        return own.params[place] if len(own.params) > place else None

    def _flat(self, array: Array) -> Array:
        return shaped(array, self._form[1])


def _of_param(param: ScaleParameter, bottom: Shape) -> tuple[int, Shape]:
    """First axis and shape of a learned factor."""
    axis = canonical_axis(param.axis, len(bottom))
    if param.num_axes < -1:
        raise LayerError(f"num_axes must be -1 or more, is {param.num_axes}", field="num_axes")
    stop = len(bottom) if param.num_axes == -1 else axis + param.num_axes
    if stop > len(bottom):
        raise ShapeError(
            f"axis {axis} and num_axes {param.num_axes} go beyond the bottom's shape "
            f"{describe(bottom)}",
            field="num_axes",
        )
    return axis, bottom[axis:stop]


def _of_bottom(param: ScaleParameter, bottoms: Sequence[Shape]) -> tuple[int, Shape]:
    """First axis and shape of a factor that is the second bottom."""
    for field in ("filler", "num_axes"):
        if param.HasField(field):
            raise LayerError(f"{field} has no effect where a second bottom scales", field=field)
    shape, factor = bottoms
    axis = canonical_axis(param.axis, len(shape)) if factor else 0
    if shape[axis : axis + len(factor)] != factor:
        raise ShapeError(
            f"the second bottom's shape {describe(factor)} must be that of the first, "
            f"{describe(shape)}, from axis {axis} on",
            field="bottom",
        )
    return axis, factor
