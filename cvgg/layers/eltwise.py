"""Eltwise: sum, product or maximum of bottoms of one shape, element by element."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.errors import LayerError, ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Buffer, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import EltwiseParameter, LayerParameter
from cvgg.netdef.shapes import Shape, describe


class Eltwise(Layer):
    """SUM takes a `coeff` for each bottom, 1 by default. MAX keeps which bottom won.

    The product's gradient is computed without a division, as with stable_prod_grad: true; that
    field is accepted either way.
    """

    type = "Eltwise"
    fields: ClassVar = {"eltwise_param": frozenset({"operation", "coeff", "stable_prod_grad"})}
    bottom_count = (2, None)
    layout = "any"
    kernels = (
        "eltwise_sum_forward",
        "eltwise_sum_backward",
        "eltwise_prod_forward",
        "eltwise_prod_backward",
        "eltwise_max_forward",
        "eltwise_max_backward",
    )

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param = spec.eltwise_param
        for name, shape in zip(spec.bottom, bottoms, strict=True):
            if shape != bottoms[0]:
                raise ShapeError(
                    f"all bottoms must have one shape; {spec.bottom[0]!r} has "
                    f"{describe(bottoms[0])}, {name!r} has {describe(shape)}",
                    field="bottom",
                )
        self._coeff = _coefficients(param, len(bottoms))
        self.tops = [bottoms[0]]
        self._forward, self._backward = {
            EltwiseParameter.SUM: (self._sum, self._sum_back),
            EltwiseParameter.PROD: (self._product, self._product_back),
            EltwiseParameter.MAX: (self._maximum, self._maximum_back),
        }[param.operation]
        if param.operation == EltwiseParameter.MAX:
            self.buffers = [Buffer("argmax", bottoms[0], "int32", follows=True)]

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        self._forward(kernels, bottom, top, own)

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        for index, down in enumerate(propagate_down):
            if down:
                self._backward(kernels, top, index, bottom, own)

    def _sum(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.eltwise_sum_forward([x.data for x in bottom], top[0].data, coeff=self._coeff)

    def _sum_back(self, kernels: Kernels, top: Blobs, index: int, bottom: Blobs, own: Own) -> None:
        coeff = self._coeff[index]
        kernels.eltwise_sum_backward(top[0].diff, bottom[index].diff, coeff=coeff)

    def _product(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.eltwise_prod_forward([x.data for x in bottom], top[0].data)

    def _product_back(
        self, kernels: Kernels, top: Blobs, index: int, bottom: Blobs, own: Own
    ) -> None:
        xs = [x.data for x in bottom]
        kernels.eltwise_prod_backward(xs, top[0].diff, bottom[index].diff, index=index)

    def _maximum(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        xs = [x.data for x in bottom]
        kernels.eltwise_max_forward(xs, top[0].data, own.buffers["argmax"])

    def _maximum_back(
        self, kernels: Kernels, top: Blobs, index: int, bottom: Blobs, own: Own
    ) -> None:
        argmax = own.buffers["argmax"]
        kernels.eltwise_max_backward(top[0].diff, argmax, bottom[index].diff, index=index)


def _coefficients(param: EltwiseParameter, bottoms: int) -> list[float]:
    """One for each bottom. Raises LayerError."""
    written = list(param.coeff)
    if written and param.operation != EltwiseParameter.SUM:
        raise LayerError("coeff is for operation SUM only", field="coeff")
    if len(written) not in (0, bottoms):
        raise LayerError(
            f"{len(written)} coeff for {bottoms} bottoms; write one for each or none", field="coeff"
        )
    return written or [1.0] * bottoms
