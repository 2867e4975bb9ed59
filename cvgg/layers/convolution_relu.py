"""Convolution and the ReLU behind it as one layer: what the plan puts in their place."""

from collections.abc import Sequence

from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.layers.convolution import Convolution, bias, bias_diff
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape


class ConvolutionReLU(Layer):
    """y = relu(conv(x)); params and shapes are the convolution's.

    Backward takes the sign from y and works in place on y's diff. With a negative slope below 0 y
    has lost that sign, so the convolution's result is kept.
    """

    type = "Convolution+ReLU"
    layout = "images"
    kernels = (*Convolution.kernels, "conv_relu_forward", "relu_forward", "relu_bias_backward")

    def __init__(
        self, specs: Sequence[LayerParameter], bottoms: Sequence[Shape], setting: Setting
    ) -> None:
        convolution, relu = specs
        self._convolution = inner = Convolution(convolution, bottoms, setting)
        self._slope = relu.relu_param.negative_slope
        self.tops, self.params = inner.tops, inner.params
        if self._slope < 0:
            self.buffers = [Buffer("sum", inner.tops[0], follows=True)]

    @staticmethod
    def fits(specs: Sequence[LayerParameter], layers: Sequence[Layer], kernels: Kernels) -> bool:
        """Always."""
        return True

    def workspace(self, kernels: Kernels) -> int:
        return self._convolution.workspace(kernels)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        numbers = self._convolution.numbers
        x, w, b = bottom[0].data, own.params[0].data, bias(own.params)
        kept = own.buffers.get("sum")
        if kept is None:
            kernels.conv_relu_forward(
                x,
                w,
                b,
                top[0].data,
                **numbers,
                negative_slope=self._slope,
                workspace=own.workspace,
            )
        else:
            kernels.conv_forward(x, w, b, kept, **numbers, workspace=own.workspace)
            kernels.relu_forward(kept, top[0].data, negative_slope=self._slope)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        (y,), (x,), (down,) = top, bottom, propagate_down
        sign, db = own.buffers.get("sum", y.data), bias_diff(own.params)
        kernels.relu_bias_backward(sign, y.diff, y.diff, db, negative_slope=self._slope)
        self._convolution.backward_from(kernels, y.diff, x, own, None, down=down)
