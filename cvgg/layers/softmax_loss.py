"""SoftmaxWithLoss: the multinomial logistic loss of scores, softmax included."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import by_axis, shaped
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.layers.labels import COUNT, Divisor, scores_form
from cvgg.netdef.caffe_pb2 import LayerParameter, LossParameter
from cvgg.netdef.shapes import Shape


class SoftmaxWithLoss(Layer):
    """loss = the sum of -log(softmax(scores) at the label) over all positions / a divisor.

    Bottoms: scores, and a label for each position. Tops: the loss (scalar), and the probabilities
    if a second top is named. Positions with `ignore_label` count nothing. The divisor is the number
    of positions that count (VALID), of all (FULL), of images (BATCH_SIZE) or 1 (NONE).
    Source: Caffe softmax_loss_layer.cpp.
    """

    type = "SoftmaxWithLoss"
    fields: ClassVar = {
        "loss_param": frozenset({"ignore_label", "normalization", "normalize"}),
        "softmax_param": frozenset({"axis"}),
    }
    bottom_count = (2, 2)
    top_count = (1, 2)
    kernels = ("softmax_loss_forward", "softmax_loss_backward", "count_labels", "fill", "copy")
    loss = True
    labels = frozenset({1})
    sums_images = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param = spec.loss_param
        self._form, axis = scores_form(bottoms, spec.softmax_param.axis)
        self.layout = by_axis(axis)
        self._ignored = param.ignore_label if param.HasField("ignore_label") else None
        self._divisor = Divisor.of(
            self._form, setting, mode=_mode(param), ignore_label=self._ignored
        )
        self.ignore_label = self._divisor.ignore_label
        outer, _, inner = self._form
        self.positions_per_image = outer * inner // bottoms[0][0]
        # A cut batch adds up losses; probabilities of its passes would be added up as well.
        self.couples_images = axis == 0 or len(spec.top) > 1
        self.tops = [(), bottoms[0]][: len(spec.top)]
        self.buffers = [Buffer("prob", self._form, follows=True), COUNT]

    def count(self, images: int, ignored: int) -> float:
        return self._divisor.of_batch(images, ignored)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        outer, _, inner = self._form
        self._divisor.write(kernels, bottom[1], own)
        prob = own.buffers["prob"]
        kernels.softmax_loss_forward(
            shaped(bottom[0].data, *self._form),
            shaped(bottom[1].data, outer, inner),
            prob,
            shaped(top[0].data, 1),
            own.buffers["count"],
            ignore_label=self._ignored,
        )
        for second in top[1:]:
            kernels.copy(prob, shaped(second.data, *self._form))

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        outer, _, inner = self._form
        if propagate_down[0]:
            kernels.softmax_loss_backward(
                own.buffers["prob"],
                shaped(bottom[1].data, outer, inner),
                shaped(top[0].diff, 1),
                own.buffers["count"],
                shaped(bottom[0].diff, *self._form),
                ignore_label=self._ignored,
            )


def _mode(param: LossParameter) -> int:
    """The normalization; the old `normalize` is obeyed where no normalization is written."""
    if param.HasField("normalize") and not param.HasField("normalization"):
        return LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
    return param.normalization
