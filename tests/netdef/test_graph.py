"""The graph: names that connect, in an order that can run, for one phase."""

import pytest

from cvgg.errors import GraphError
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, NetParameter
from cvgg.netdef.graph import Graph, build
from cvgg.netdef.prototxt import read_net

NET = """name: "small"
force_backward: true
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
layer { name: "in" type: "Input" top: "data" include { phase: TEST } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "x" }
layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
layer { name: "z" type: "Power" bottom: "x" top: "z" include { phase: TEST } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  include { phase: TRAIN } }
"""


def graph(text: str, phase: int = TRAIN) -> Graph:
    return build(read_net(text), phase=phase)


def error(text: str, phase: int = TRAIN) -> str:
    """The first line of the error that the net gives; behind it stand a source line and a caret."""
    with pytest.raises(GraphError) as caught:
        graph(text, phase)
    rule, _, caret = str(caught.value).split("\n")
    assert caret.strip() == "^"
    return rule


def test_each_phase_has_its_layers_in_the_order_of_the_file() -> None:
    train, test = graph(NET), graph(NET, TEST)
    assert [node.name for node in train.nodes] == ["data", "conv", "relu", "ip", "loss"]
    assert [node.name for node in test.nodes] == [
        "in", "conv", "relu", "x_relu_0_split", "z", "ip",
    ]  # fmt: skip
    assert (train.phase, test.phase) == (TRAIN, TEST)
    assert (train.name, train.force_backward) == ("small", True)


def test_a_node_has_the_names_after_the_splits_and_a_place() -> None:
    nodes = {node.name: node for node in graph(NET, TEST).nodes}
    assert nodes["ip"].bottoms == ("x_relu_0_split_1",)
    assert tuple(nodes["ip"].spec.bottom) == nodes["ip"].bottoms
    assert nodes["ip"].tops == ("ip",)
    assert nodes["ip"].type == "InnerProduct"
    assert str(nodes["ip"].origin) == "<text>:8:1"
    assert str(nodes["ip"].origin.at("bottom")) == "<text>:8:41"
    assert str(nodes["x_relu_0_split"].origin) == "<text>:6:1"


def test_inputs_are_the_tops_of_input_layers() -> None:
    assert graph(NET).inputs == ()
    assert graph(NET, TEST).inputs == ("data",)


def test_outputs_are_what_nobody_reads_in_alphabetical_order() -> None:
    assert graph(NET).outputs == ("loss",)
    assert graph(NET, TEST).outputs == ("ip", "z")
    in_place = """
        layer { name: "in" type: "Input" top: "a" }
        layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
    """
    assert graph(in_place).outputs == ("a",)


def test_one_definition_gives_any_number_of_graphs() -> None:
    net = read_net(NET)
    first, second = build(net, phase=TEST), build(net, phase=TEST)
    assert first == second
    assert net.message.layer[5].bottom[0] == "x"


STAGES = """state { phase: TEST level: 2 stage: "deploy" }
layer { name: "a" type: "T" include { stage: "deploy" stage: "fast" } }
layer { name: "b" type: "T" include { min_level: 2 } }
layer { name: "c" type: "T" include { max_level: 1 } }
layer { name: "d" type: "T" include { phase: TRAIN } }
"""


def names(graph: Graph) -> str:
    return "".join(node.name for node in graph.nodes)


def test_arguments_go_over_the_state_of_the_file() -> None:
    net = read_net(STAGES)
    assert names(build(net, phase=TEST)) == "b"
    assert names(build(net, phase=TRAIN)) == "bd"
    assert names(build(net, phase=TEST, stages=["fast"])) == "ab"
    assert names(build(net, phase=TEST, level=1)) == "c"
    assert net.message.state.stage == ["deploy"]


def test_a_net_without_layers_says_for_which_state() -> None:
    text = 'layer { name: "a" type: "T" include { phase: TRAIN } }'
    with pytest.raises(GraphError, match=r"^<text>: this net has no layers for phase TEST, level"):
        build(read_net(text), phase=TEST, level=3)


def test_an_unknown_bottom_is_shown_with_what_may_have_been_meant() -> None:
    assert error("""layer { name: "in" type: "Input" top: "data" top: "conv1_1" }
layer { name: "ip" type: "InnerProduct" bottom: "data"
  bottom: "conv11" top: "ip" }""") == (
        "<text>:3:3: layer 'ip': bottom 'conv11' is made by no layer; did you mean \"conv1_1\"?"
    )
    assert error('layer { name: "a" type: "T" bottom: "zzz" }').endswith("is made by no layer")


def test_a_layer_s_name_is_no_blob() -> None:
    assert error("""layer { name: "fc6" type: "T" top: "ip" }
layer { name: "a" type: "T" bottom: "fc6" }""") == (
        "<text>:2:29: layer 'a': bottom 'fc6' is a layer, not a blob; that layer's top is 'ip'"
    )


def test_a_bottom_of_another_phase_says_so() -> None:
    assert error("""layer { name: "d" type: "T" top: "x" include { phase: TEST } }
layer { name: "a" type: "T" bottom: "x" }""") == (
        "<text>:2:29: layer 'a': bottom 'x' is made by layer 'd' (<text>:1:1), which is not in "
        "the net for phase TRAIN"
    )


def test_a_bottom_that_is_made_later_names_the_layer_to_move() -> None:
    assert error("""layer { name: "a" type: "T" bottom: "x" top: "y" }
layer { name: "r" type: "ReLU" bottom: "x" top: "x" }
layer { name: "b" type: "T" top: "x" }""") == (
        "<text>:1:29: layer 'a': bottom 'x' is made later, by layer 'b' (<text>:3:1); "
        "move that layer up"
    )


def test_a_cycle_is_named_layer_by_layer() -> None:
    assert error("""layer { name: "in" type: "Input" top: "data" }
layer { name: "a" type: "T" bottom: "data" bottom: "z" top: "x" }
layer { name: "b" type: "T" bottom: "x" bottom: "data" top: "y" }
layer { name: "c" type: "T" bottom: "y" top: "z" }""") == (
        "<text>:2:44: layer 'a': bottom 'z' is part of a cycle: a -> b -> c -> a"
    )
    assert error('layer { name: "a" type: "T" bottom: "x" top: "y" top: "x" }').endswith(
        "is part of a cycle: a -> a"
    )


def test_in_place_on_a_blob_that_nobody_made_is_unknown() -> None:
    assert error('layer { name: "r" type: "ReLU" bottom: "x" top: "x" }').endswith(
        "layer 'r': bottom 'x' is made by no layer"
    )


def test_a_top_is_made_once() -> None:
    assert error("""layer { name: "a" type: "T" top: "x" }
layer { name: "b" type: "T" top: "y" top: "x" }""") == (
        "<text>:2:38: layer 'b': top 'x' is made by layer 'a' (<text>:1:1) already; "
        "give it another name"
    )
    assert error('layer { name: "a" type: "T" top: "x" top: "x" }') == (
        "<text>:1:38: layer 'a': top 'x' is written twice in this layer"
    )


def test_in_place_needs_the_same_index() -> None:
    start = 'layer { name: "a" type: "T" top: "x" top: "y" }\n'
    same = 'layer { name: "b" type: "T" bottom: "x" bottom: "y" top: "x" top: "y" }'
    assert graph(start + same).outputs == ("x", "y")
    crossed = 'layer { name: "b" type: "T" bottom: "x" bottom: "y" top: "y" }'
    assert error(start + crossed) == (
        "<text>:2:53: layer 'b': top 'y' is made by layer 'a' (<text>:1:1) already; give it "
        "another name; in place, it must be the bottom of the same index"
    )


def test_what_another_layer_reads_is_not_overwritten_in_place() -> None:
    assert error("""layer { name: "a" type: "T" top: "x" }
layer { name: "b" type: "T" bottom: "x" top: "y" }
layer { name: "r" type: "ReLU" bottom: "x" top: "x" }""") == (
        "<text>:3:44: layer 'r': top 'x' would be overwritten in place, but layer 'b' "
        "(<text>:2:1) reads it too; give this top another name"
    )
    assert "but it is a loss of layer 'a' (<text>:1:1)" in error("""\
layer { name: "a" type: "T" top: "x" loss_weight: 1 }
layer { name: "r" type: "ReLU" bottom: "x" top: "x" }""")


def test_readers_behind_an_in_place_layer_read_what_it_wrote() -> None:
    text = """layer { name: "a" type: "T" top: "x" }
layer { name: "r" type: "ReLU" bottom: "x" top: "x" }
layer { name: "d" type: "Dropout" bottom: "x" top: "x" }
layer { name: "b" type: "T" bottom: "x" top: "y" }"""
    assert names(graph(text)) == "ardb"


def test_a_layer_s_name_is_written_once_in_a_phase() -> None:
    assert error("""layer { name: "a" type: "T" top: "x" }
layer { type: "T" name: "a" top: "y" }""") == (
        "<text>:2:19: layer 'a': another layer has that name, at <text>:1:1; rename one"
    )


def test_the_name_of_a_split_may_not_be_taken() -> None:
    assert error("""layer { name: "a" type: "T" top: "x" }
layer { name: "x_a_0_split" type: "T" bottom: "x" top: "y" }
layer { name: "b" type: "T" bottom: "x" }""") == (
        "<text>:2:9: layer 'x_a_0_split': another layer has that name, at <text>:1:1; rename one"
    )


def test_a_layer_has_a_name_and_a_type() -> None:
    assert error('layer { type: "T" }') == '<text>:1:1: a layer needs a name: write name: "..."'
    assert error('layer { name: "a" }') == "<text>:1:1: layer 'a' has no type"


def test_debug_info_is_refused_at_its_line() -> None:
    assert error('layer { name: "a" type: "T" }\ndebug_info: true').startswith(
        "<text>:2:1: debug_info is not done by cvgg"
    )


def test_a_net_made_in_python_is_built_alike() -> None:
    message = NetParameter(name="m")
    message.layer.add(name="in", type="Input", top=["a"])
    message.layer.add(name="b", type="T", bottom=["c"])
    with pytest.raises(GraphError) as caught:
        build(read_net(message), phase=TEST)
    assert str(caught.value) == "<message>: layer 'b': bottom 'c' is made by no layer"
    message.layer[1].bottom[0] = "a"
    assert names(build(read_net(message), phase=TEST)) == "inb"
