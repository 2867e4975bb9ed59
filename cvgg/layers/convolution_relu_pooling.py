"""Convolution, ReLU and max-pooling over 2 x 2 windows as one layer: the convolution's result is
never written, each window keeps 2 bits of where its maximum was."""

from collections.abc import Sequence
from typing import Any

from cvgg.kernels.interface import FusedKernels
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.layers.convolution import Convolution, bias, bias_diff
from cvgg.netdef.caffe_pb2 import LayerParameter, PoolingParameter
from cvgg.netdef.shapes import Shape, Window


class ConvolutionReLUPooling(Layer):
    """y = max over 2 x 2 windows of relu(conv(x)); params are the convolution's."""

    type = "Convolution+ReLU+Pooling"
    layout = "images"
    kernels = (*Convolution.kernels, "conv_relu_pool_forward", "relu_pool_bias_backward")

    def __init__(
        self, specs: Sequence[LayerParameter], bottoms: Sequence[Shape], setting: Setting
    ) -> None:
        self._convolution = inner = Convolution(specs[0], bottoms, setting)
        n, k, p, q = inner.tops[0]
        self.tops, self.params = [(n, k, p // 2, q // 2)], inner.params
        self.buffers = [
            Buffer("argmax", (n, p // 2, q // 2, (k + 3) // 4), "uint8"),
            Buffer("diff", inner.tops[0], follows=True, backward=True),
        ]

    @staticmethod
    def fits(specs: Sequence[LayerParameter], layers: Sequence[Layer], kernels: Any) -> bool:
        """The windows cover the plane without a rest, ReLU leaves nothing below 0, and the backend
        does such convolutions."""
        (_, relu, pooling), convolution = specs, layers[0]
        assert isinstance(convolution, Convolution)
        pool, (_, _, p, q) = pooling.pooling_param, convolution.tops[0]
        window = Window.of_pooling(pool, (p, q))
        fused: FusedKernels = kernels
        return (
            pool.pool == PoolingParameter.MAX
            and (window.size, window.stride, window.pad) == ((2, 2), (2, 2), (0, 0))
            and p % 2 == q % 2 == 0
            and relu.relu_param.negative_slope == 0
            and fused.conv_relu_pool_fits(
                convolution.input, convolution.weights, **convolution.numbers
            )
        )

    def workspace(self, kernels: Any) -> int:
        return self._convolution.workspace(kernels)

    def forward(self, kernels: Any, bottom: Blobs, top: Blobs, own: Own) -> None:
        fused: FusedKernels = kernels
        fused.conv_relu_pool_forward(
            bottom[0].data,
            own.params[0].data,
            bias(own.params),
            top[0].data,
            own.buffers["argmax"],
            **self._convolution.numbers,
            workspace=own.workspace,
        )

    def backward(
        self, kernels: Any, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        (y,), (x,), (down,) = top, bottom, propagate_down
        fused: FusedKernels = kernels
        diff, argmax, db = own.buffers["diff"], own.buffers["argmax"], bias_diff(own.params)
        fused.relu_pool_bias_backward(y.data, argmax, y.diff, diff, db)
        self._convolution.backward_from(kernels, diff, x, own, None, down=down)
