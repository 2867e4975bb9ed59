"""Accuracy: the share of positions whose label is among the top_k scores."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import LayerError
from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import by_axis, shaped
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.layers.labels import COUNT, Divisor, scores_form
from cvgg.netdef.caffe_pb2 import LayerParameter, LossParameter
from cvgg.netdef.shapes import Shape


class Accuracy(Layer):
    """Bottoms: scores, and a label for each position. Tops: the share over all positions (scalar),
    and that of each class (c) if a second top is named.

    A score that equals the label's counts as better. Positions with `ignore_label` do not count.
    Source: Caffe accuracy_layer.cpp.
    """

    type = "Accuracy"
    fields: ClassVar = {"accuracy_param": frozenset({"top_k", "axis", "ignore_label"})}
    bottom_count = (2, 2)
    top_count = (1, 2)
    kernels = ("accuracy_forward", "accuracy_per_class_forward", "count_labels", "fill")
    has_backward = False
    labels = frozenset({1})
    sums_images = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param = spec.accuracy_param
        self._form, axis = scores_form(bottoms, param.axis)
        self._top_k, classes = param.top_k, self._form[1]
        if not 1 <= self._top_k <= classes:
            raise LayerError(
                f"top_k must be from 1 to the number of classes {classes}, is {self._top_k}",
                field="top_k",
            )
        self.layout = by_axis(axis)
        self._ignored = param.ignore_label if param.HasField("ignore_label") else None
        self._divisor = Divisor.of(
            self._form, setting, mode=LossParameter.VALID, ignore_label=self._ignored
        )
        self.ignore_label = self._ignored
        outer, _, inner = self._form
        self.positions_per_image = outer * inner // bottoms[0][0]
        # Shares of a class over the passes of a cut batch do not add up.
        self.couples_images = axis == 0 or len(spec.top) > 1
        self.tops = [(), (classes,)][: len(spec.top)]
        self.buffers = [COUNT]

    def count(self, images: int, ignored: int) -> float:
        return self._divisor.of_batch(images, ignored)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        outer, _, inner = self._form
        self._divisor.write(kernels, bottom[1], own)
        scores = shaped(bottom[0].data, *self._form)
        labels = shaped(bottom[1].data, outer, inner)
        kernels.accuracy_forward(
            scores,
            labels,
            shaped(top[0].data, 1),
            own.buffers["count"],
            top_k=self._top_k,
            ignore_label=self._ignored,
        )
        for second in top[1:]:
            kernels.accuracy_per_class_forward(
                scores, labels, second.data, top_k=self._top_k, ignore_label=self._ignored
            )
