"""Split layers: Caffe's names, Caffe's order, and losses that keep their weight."""

from google.protobuf import text_format

from cvgg.netdef.caffe_pb2 import LayerParameter, NetParameter
from cvgg.netdef.origin import Origin
from cvgg.netdef.splits import Placed, insert_splits, split_name


def placed(text: str) -> list[Placed]:
    message = text_format.Parse(text, NetParameter())
    return [(layer, Origin("net", number)) for number, layer in enumerate(message.layer, 1)]


def split(text: str) -> list[LayerParameter]:
    return [layer for layer, _ in insert_splits(placed(text))]


def layers(text: str) -> list[LayerParameter]:
    return [layer for layer, _ in placed(text)]


USED_ONCE = """
layer { name: "in" type: "Input" top: "data" top: "label" }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" loss_weight: 2 top: "l" }
"""


def test_a_net_in_which_every_blob_is_read_once_stays_as_it_is() -> None:
    assert split(USED_ONCE) == layers(USED_ONCE)


def test_readers_get_the_copies_in_their_order() -> None:
    found = split("""
        layer { name: "in" type: "Input" top: "label" top: "data" }
        layer { name: "a" type: "T" bottom: "data" bottom: "label" top: "a" }
        layer { name: "b" type: "T" bottom: "a" bottom: "data" top: "b" }
        layer { name: "c" type: "T" bottom: "data" bottom: "b" bottom: "data" }
    """)
    assert found == layers("""
        layer { name: "in" type: "Input" top: "label" top: "data" }
        layer { name: "data_in_1_split" type: "Split" bottom: "data"
          top: "data_in_1_split_0" top: "data_in_1_split_1"
          top: "data_in_1_split_2" top: "data_in_1_split_3" }
        layer { name: "a" type: "T" bottom: "data_in_1_split_0" bottom: "label" top: "a" }
        layer { name: "b" type: "T" bottom: "a" bottom: "data_in_1_split_1" top: "b" }
        layer { name: "c" type: "T"
          bottom: "data_in_1_split_2" bottom: "b" bottom: "data_in_1_split_3" }
    """)


def test_a_blob_made_anew_in_place_is_split_behind_the_last_layer_that_made_it() -> None:
    found = split("""
        layer { name: "conv" type: "T" top: "x" }
        layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "a" type: "T" bottom: "x" }
        layer { name: "b" type: "T" bottom: "x" }
    """)
    assert [layer.name for layer in found] == ["conv", "relu", "x_relu_0_split", "a", "b"]
    assert [list(layer.bottom) for layer in found] == [
        [], ["x"], ["x"], ["x_relu_0_split_0"], ["x_relu_0_split_1"],
    ]  # fmt: skip


def test_two_split_tops_of_a_layer_come_in_order() -> None:
    found = split("""
        layer { name: "in" type: "T" top: "p" top: "q" }
        layer { name: "a" type: "T" bottom: "p" bottom: "q" }
        layer { name: "b" type: "T" bottom: "q" bottom: "p" }
    """)
    assert [layer.name for layer in found] == ["in", "p_in_0_split", "q_in_1_split", "a", "b"]


def test_a_loss_that_is_read_too_moves_its_weight_to_the_first_copy() -> None:
    found = split("""
        layer { name: "m" type: "T" top: "u" top: "v" loss_weight: 3 loss_weight: 5 }
        layer { name: "a" type: "T" bottom: "v" top: "a" }
        layer { name: "b" type: "T" bottom: "v" top: "b" }
    """)
    assert found == layers("""
        layer { name: "m" type: "T" top: "u" top: "v" loss_weight: 3 loss_weight: 0 }
        layer { name: "v_m_1_split" type: "Split" bottom: "v"
          top: "v_m_1_split_0" top: "v_m_1_split_1" top: "v_m_1_split_2"
          loss_weight: 5 loss_weight: 0 loss_weight: 0 }
        layer { name: "a" type: "T" bottom: "v_m_1_split_1" top: "a" }
        layer { name: "b" type: "T" bottom: "v_m_1_split_2" top: "b" }
    """)


def test_a_loss_weight_of_zero_is_no_use() -> None:
    text = """
        layer { name: "m" type: "T" top: "u" loss_weight: 0 }
        layer { name: "a" type: "T" bottom: "u" }
    """
    assert split(text) == layers(text)


def test_a_split_stands_where_its_source_was_written_and_the_layers_are_copies() -> None:
    before = placed("""
        layer { name: "in" type: "T" top: "p" }
        layer { name: "a" type: "T" bottom: "p" }
        layer { name: "b" type: "T" bottom: "p" }
    """)
    after = insert_splits(before)
    assert [origin.line for _, origin in after] == [1, 1, 2, 3]
    assert before[1][0].bottom[0] == "p"
    assert after[0][0] is not before[0][0]


def test_the_name_of_a_split_is_that_of_caffe() -> None:
    assert split_name("conv1", "relu1", 0) == "conv1_relu1_0_split"
