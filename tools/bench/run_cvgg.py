"""A net of the paper on cvgg's CPU engine, for whole.py."""

from pathlib import Path

import numpy as np
from google.protobuf import text_format
from turns import arguments, take_turns

import cvgg
from cvgg.engine import open_engine
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter
from cvgg.netdef.prototxt import read_net

PROTOTXT = Path(__file__).resolve().parents[2] / "prototxt"


def net_of(name: str, batch: int, *, train: bool) -> NetParameter:
    """The middle of a net of the paper between images of the host's memory and, to train, a loss;
    dropout stays, as torch's does."""
    message = read_net(PROTOTXT / f"deploy_{name}.prototxt").message
    shapes = f"shape {{ dim: {batch} dim: 3 dim: 224 dim: 224 }}"
    tops = 'top: "data"'
    if train:
        shapes, tops = f"{shapes} shape {{ dim: {batch} }}", f'{tops} top: "label"'
    source = f'name: "data" type: "Input" {tops} input_param {{ {shapes} }}'
    layers = [text_format.Parse(source, LayerParameter()), *message.layer[1:-1]]
    if train:
        loss = 'name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss"'
        layers.append(text_format.Parse(loss, LayerParameter()))
    for layer in layers:
        for param in (layer.convolution_param, layer.inner_product_param):
            if param.num_output:
                param.weight_filler.type = "xavier"
    return NetParameter(name=message.name, layer=layers)


def main() -> None:
    said = arguments().parse_args()
    train = said.work == "forward+backward"
    net = cvgg.Net(
        net_of(said.net, said.batch, train=train),
        phase=TRAIN if train else TEST,
        engine=open_engine("cpu", threads=said.threads),
        backward=train,
        keep=False,
        seed=1,
    )
    random = np.random.default_rng(1)
    inputs = {"data": random.standard_normal((said.batch, 3, 224, 224), np.float32)}
    if train:
        inputs["label"] = random.integers(0, 1000, said.batch).astype(np.float32)

    def work() -> None:
        net.clear_param_diffs()
        net.forward(**inputs)
        if train:
            net.backward()

    take_turns(work)


if __name__ == "__main__":
    main()
