"""Split: one blob for several readers; their diffs add up."""

from collections.abc import Sequence

from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape


class Split(Layer):
    """Every top is the bottom's data and has a diff of its own, unless no gradient comes there."""

    type = "Split"
    top_count = (1, None)
    layout = "any"
    kernels = ("split_backward",)
    shares_data = True

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self.tops = [bottoms[0]] * len(spec.top)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        """Nothing: the tops' data is the bottom's."""

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if propagate_down[0]:
            diffs = [each.diff for each in top if each.diff is not None]
            kernels.split_backward(diffs, bottom[0].diff)
