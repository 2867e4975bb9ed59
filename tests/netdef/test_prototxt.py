"""Reading prototxt: values, the place of everything, and errors that point at it."""

from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from cvgg.errors import MissingInputError, PrototxtError
from cvgg.netdef import caffe_pb2, prototxt
from cvgg.netdef.caffe_pb2 import NetParameter, SolverParameter
from cvgg.netdef.forks import FORKS, fork_of
from cvgg.netdef.origin import Origin
from cvgg.netdef.prototxt import net_def, read_net, read_solver

CONV = """name: "small"  # a comment with { and "
layer {
  name: "conv1"; type: 'Convo' "lution"
  bottom: ["data", "mask"],
  bottom: "third"
  top: "conv1"
  param { lr_mult: 1 } param < lr_mult: .5 >
  convolution_param: { num_output: 0x10 kernel_size: 3
    weight_filler { type: "a # b" } }
}
layer { name: "conv2" }
"""


def error(source: str | Path) -> list[str]:
    """The lines of the error that reading `source` as a net gives."""
    with pytest.raises(PrototxtError) as caught:
        read_net(source)
    return str(caught.value).split("\n")


def rule(text: str) -> str:
    """The first line of that error."""
    return error(text)[0]


def test_values_are_those_of_text_format() -> None:
    layer = read_net(CONV).message.layer[0]
    assert layer.type == "Convolution"
    assert list(layer.bottom) == ["data", "mask", "third"]
    assert [param.lr_mult for param in layer.param] == [1, 0.5]
    assert layer.convolution_param.num_output == 16
    assert layer.convolution_param.weight_filler.type == "a # b"


def test_a_layer_knows_its_line_and_that_of_each_field() -> None:
    conv1, conv2 = read_net(CONV).layers
    assert (str(conv1), str(conv2)) == ("<text>:2:1", "<text>:11:1")
    assert str(conv1.at("type")) == "<text>:3:18"
    assert str(conv1.at("convolution_param", "kernel_size")) == "<text>:8:41"
    assert str(conv1.at("convolution_param", "weight_filler", "type")) == "<text>:9:21"
    assert str(conv2.at("name")) == "<text>:11:9"


def test_later_occurrences_of_a_field_are_found_by_index() -> None:
    conv1, _ = read_net(CONV).layers
    assert [str(conv1.at("bottom", i)) for i in range(3)] == [
        "<text>:4:3", "<text>:4:20", "<text>:5:3",
    ]  # fmt: skip
    assert str(conv1.at("param", 1)) == "<text>:7:24"
    assert str(conv1.at("param", 1, "lr_mult")) == "<text>:7:32"


def test_a_field_that_is_not_written_falls_back_to_the_block_around_it() -> None:
    conv1, _ = read_net(CONV).layers
    assert conv1.at("loss_weight") == conv1
    assert conv1.at("convolution_param", "group") == conv1.at("convolution_param")
    assert str(conv1.at("bottom", 7)) == "<text>:4:3"


def test_the_origin_of_a_block_holds_its_own_fields_only() -> None:
    conv1, _ = read_net(CONV).layers
    first = conv1.at("param")
    assert first.fields == {("lr_mult",): (7, 11)}
    assert str(read_net(CONV).origin.at("layer", 1, "name")) == "<text>:11:9"


def test_blocks_in_a_list_are_layers_each_at_its_brace() -> None:
    net = read_net('layer: [{ name: "a" },\n  < name: "b" >]\nlayer { name: "c" }')
    assert [layer.name for layer in net.message.layer] == ["a", "b", "c"]
    assert [str(origin) for origin in net.layers] == ["<text>:1:1", "<text>:2:3", "<text>:3:1"]


def test_an_error_shows_the_line_and_a_caret_that_keeps_tabs() -> None:
    assert error('name: "x"\nlayer {\n\tnme: "y"\n}') == [
        "<text>:3:2: 'layer' (LayerParameter) has no field 'nme'; did you mean \"name\"?",
        '\tnme: "y"',
        "\t^",
    ]


def test_an_error_shows_part_of_a_long_line_and_nothing_that_a_terminal_obeys() -> None:
    _, line, caret = error(f'name: "{"x" * 300}\x1b[31m" nme: 1 {"# " * 300}\n')
    assert len(line) == 100
    assert line.index("nme") == caret.index("^")
    assert "\x1b" not in line


def test_the_origin_without_a_line_is_the_path() -> None:
    assert str(Origin("net.prototxt")) == "net.prototxt"
    assert Origin("net.prototxt").excerpt() == ""
    assert Origin("net.prototxt").message("rule") == "net.prototxt: rule"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layer { pooling_param { pool: max } }",
         "1:31: pool is one of MAX, AVE, STOCHASTIC, not max; did you mean \"MAX\"?"),
        ("layer { pooling_param { pool: 3 } }",
         "1:31: pool is one of MAX, AVE, STOCHASTIC, not 3"),
        ('layer { data_param { backend: "LMDB" } }',
         "1:31: backend takes the word without quotes: LMDB"),
        ("layer { type: ReLU }", "1:15: type is text in quotes, not ReLU"),
        ("force_backward: yes \n", "1:17: force_backward is true or false, not yes"),
        ("layer { input_param { shape { dim: 1e3 } } }",
         "1:36: dim is a whole number from -9223372036854775808 to 9223372036854775807, not 1e3"),
        ("layer { convolution_param { num_output: -3 } }",
         "1:41: num_output is a whole number from 0 to 4294967295, not -3"),
        ("layer { loss_weight: 1.2.3 loss_weight: 4 }",
         "1:22: loss_weight is a number, not 1.2.3"),
        ('name: "\\xff" \n', '1:7: name has an escape that gives no UTF-8 text: "\\xff"'),
        ("layer { include: TRAIN }", "1:18: include is a block: write include { ... }"),
        ("layer { name { } }", "1:9: name is text in quotes, not a block"),
        ('layer { name: "a" name: "b" }', "1:19: name may be written once; it was, at 1:9"),
        ("layer { clip_param { min: 1 } }", "1:9: clip_param needs max"),
        ('layers { type: "A" }',
         '1:16: a block `layers`, the old form, has types like CONVOLUTION; for "A" write `layer`'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_what_the_field_takes(text: str, expected: str) -> None:
    assert rule(text) == f"<text>:{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('layer {\n name: "a"\n', "1:1: 'layer' is not closed: } is missing"),
        ("layer { }\n}", "2:1: } closes nothing: no block is open here"),
        ("layer { include < }", "1:19: } cannot close 'include', opened with < at 1:9"),
        ('layer { name: "a }', '1:15: the string that begins here has no closing " on its line'),
        ("layer { name: 'a\n' }", "1:15: the string that begins here has no closing ' on its line"),
        ('layer { name: "a\n" }', '1:15: the string that begins here has no closing " on its line'),
        ("layer { name: }", "1:15: the value of 'name' is missing"),
        ('layer { name "a" }', "1:9: 'name' needs a colon and a value, or a block in braces"),
        ('layer { top: ["a" 3] }', "1:19: expected , or ] in the list"),
        ("layer: [{} {}]", "1:12: expected , and a block, or ], in the list"),
        ("layer {@}", "1:8: unexpected character '@'"),
        ('layer { "name": 1 }', '1:9: expected the name of a field, not "name"'),
    ],
)
def test_broken_syntax_is_shown_where_it_breaks(text: str, expected: str) -> None:
    assert rule(text) == f"<text>:{expected}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("layer { botom: 1 }", '; did you mean "bottom"?'),
        ("layer { botom 1 }", '; did you mean "bottom"?'),  # before the missing colon
        ("layer { xyzzy: 1 }", "has no field 'xyzzy'"),
        ("layer { kernel_size: 3 }", "; it belongs in convolution_param or pooling_param"),
        ("layer { scale: 3 }", "; it belongs in transform_param, data_param or exp_param"),
        ('layer { pooling_param { pool: AVE top: "a" }',
         "; LayerParameter has one: is a closing brace missing above?"),
        ('layer { name: "a"\nlayer { name: "b" }',
         "; NetParameter has one: is a closing brace missing above?"),
        ("base_lr: 0.1\n", ", but a SolverParameter has: is this the right file?"),
        ("layer { permute_param { order: 0 } }",
         "; it is a field of the SSD fork (weiliu89/caffe) and its kin, which cvgg does not have"),
        ("layer { batch_norm_param { engine: CUDNN } }",
         "; it is a field of NVIDIA's and Intel's Caffe, which cvgg does not have"),
    ],
)  # fmt: skip
def test_an_unknown_field_comes_with_a_hint(text: str, hint: str) -> None:
    assert rule(text).endswith(hint)


def test_the_fork_table_names_no_field_that_the_schema_has() -> None:
    messages: dict[str, Descriptor] = dict(caffe_pb2.DESCRIPTOR.message_types_by_name)
    for key in FORKS:
        message, _, field = key.rpartition(".")
        assert not message or field not in messages[message].fields_by_name
        assert field.isidentifier()
    assert fork_of("PoolingParameter", "torch_pooling") == "NVIDIA's Caffe"
    assert fork_of("PoolingParameter", "kernel_size") == ""


def test_a_deep_nest_of_braces_is_an_error_and_no_overflow() -> None:
    assert "has no field 'layer'" in rule("layer {" * 100_000)


def test_byte_order_mark_and_foreign_line_ends_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'\xef\xbb\xbfname: "n"\r\nlayer { name: "\xc3\xa9" }\r\nlayer { }')
    net = read_net(path)
    assert net.message.layer[0].name == "é"
    assert str(net.layers[1]) == f"{path}:3:1"
    path.write_bytes(b'name: "n"\rlayer { }')
    assert str(read_net(path).layers[0]) == f"{path}:2:1"


def test_bytes_that_are_not_utf8_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "latin1.prototxt"
    path.write_bytes(b'name: "n"\n# caf\xe9 {\n')
    first, line, caret = error(path)
    assert first == f"{path}:2:6: not UTF-8 at byte 15; save the file as UTF-8"
    assert line[caret.index("^")] == "\ufffd"


def test_a_binary_file_is_told_from_a_prototxt(tmp_path: Path) -> None:
    path = tmp_path / "vgg.caffemodel"
    path.write_bytes(b"\x0a\x05\0\0\xff")
    assert error(path) == [
        f"{path}:2:2: a NUL byte: this is a binary file, not a prototxt; weights go with --weights"
    ]


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototxt, "LARGEST", 2**20)
    path = tmp_path / "huge.prototxt"
    path.write_bytes(b" " * 2**20)
    assert not read_net(path).message.layer
    path.write_bytes(b" " * (2**20 + 1))
    assert error(path) == [f"{path}: larger than 1 MiB: this is not a prototxt"]


def test_a_missing_file_or_a_folder_is_a_missing_input(tmp_path: Path) -> None:
    for path in (tmp_path / "none.prototxt", tmp_path):
        with pytest.raises(MissingInputError, match=f"^{path}: cannot read this prototxt: "):
            read_net(path)
    with pytest.raises(MissingInputError, match="No such file"):
        read_net("net.prototxt")  # no brace, no newline, no ": ": a path


def test_a_message_is_copied_and_has_no_lines() -> None:
    message = NetParameter(name="m")
    message.layer.add(name="a")
    net = read_net(message)
    message.layer[0].name = "changed"
    assert net.message.layer[0].name == "a"
    assert [str(origin) for origin in net.layers] == ["<message>"]
    message.layer[0].clip_param.max = 2
    with pytest.raises(PrototxtError, match=r"^<message>: clip_param needs min$"):
        read_net(message)


def test_the_old_solver_type_becomes_a_word() -> None:
    message = read_solver("solver_type: ADAGRAD\n").message
    assert message.type == "AdaGrad"
    assert not message.HasField("solver_type")
    with pytest.raises(PrototxtError, match=r'^<text>:2:1: .*keep type: "Adam"'):
        read_solver('type: "Adam"\nsolver_type: SGD')


def test_the_snapshot_prefix_is_named_after_the_solver_file(tmp_path: Path) -> None:
    path = tmp_path / "my.solver.prototxt"
    path.write_text("max_iter: 5\n")
    assert read_solver(path).message.snapshot_prefix == f"{tmp_path}/my.solver"
    (tmp_path / "folder").mkdir()
    path.write_text(f'snapshot_prefix: "{tmp_path}/folder"\n')
    assert read_solver(path).message.snapshot_prefix == f"{tmp_path}/folder/my.solver"
    path.write_text('snapshot_prefix: "run/vgg"\n')
    assert read_solver(path).message.snapshot_prefix == "run/vgg"
    assert not read_solver("max_iter: 5\n").message.HasField("snapshot_prefix")


def test_a_solver_given_as_a_message_is_copied() -> None:
    message = SolverParameter(solver_type=SolverParameter.ADAM)
    assert read_solver(message).message.type == "Adam"
    assert not message.HasField("type")


def test_a_net_inside_a_solver_keeps_its_lines() -> None:
    solver = read_solver(
        'base_lr: 0.1\ntest_net_param {\n  layer { name: "a" }\n}\n'
        'test_net_param {\n  layer { name: "b" }\n  layer { name: "c" top: "x" }\n}'
    )
    origin = solver.origin.at("test_net_param", 1)
    net = net_def(solver.message.test_net_param[1], origin)
    assert [layer.name for layer in net.message.layer] == ["b", "c"]
    assert [str(each) for each in net.layers] == ["<text>:6:3", "<text>:7:3"]
    assert str(net.layers[1].at("top")) == "<text>:7:21"
    with pytest.raises(PrototxtError, match="'layer', but a NetParameter has: is this the right"):
        read_solver("layer { }")
