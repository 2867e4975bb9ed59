"""Dropout: in TRAIN some values become 0 and the others grow; in TEST nothing happens."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import LayerError
from cvgg.kernels.interface import Array, Kernels
from cvgg.kernels.philox import hash_name
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import TRAIN, LayerParameter
from cvgg.netdef.shapes import Shape


class Dropout(Layer):
    """y = x / (1 - ratio), or 0 with probability `ratio`; y = x in TEST.

    Which values go depends on seed, pass, layer name and place in the whole batch, so backward
    draws the same again and no mask is stored.
    """

    type = "Dropout"
    fields: ClassVar = {"dropout_param": frozenset({"dropout_ratio"})}
    layout = "any"
    kernels = ("dropout_forward", "dropout_backward", "copy")
    may_be_in_place = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self._ratio = spec.dropout_param.dropout_ratio
        if not 0 <= self._ratio < 1:
            raise LayerError(
                f"dropout_ratio must be at least 0 and below 1, is {self._ratio:g}",
                field="dropout_ratio",
            )
        self._name = hash_name(spec.name)
        self._drops = setting.phase == TRAIN
        self.tops = [bottoms[0]]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        x, y = bottom[0].data, top[0].data
        if self._drops:
            kernels.dropout_forward(x, y, own.state, layer=self._name, ratio=self._ratio)
        else:
            _copy(kernels, x, y)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        dy, dx = top[0].diff, bottom[0].diff
        if not propagate_down[0]:
            return
        if self._drops:
            kernels.dropout_backward(dy, dx, own.state, layer=self._name, ratio=self._ratio)
        else:
            _copy(kernels, dy, dx)


def _copy(kernels: Kernels, x: Array, y: Array) -> None:
    """y = x; nothing to do in place."""
    if x is not y:
        kernels.copy(x, y)
