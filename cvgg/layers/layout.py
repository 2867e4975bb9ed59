"""Layout: the same blob with its axes in another order of memory; what the plan puts between layers
that want different orders."""

from collections.abc import Sequence

from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Layer, Own
from cvgg.netdef.shapes import Shape


class Layout(Layer):
    """top = bottom; the arrays say in which order they lie."""

    type = "Layout"
    kernels = ("convert",)

    def __init__(self, shape: Shape) -> None:
        self.tops = [shape]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.convert(bottom[0].data, top[0].data)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        if propagate_down[0]:
            kernels.convert(top[0].diff, bottom[0].diff)
