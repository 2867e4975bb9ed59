"""BatchNorm: each channel to mean 0 and variance 1. It learns nothing: Scale does that."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from cvgg.errors import LayerError
from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import around, shaped
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import TEST, FillerParameter, LayerParameter
from cvgg.netdef.params import param_defs
from cvgg.netdef.shapes import Shape


class BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps), by channel (axis 1).

    Params: running sums of the mean (c), of the variance (c), and the factor (1) that both are
    divided by. In TRAIN the statistics are the batch's and the sums are updated in forward; in
    TEST, or with use_global_stats, they are the running ones. Source: Caffe batch_norm_layer.cpp.
    """

    type = "BatchNorm"
    fields: ClassVar = {
        "batch_norm_param": frozenset({"use_global_stats", "moving_average_fraction", "eps"})
    }
    layout = "any"
    kernels = (
        "batch_norm_train_forward",
        "batch_norm_train_backward",
        "batch_norm_test_forward",
        "batch_norm_test_backward",
    )

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param, shape = spec.batch_norm_param, bottoms[0]
        self._fraction, self._eps = param.moving_average_fraction, param.eps
        written = param.HasField("use_global_stats")
        self._global = param.use_global_stats if written else setting.phase == TEST
        self._form = around(shape, 1)  # of one axis only: one channel
        channels = self._form[1]
        self.couples_images = self.reads_top = not self._global
        self.tops = [shape]
        zero = FillerParameter()
        params = param_defs(spec, [((channels,), zero), ((channels,), zero), ((1,), zero)])
        if any(each.lr_mult for each in spec.param):
            raise LayerError(
                "the statistics are not learned; write lr_mult: 0 in each param block, or none",
                field="param",
            )
        self.params = [replace(each, lr_mult=0.0, decay_mult=0.0) for each in params]
        self.buffers = [Buffer("batch_mean", (channels,)), Buffer("batch_std", (channels,))]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        arrays = (
            shaped(bottom[0].data, *self._form),
            shaped(top[0].data, *self._form),
            own.buffers["batch_mean"],
            own.buffers["batch_std"],
            *(param.data for param in own.params),
        )
        if self._global:
            kernels.batch_norm_test_forward(*arrays, eps=self._eps)
        else:
            kernels.batch_norm_train_forward(*arrays, fraction=self._fraction, eps=self._eps)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if not propagate_down[0]:
            return
        std = own.buffers["batch_std"]
        dy, dx = shaped(top[0].diff, *self._form), shaped(bottom[0].diff, *self._form)
        if self._global:
            kernels.batch_norm_test_backward(std, dy, dx)
        else:
            kernels.batch_norm_train_backward(shaped(top[0].data, *self._form), std, dy, dx)
