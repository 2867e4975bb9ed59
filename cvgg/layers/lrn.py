"""LRN: each value divided by a power of the squares around it, across channels or within one."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import LayerError, ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter, LRNParameter
from cvgg.netdef.shapes import Shape, describe


class LRN(Layer):
    """y = x / scale**beta; scale is k + alpha/local_size * the sum of squares over local_size
    channels, or 1 + alpha * the mean of squares over local_size x local_size pixels.

    alpha is divided by the size, other than in the paper. Source: Krizhevsky et al. 2012, section
    3.3; Caffe lrn_layer.cpp.
    """

    type = "LRN"
    fields: ClassVar = {"lrn_param": frozenset({"local_size", "alpha", "beta", "norm_region", "k"})}
    layout = "images"
    kernels = (
        "lrn_across_forward",
        "lrn_across_backward",
        "lrn_within_forward",
        "lrn_within_backward",
    )
    reads_top = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self._param = param = spec.lrn_param
        if len(bottoms[0]) != 4:
            raise ShapeError(
                "the bottom must have 4 axes (images, channels, height, width), has "
                f"{describe(bottoms[0])}",
                field="bottom",
            )
        if param.local_size % 2 == 0:
            raise LayerError(
                f"local_size must be odd, so that it has a centre, is {param.local_size}",
                field="local_size",
            )
        self._across = param.norm_region == LRNParameter.ACROSS_CHANNELS
        if not self._across and param.HasField("k") and param.k != 1:
            raise LayerError(
                f"k is always 1 WITHIN_CHANNEL (Caffe ignores it there), not {param.k:g}", field="k"
            )
        self.tops = [bottoms[0]]
        self.buffers = [Buffer("scale", bottoms[0], follows=True)]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        param, x, y, scale = self._param, bottom[0].data, top[0].data, own.buffers["scale"]
        size, alpha, beta = param.local_size, param.alpha, param.beta
        if self._across:
            kernels.lrn_across_forward(x, y, scale, size=size, alpha=alpha, beta=beta, k=param.k)
        else:
            kernels.lrn_within_forward(x, y, scale, size=size, alpha=alpha, beta=beta)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if not propagate_down[0]:
            return
        (x,), (y,), scale, param = bottom, top, own.buffers["scale"], self._param
        size, alpha, beta = param.local_size, param.alpha, param.beta
        back = kernels.lrn_across_backward if self._across else kernels.lrn_within_backward
        back(x.data, y.data, scale, y.diff, x.diff, size=size, alpha=alpha, beta=beta)
