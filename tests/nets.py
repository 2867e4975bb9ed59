"""Small nets for the tests of plan, net and solver."""

from cvgg.engine.base import Traits
from cvgg.kernels import cpu
from cvgg.layers import infer
from cvgg.layers.base import Setting
from cvgg.netdef.graph import build
from cvgg.netdef.prototxt import read_net
from cvgg.plan import Plan, plan

TRAIN, TEST = 0, 1
FUSING = frozenset({("Convolution", "ReLU")})


def dummy_data(batch: int, *, channels: int = 2, side: int = 6, classes: int = 3) -> str:
    """Gaussian images that differ from pass to pass, all of the class before the last."""
    return f"""
    layer {{ name: "data" type: "DummyData" top: "data" top: "label"
      dummy_data_param {{
        shape {{ dim: {batch} dim: {channels} dim: {side} dim: {side} }} shape {{ dim: {batch} }}
        data_filler {{ type: "gaussian" std: 1 }}
        data_filler {{ type: "constant" value: {classes - 2} }} }} }}
    """


def images(batch: int, *, channels: int = 2, side: int = 6) -> str:
    """Input blobs data and label."""
    return f"""
    layer {{ name: "in" type: "Input" top: "data" top: "label" input_param {{
      shape {{ dim: {batch} dim: {channels} dim: {side} dim: {side} }}
      shape {{ dim: {batch} }} }} }}
    """


def conv(name: str, bottom: str, outputs: int, *, more: str = "") -> str:
    return f"""
    layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {more}
      convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1
        weight_filler {{ type: "gaussian" std: 0.3 }}
        bias_filler {{ type: "constant" value: 0.1 }} }} }}
    """


def relu(name: str, blob: str, top: str = "") -> str:
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{blob}" top: "{top or blob}" }}\n'


def pool(name: str, bottom: str) -> str:
    return f"""
    layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"
      pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
    """


def fc(name: str, bottom: str, outputs: int, *, more: str = "") -> str:
    return f"""
    layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {more}
      inner_product_param {{ num_output: {outputs}
        weight_filler {{ type: "gaussian" std: 0.2 }} }} }}
    """


def dropout(name: str, blob: str, ratio: float = 0.5) -> str:
    return f"""
    layer {{ name: "{name}" type: "Dropout" bottom: "{blob}" top: "{blob}"
      dropout_param {{ dropout_ratio: {ratio} }} }}
    """


def loss(bottom: str, *, more: str = "") -> str:
    return f"""
    layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{bottom}" bottom: "label"
      top: "loss" {more} }}
    """


def accuracy(bottom: str, *, more: str = "") -> str:
    return f"""
    layer {{ name: "accuracy" type: "Accuracy" bottom: "{bottom}" bottom: "label" top: "accuracy"
      include {{ phase: TEST }} {more} }}
    """


VGG = (
    conv("conv1", "data", 4)
    + relu("relu1", "conv1")
    + pool("pool1", "conv1")
    + conv("conv2", "pool1", 5)
    + relu("relu2", "conv2")
    + fc("fc3", "conv2", 7)
    + relu("relu3", "fc3")
    + dropout("drop3", "fc3")
    + fc("fc4", "fc3", 3)
)
"""The middle of a small VGG net: data (n,2,6,6) to scores fc4 (n,3)."""


def planned(
    text: str,
    *,
    phase: int = TRAIN,
    backward: bool = True,
    keep: bool = False,
    fusions: frozenset[tuple[str, ...]] = FUSING,
    images: int | None = None,
) -> Plan:
    """The plan of a net's text on a kind of CPU."""
    graph = build(read_net(text), phase=phase)
    traits = Traits("cpu", cpu, fusions=fusions)
    setting = Setting(phase, images)
    return plan(graph, infer(graph, setting), traits, setting, backward=backward, keep=keep)
