"""InnerProduct: the fully connected layer."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg import fillers
from cvgg.errors import LayerError
from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import shaped
from cvgg.layers.base import Blobs, Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.params import param_defs
from cvgg.netdef.shapes import Shape, canonical_axis, count


class InnerProduct(Layer):
    """y = x w^T + b. The axes of x from `axis` on are one row of c numbers, those before it stay.

    w (num_output, c), or (c, num_output) with `transpose`  b (num_output).
    """

    type = "InnerProduct"
    fields: ClassVar = {
        "inner_product_param": frozenset(
            {"num_output", "bias_term", "weight_filler", "bias_filler", "axis", "transpose"}
        )
    }
    kernels = ("fc_workspace", "fc_forward", "fc_backward_data", "fc_backward_weights")

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param, shape = spec.inner_product_param, bottoms[0]
        if param.num_output < 1:
            raise LayerError("num_output must be above 0", field="num_output")
        axis = canonical_axis(param.axis, len(shape))
        self._rows, self._c = count(shape[:axis]), count(shape[axis:])
        self._k, self._transpose = param.num_output, param.transpose
        self.couples_images = axis == 0
        self.tops = [(*shape[:axis], self._k)]
        weights = (self._c, self._k) if self._transpose else (self._k, self._c)
        blobs = [fillers.checked(param.weight_filler, weights, "weight_filler")]
        if param.bias_term:
            blobs.append(fillers.checked(param.bias_filler, (self._k,), "bias_filler"))
        self.params = param_defs(spec, blobs)

    def workspace(self, kernels: Kernels) -> int:
        return kernels.fc_workspace(self._rows, self._c, self._k)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        kernels.fc_forward(
            shaped(bottom[0].data, self._rows, self._c),
            own.params[0].data,
            own.params[1].data if len(own.params) > 1 else None,
            shaped(top[0].data, self._rows, self._k),
            transpose=self._transpose,
            workspace=own.workspace,
        )

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        x, dy = bottom[0], shaped(top[0].diff, self._rows, self._k)
        weight_diff = own.params[0].diff
        bias_diff = own.params[1].diff if len(own.params) > 1 else None
        if weight_diff is not None or bias_diff is not None:
            kernels.fc_backward_weights(
                shaped(x.data, self._rows, self._c),
                dy,
                weight_diff,
                bias_diff,
                transpose=self._transpose,
                workspace=own.workspace,
            )
        if propagate_down[0]:
            kernels.fc_backward_data(
                own.params[0].data,
                dy,
                shaped(x.diff, self._rows, self._c),
                transpose=self._transpose,
                workspace=own.workspace,
            )
