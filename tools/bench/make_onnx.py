"""Writes a net of the paper as ONNX, with random weights: what run_onnx.py and run_opencv.py read.
Dropout is left out: it does nothing forward."""

import argparse
import math

import numpy as np
import vgg
from onnx import ModelProto, NodeProto, TensorProto, helper, save

OPSET = 13  # older than all readers


class Writer:
    """Nodes in order, each fed by the one before."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.last = "data"
        self._random = np.random.default_rng(1)

    def node(self, kind: str, *shapes: tuple[int, ...], **attributes: object) -> None:
        """A node and its params of these shapes."""
        name = f"{kind}{len(self.nodes)}"
        params = [self._param(f"{name}_{i}", shape) for i, shape in enumerate(shapes)]
        self.nodes.append(helper.make_node(kind, [self.last, *params], [name], name, **attributes))
        self.last = name

    def _param(self, name: str, shape: tuple[int, ...]) -> str:
        scale = math.sqrt(2 / math.prod(shape[1:])) if shape[1:] else 0.01
        values = scale * self._random.standard_normal(shape, np.float32)
        data = values.astype("<f4").tobytes()
        self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, shape, data, raw=True))
        return name


def model_of(net: str, batch: int) -> ModelProto:
    """data (batch,3,224,224) to scores (batch,1000)."""
    writer = Writer()
    for block in vgg.blocks(net):
        for inside, outside, window in block:
            shape = (outside, inside, window, window)
            pads = [window // 2] * 4
            writer.node("Conv", shape, (outside,), kernel_shape=[window] * 2, pads=pads)
            writer.node("Relu")
        writer.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    writer.node("Flatten")
    for i, (inside, outside) in enumerate(vgg.FULL):
        writer.node("Gemm", (outside, inside), (outside,), transB=1)
        if i < len(vgg.FULL) - 1:
            writer.node("Relu")
    value = helper.make_tensor_value_info
    data = value("data", TensorProto.FLOAT, (batch, *vgg.IMAGE))
    scores = value(writer.last, TensorProto.FLOAT, (batch, vgg.FULL[-1][1]))
    graph = helper.make_graph(writer.nodes, f"VGG-{net}", [data], [scores], writer.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=vgg.LAYERS, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--out", required=True)
    said = parser.parse_args()
    save(model_of(said.net, said.batch), said.out)


if __name__ == "__main__":
    main()
