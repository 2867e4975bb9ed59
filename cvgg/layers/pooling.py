"""Pooling: the largest value or the mean of each window."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import LayerError, ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter, PoolingParameter
from cvgg.netdef.shapes import Shape, Window, describe


class Pooling(Layer):
    """MAX keeps where each maximum was; AVE counts padding into its divisor, as Caffe does.

    x (n,c,h,w)  y (n,c,p,q), p and q rounded up unless round_mode is FLOOR.
    """

    type = "Pooling"
    fields: ClassVar = {
        "pooling_param": frozenset(
            {
                "pool", "pad", "pad_h", "pad_w", "kernel_size", "kernel_h", "kernel_w", "stride",
                "stride_h", "stride_w", "global_pooling", "round_mode",
            }
        )
    }  # fmt: skip
    layout = "images"
    kernels = ("pool_max_forward", "pool_max_backward", "pool_ave_forward", "pool_ave_backward")

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param = spec.pooling_param
        if param.pool == PoolingParameter.STOCHASTIC:
            raise LayerError("pool STOCHASTIC is not supported; use MAX or AVE", field="pool")
        if len(bottoms[0]) != 4:
            raise ShapeError(
                "the bottom must have 4 axes (images, channels, height, width), has "
                f"{describe(bottoms[0])}",
                field="bottom",
            )
        n, c, h, w = bottoms[0]
        window = Window.of_pooling(param, (h, w))
        self._windows = {"window": window.size, "stride": window.stride, "pad": window.pad}
        top = (n, c, *window.pool_out((h, w), round_mode=param.round_mode))
        self.tops = [top]
        self._max = param.pool == PoolingParameter.MAX
        if self._max:
            self.buffers = [Buffer("argmax", top, "int32", follows=True)]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        x, y = bottom[0].data, top[0].data
        if self._max:
            kernels.pool_max_forward(x, y, own.buffers["argmax"], **self._windows)
        else:
            kernels.pool_ave_forward(x, y, **self._windows)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if not propagate_down[0]:
            return
        dy, dx = top[0].diff, bottom[0].diff
        if self._max:
            kernels.pool_max_backward(dy, own.buffers["argmax"], dx, **self._windows)
        else:
            kernels.pool_ave_backward(dy, dx, **self._windows)
