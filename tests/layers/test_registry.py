"""Which types there are, and what is said when a layer's block does not fit its type."""

import re
from types import ModuleType

import pytest

from cvgg.errors import GraphError, LayerError, ShapeError
from cvgg.layers import FUSED, KNOWN, TYPES, infer, register, relu
from cvgg.layers.base import Layer, Setting
from cvgg.layers.convolution_relu import ConvolutionReLU
from cvgg.layers.relu import ReLU
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.caffemodel import V1_TYPES
from cvgg.netdef.graph import build
from cvgg.netdef.prototxt import read_net

INPUT = """
layer { name: "in" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } shape { dim: 2 } } }
"""


def layers(text: str) -> tuple[Layer, ...]:
    graph = build(read_net(INPUT + text), phase=1)
    return infer(graph, Setting(1))


def block(type: str, more: str = "", bottoms: str = 'bottom: "x"', tops: str = 'top: "y"') -> str:
    return f'layer {{ name: "a" type: "{type}" {bottoms} {tops}\n  {more} }}'


def test_every_layer_of_vgg_alexnet_googlenet_and_resnet_is_there() -> None:
    needed = """Data Input DummyData ImageData Convolution ReLU Pooling LRN InnerProduct Dropout
      Softmax SoftmaxWithLoss Accuracy Concat Eltwise BatchNorm Scale Flatten Split"""
    assert set(needed.split()) <= set(TYPES)
    assert set(TYPES) <= KNOWN
    assert set(V1_TYPES.values()) - {"None"} <= KNOWN
    assert all(kind.type == word for word, kind in TYPES.items())


def test_what_a_layer_obeys_is_in_the_schema() -> None:
    for kind in TYPES.values():
        for group, fields in kind.fields.items():
            message = LayerParameter.DESCRIPTOR.fields_by_name[group].message_type
            assert fields <= set(message.fields_by_name), f"{kind.type}: {group}"


def test_fused_layers_are_for_the_plan_and_no_type_of_a_prototxt() -> None:
    assert FUSED["Convolution", "ReLU"] is ConvolutionReLU
    assert ConvolutionReLU.type not in TYPES
    assert {word for words in FUSED for word in words} <= set(TYPES)


def test_a_type_that_two_modules_define_is_refused() -> None:
    twin = ModuleType("twin")
    twin.Twin = type("Twin", (ReLU,), {"__module__": "twin"})  # type: ignore[attr-defined]
    assert register([relu]) == {"ReLU": ReLU}
    with pytest.raises(ImportError, match=r"layer type 'ReLU' is defined twice: .* in twin"):
        register([relu, twin])


def test_shapes_go_from_layer_to_layer_also_in_place() -> None:
    text = """
    layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
      convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
    layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
      inner_product_param { num_output: 7 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
    """
    tops = [list(layer.tops) for layer in layers(text)]
    assert tops == [[(2, 3, 6, 5), (2,)], [(2, 4, 4, 3)], [(2, 4, 4, 3)], [(2, 7)], [()]]


def test_a_layer_may_be_of_its_own_phase() -> None:
    train, test = (layers(block("BatchNorm", f"phase: {each}"))[1] for each in ("TRAIN", "TEST"))
    assert train.couples_images
    assert not test.couples_images


LOSS = block("SoftmaxWithLoss", bottoms='bottom: "x" bottom: "label"', tops="")
FILLER = 'inner_product_param { num_output: 3 weight_filler { type: "xavir" } }'
ERRORS = {
    block("Convolutoin"): """4:19: layer 'a' (Convolutoin): type 'Convolutoin' is no layer type; \
did you mean "Convolution"?\n""",
    block(
        "LSTM"
    ): "4:19: layer 'a' (LSTM): type 'LSTM' is a layer of Caffe that cvgg does not run ",
    block("ReLU", bottoms=""): "4:1: layer 'a' (ReLU): takes 1 bottom, has 0\n",
    block("Eltwise"): "layer 'a' (Eltwise): takes 2 or more bottoms, has 1: x\n",
    block("SoftmaxWithLoss"): "takes 2 bottoms, has 1: x\n",
    LOSS: "takes 1 or 2 tops, has 0\n",
    block("ReLU", tops='top: "y" top: "z"'): "4:44: layer 'a' (ReLU): takes 1 top, has 2: y, z\n",
    block("Pooling", "convolution_param { num_output: 3 }"): """5:3: layer 'a' (Pooling): \
the layer does not obey convolution_param; its settings are in pooling_param; remove it\n""",
    block("Split", "relu_param { }"): "does not obey relu_param; it has no settings; remove it\n",
    block("ReLU", "blobs { data: 1 }"): "does not obey blobs; its settings are in relu_param",
    block("ReLU", "param { lr_mult: 1 }"): """5:3: layer 'a' (ReLU): \
1 param blocks, but the layer has 0 params\n""",
    block(
        "ReLU", "loss_weight: 1 loss_weight: 0"
    ): "5:3: layer 'a' (ReLU): 2 loss_weight for 1 tops",
    block("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"): """5:34: layer 'a' (Pooling): \
pad 2 must be less than kernel_size 2
  pooling_param { kernel_size: 2 pad: 2 } }
                                 ^""",
    block("InnerProduct", FILLER): """5:55: layer 'a' (InnerProduct): \
weight_filler type 'xavir' is no filler; did you mean "xavier"?; the fillers are constant, """,
}


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_names_the_place_the_layer_and_the_rule(text: str) -> None:
    with pytest.raises((GraphError, LayerError), match=re.escape(ERRORS[text])) as info:
        layers(text)
    assert str(info.value).startswith("<text>:")


def test_a_field_that_a_layer_does_not_obey_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReLU, "fields", {"relu_param": frozenset()})
    text = block("ReLU", "relu_param { negative_slope: 1 }")
    words = re.escape("5:16: layer 'a' (ReLU): relu_param.negative_slope is not supported by cvgg")
    with pytest.raises(LayerError, match=words):
        layers(text)


def test_fields_that_choose_an_engine_are_accepted() -> None:
    text = """layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param {
      num_output: 2 kernel_size: 1 engine: CUDNN force_nd_im2col: true } }
    layer { name: "p" type: "Softmax" bottom: "y" top: "z" softmax_param { engine: CAFFE } }"""
    assert [layer.type for layer in layers(text)] == ["Input", "Convolution", "Softmax"]


def test_a_blob_of_too_many_elements_is_refused() -> None:
    text = """layer { name: "a" type: "Convolution" bottom: "x" top: "y"
      convolution_param { num_output: 100000000 kernel_size: 1 } }"""
    with pytest.raises(ShapeError, match=r"layer 'a' .* 2 100000000 6 5 has 6000000000 elements"):
        layers(text)
