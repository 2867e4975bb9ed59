"""Input: blobs that the user fills before each pass."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape, count, describe


class Input(Layer):
    """One shape for all tops, or one for each; net.reshape(blob=shape) overrules it."""

    type = "Input"
    fields: ClassVar = {"input_param": frozenset({"shape"})}
    bottom_count = (0, 0)
    top_count = (1, None)
    layout = "any"
    has_backward = False

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        written = [tuple(shape.dim) for shape in spec.input_param.shape]
        names = list(spec.top)
        if len(written) == 1:
            written *= len(names)
        shapes: list[Shape] = []
        for i, name in enumerate(names):
            shape = setting.inputs.get(name)
            if shape is None and len(written) != len(names):
                raise ShapeError(
                    f"{len(written)} shapes for {len(names)} tops; write one shape, or one for "
                    "each top",
                    field="shape",
                )
            shapes.append(checked(written[i] if shape is None else shape, name))
        self.tops = tuple(shapes)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        """Nothing: the user has filled the tops."""


def checked(shape: Sequence[int], top: str) -> Shape:
    """The shape of `top`. Raises ShapeError if a length is below 1 or the blob too large."""
    if any(length < 1 for length in shape):
        raise ShapeError(
            f"top {top!r} has shape {describe(shape)}; every length must be above 0", field="shape"
        )
    count(shape)
    return tuple(shape)
