"""Convolution in two dimensions, with groups and dilation."""

from collections.abc import Sequence
from typing import ClassVar, TypedDict

from cvgg import fillers
from cvgg.blob import Blob
from cvgg.errors import LayerError, ShapeError
from cvgg.kernels.interface import Array, Kernels
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import ConvolutionParameter, LayerParameter
from cvgg.netdef.params import param_defs
from cvgg.netdef.shapes import Pair, Shape, Window, canonical_axis, describe


class Numbers(TypedDict):
    """What the conv kernels want beside arrays."""

    stride: Pair
    pad: Pair
    dilation: Pair
    group: int


class Convolution(Layer):
    """y = cross-correlation of x with w, plus b; several bottoms go through the same w and b.

    x (n,c,h,w)  w (num_output, c/group, r, s)  b (num_output)  y (n, num_output, p, q), p and q
    rounded down.
    """

    type = "Convolution"
    fields: ClassVar = {
        "convolution_param": frozenset(
            {
                "num_output", "bias_term", "pad", "kernel_size", "stride", "dilation", "pad_h",
                "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w", "group", "weight_filler",
                "bias_filler", "axis",
            }
        )
    }  # fmt: skip
    bottom_count = (1, None)
    top_count = (1, None)
    layout = "images"
    kernels = ("conv_workspace", "conv_forward", "conv_backward_data", "conv_backward_weights")

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param = spec.convolution_param
        self.input = _input(spec, bottoms)
        n, c, h, w = self.input
        _check_channels(param, c)
        window = Window.of_convolution(param)
        self.weights: Shape = (param.num_output, c // param.group, *window.size)
        self.numbers = Numbers(
            stride=window.stride, pad=window.pad, dilation=window.dilation, group=param.group
        )
        self.tops = [(n, param.num_output, *window.conv_out((h, w)))] * len(bottoms)
        blobs = [fillers.checked(param.weight_filler, self.weights, "weight_filler")]
        if param.bias_term:
            blobs.append(fillers.checked(param.bias_filler, (param.num_output,), "bias_filler"))
        self.params = param_defs(spec, blobs)

    def workspace(self, kernels: Kernels) -> int:
        return kernels.conv_workspace(self.input, self.weights, **self.numbers)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        for x, y in zip(bottom, top, strict=True):
            kernels.conv_forward(
                x.data,
                own.params[0].data,
                bias(own.params),
                y.data,
                **self.numbers,
                workspace=own.workspace,
            )

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        for y, down, x in zip(top, propagate_down, bottom, strict=True):
            self.backward_from(kernels, y.diff, x, own, bias_diff(own.params), down=down)

    def backward_from(
        self, kernels: Kernels, dy: Array, x: Blob, own: Own, db: Array | None, *, down: bool
    ) -> None:
        """One bottom's part of backward; db None: the bias has its gradient, or wants none."""
        dw = own.params[0].diff
        if dw is not None or db is not None:
            kernels.conv_backward_weights(
                x.data, dy, dw, db, **self.numbers, workspace=own.workspace
            )
        if down:
            kernels.conv_backward_data(
                own.params[0].data, dy, x.diff, **self.numbers, workspace=own.workspace
            )


def bias(params: Sequence[Blob]) -> Array | None:
    """The values of the second param, if there is one."""
    return params[1].data if len(params) > 1 else None


def bias_diff(params: Sequence[Blob]) -> Array | None:
    """The diff of the second param, if there is one and it learns."""
    return params[1].diff if len(params) > 1 else None


def _input(spec: LayerParameter, bottoms: Sequence[Shape]) -> Shape:
    """The one shape of all bottoms. Raises ShapeError."""
    shape = bottoms[0]
    if len(shape) != 4:
        raise ShapeError(
            f"a bottom must have 4 axes (images, channels, height, width), has {describe(shape)}",
            field="bottom",
        )
    if canonical_axis(spec.convolution_param.axis, 4) != 1:
        raise ShapeError("the channels must be on axis 1: only 2-D is supported", field="axis")
    if len(spec.top) != len(bottoms):
        raise ShapeError(f"{len(bottoms)} bottoms need as many tops, not {len(spec.top)}")
    for other in bottoms[1:]:
        if other != shape:
            raise ShapeError(
                f"all bottoms go through the same weights, so their shapes must be equal; they are "
                f"{describe(shape)} and {describe(other)}",
                field="bottom",
            )
    return shape


def _check_channels(param: ConvolutionParameter, channels: int) -> None:
    """num_output is there, and group divides it and the input's channels."""
    if param.num_output < 1:
        raise LayerError("num_output must be above 0", field="num_output")
    group = param.group
    if group < 1 or channels % group or param.num_output % group:
        raise ShapeError(
            f"group {group} must divide input channels {channels} and num_output "
            f"{param.num_output}",
            field="group",
        )
