"""Nets of 2013 and 2014 in the format of today; every position follows its field."""

import pytest
from google.protobuf import text_format

from cvgg.errors import PrototxtError
from cvgg.netdef import v0
from cvgg.netdef.caffe_pb2 import (
    LayerParameter,
    NetParameter,
    V0LayerParameter,
    V1LayerParameter,
)
from cvgg.netdef.caffemodel import V1_TYPES
from cvgg.netdef.prototxt import read_net
from cvgg.netdef.upgrade import upgrade_net

V0_NET = """name: "old"
input: "data" input_dim: 2 input_dim: 3 input_dim: 5 input_dim: 7
layers {
  layer { name: "pad1" type: "padding" pad: 2 }
  bottom: "data" top: "pad1"
}
layers {
  layer {
    name: "conv1" type: "conv"
    num_output: 11
    kernelsize: 4
    group: 3 stride: 6 biasterm: false
    weight_filler { type: "gaussian" std: 0.01 }
    blobs_lr: 1. blobs_lr: 2.
    weight_decay: 1. weight_decay: 0.
  }
  bottom: "pad1" top: "conv1"
}
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 }
  bottom: "conv1" top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 9 alpha: 0.1 beta: 0.5 k: 2 }
  bottom: "pool1" top: "norm1" }
"""

V0_TODAY = """name: "old"
layer { name: "input" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 5 dim: 7 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 11 kernel_size: 4 group: 3 stride: 6 bias_term: false pad: 2
    weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
  lrn_param { local_size: 9 alpha: 0.1 beta: 0.5 k: 2 } }
"""


def parsed(text: str) -> NetParameter:
    return text_format.Parse(text, NetParameter())


def test_a_net_of_2013_becomes_what_one_would_write_today() -> None:
    assert read_net(V0_NET).message == parsed(V0_TODAY)


def test_a_binary_net_of_2013_is_upgraded_too() -> None:
    wire = parsed(V0_NET).SerializeToString()
    old = NetParameter.FromString(wire)
    assert upgrade_net(old) == parsed(V0_TODAY)
    assert old.SerializeToString() == wire  # the argument is left alone


def test_positions_follow_the_fields_of_a_v0_layer() -> None:
    net = read_net(V0_NET)
    data, conv1, _, norm1 = net.layers
    assert str(data) == "<text>:2:1"
    assert str(conv1) == "<text>:7:1"
    assert str(conv1.at("name")) == "<text>:9:5"
    assert str(conv1.at("type")) == "<text>:9:19"
    assert str(conv1.at("convolution_param", "kernel_size")) == "<text>:11:5"
    assert str(conv1.at("convolution_param", "weight_filler", "std")) == "<text>:13:38"
    assert str(conv1.at("convolution_param")) == "<text>:10:5"  # its first field
    assert str(conv1.at("param", 1, "lr_mult")) == "<text>:14:18"
    assert str(conv1.at("param", "decay_mult")) == "<text>:15:5"
    assert str(conv1.at("bottom")) == "<text>:17:3"
    assert str(norm1.at("lrn_param", "k")) == "<text>:21:79"


def v0_layer(settings: str) -> LayerParameter:
    """The upgraded form of one V0 layer."""
    return read_net("layers { layer { name: 'x' " + settings + " } }").message.layer[0]


def test_the_data_layers_of_2013_keep_all_settings() -> None:
    data = v0_layer("type: 'data' source: 's' batchsize: 5 rand_skip: 2 scale: 0.5 mirror: true")
    assert (data.data_param.source, data.data_param.batch_size) == ("s", 5)
    assert data.data_param.rand_skip == 2
    assert (data.transform_param.scale, data.transform_param.mirror) == (0.5, True)
    images = v0_layer(
        "type: 'images' source: 's' new_height: 3 new_width: 4 shuffle_images: true "
        "meanfile: 'm' cropsize: 6"
    )
    assert (images.image_data_param.new_height, images.image_data_param.new_width) == (3, 4)
    assert images.image_data_param.shuffle
    assert images.transform_param.mean_file == "m"
    assert images.transform_param.crop_size == 6
    window = v0_layer("type: 'window_data' det_fg_threshold: 0.75 det_crop_mode: 'square'")
    assert window.window_data_param.fg_threshold == 0.75
    assert window.window_data_param.crop_mode == "square"
    output = v0_layer("type: 'hdf5_output' hdf5_output_param { file_name: 'f' }")
    assert output.hdf5_output_param.file_name == "f"


def test_every_v0_field_has_a_place_in_v1() -> None:
    known = {*v0.FIELDS, *v0.COMMON, "type", "hdf5_output_param"}
    assert known ^ set(V0LayerParameter.DESCRIPTOR.fields_by_name) == {"new_num", "new_channels"}
    for name, (new, types) in v0.FIELDS.items():
        for word in types:
            message = V1LayerParameter.DESCRIPTOR.fields_by_name[v0.MESSAGES[word]].message_type
            assert message is not None
            assert new in message.fields_by_name, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layers { layer { name: 'r' type: 'relu' stride: 2 } }",
         "1:41: layer 'r': a layer of type 'relu' has no stride; remove it"),
        ("layers { layer { name: 'r' type: 'conv' new_num: 2 } }",
         "1:41: layer 'r': a layer of type 'conv' has no new_num; remove it"),
        ("layers { layer { name: 'r' type: 'convv' } }",
         "1:28: layer 'r': no layer type 'convv' in the format V0; did you mean \"conv\"?"),
        ("layers { layer { name: 'r' type: 'relu' } }\nlayers { name: 's' type: RELU }",
         "2:1: this net mixes two old formats"),
        ("layers { name: 's' type: RELU }\nlayer { name: 't' }",
         "1:1: a net has blocks `layer` (today's form) or `layers` (the old form), not both"),
    ],
)  # fmt: skip
def test_what_has_no_upgrade_is_an_error_at_its_line(text: str, expected: str) -> None:
    with pytest.raises(PrototxtError) as caught:
        read_net(text)
    assert str(caught.value).startswith(f"<text>:{expected}")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("layer { name: 'u' type: 'relu' } bottom: 'p'", "a relu layer cannot take it"),
        ("layer { name: 'u' type: 'pool' pad: 4 } bottom: 'p'", "'u' has a pad of its own, 4"),
        ("layer { name: 'u' type: 'conv' } bottom: 'p' bottom: 'd'", "must have 1 bottom"),
    ],
)
def test_a_padding_layer_needs_one_window_behind_it(user: str, expected: str) -> None:
    text = "layers { layer { name: 'pad' type: 'padding' pad: 1 } bottom: 'd' top: 'p' }\n"
    with pytest.raises(PrototxtError, match=f"^<text>:2:10: layer 'u' reads .*{expected}"):
        read_net(text + "layers { " + user + " top: 'u' }")
    fat = text.replace("bottom: 'd'", "bottom: 'd' bottom: 'e'")
    with pytest.raises(PrototxtError, match="a padding layer has 1 bottom and 1 top, not 2 and 1"):
        read_net(fat + "layers { layer { name: 'u' type: 'conv' } bottom: 'p' }")


V1_NET = """layers {
  name: "data" type: DATA top: "data"
  data_param { source: "s" batch_size: 3 crop_size: 5 mirror: true }
  include { phase: TRAIN }
}
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
  param: "w" param: "b"
  blob_share_mode: STRICT blob_share_mode: PERMISSIVE
  blobs_lr: 1 blobs_lr: 2 weight_decay: 3
  loss_weight: 0.5
  convolution_param { num_output: 7 pad: 1 }
}
"""


def test_a_net_of_2014_becomes_what_one_would_write_today() -> None:
    assert read_net(V1_NET).message == parsed(
        """layer { name: "data" type: "Data" top: "data"
             transform_param { crop_size: 5 mirror: true }
             data_param { source: "s" batch_size: 3 } include { phase: TRAIN } }
           layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" loss_weight: 0.5
             param { name: "w" share_mode: STRICT lr_mult: 1 decay_mult: 3 }
             param { name: "b" share_mode: PERMISSIVE lr_mult: 2 }
             convolution_param { num_output: 7 pad: 1 } }"""
    )


def test_positions_follow_the_fields_of_a_v1_layer() -> None:
    data, conv1 = read_net(V1_NET).layers
    assert str(data.at("transform_param", "crop_size")) == "<text>:3:42"
    assert str(data.at("data_param", "batch_size")) == "<text>:3:28"
    assert str(conv1.at("param", 1, "name")) == "<text>:7:14"
    assert str(conv1.at("param", 1, "lr_mult")) == "<text>:9:15"
    assert str(conv1.at("convolution_param", "pad")) == "<text>:11:37"


def test_transformations_stay_where_today_s_layers_have_them() -> None:
    text = 'layer { name: "d" type: "Data" data_param { crop_size: 5 } }'
    assert read_net(text).message == parsed(text)


def test_every_v1_type_has_a_word_and_every_v1_field_a_home() -> None:
    numbers = {value.number for value in V1LayerParameter.LayerType.DESCRIPTOR.values}
    assert numbers == set(V1_TYPES)
    new = LayerParameter.DESCRIPTOR.fields_by_name
    for field in V1LayerParameter.DESCRIPTOR.fields:
        if field.name not in ("layer", "type", "param", "blob_share_mode", "blobs_lr",
                              "weight_decay"):  # fmt: skip
            assert new[field.name].message_type is field.message_type


def test_v1_blobs_of_a_binary_model_come_along() -> None:
    old = NetParameter()
    old.layers.add(name="ip", type=V1LayerParameter.INNER_PRODUCT).blobs.add(data=[0.5, -2])
    new = upgrade_net(old)
    assert new.layer[0].type == "InnerProduct"
    assert list(new.layer[0].blobs[0].data) == [0.5, -2]


def test_input_fields_become_one_layer_at_the_front() -> None:
    net = read_net(
        'force_backward: true\ninput: "a" input: "b"\n'
        "input_shape { dim: 2 } input_shape { dim: 3 dim: 5 }\nlayer { name: 'x' }"
    )
    assert net.message == parsed(
        'force_backward: true layer { name: "input" type: "Input" top: "a" top: "b" '
        'input_param { shape { dim: 2 } shape { dim: 3 dim: 5 } } } layer { name: "x" }'
    )
    assert [str(origin) for origin in net.layers] == ["<text>:2:1", "<text>:4:1"]
    dims = read_net("input: 'a' input: 'b' " + " ".join(f"input_dim: {i}" for i in range(1, 9)))
    shapes = [list(shape.dim) for shape in dims.message.layer[0].input_param.shape]
    assert shapes == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("input: 'a'\ninput_dim: 1 input_dim: 2",
         "2:1: 2 input_dim for 1 input; write 4 for each, or input_shape"),
        ("input: 'a'\ninput_shape { } input_shape { }",
         "2:1: 2 input_shape for 1 input; write one for each"),
        ("input: 'a' input_shape { dim: 1 }\ninput_dim: 3",
         "1:12: write input_shape or input_dim, not both"),
        ("\ninput: 'a'", "2:1: 0 input_dim for 1 input; write 4 for each, or input_shape"),
    ],
)  # fmt: skip
def test_an_input_needs_one_shape(fields: str, expected: str) -> None:
    with pytest.raises(PrototxtError) as caught:
        read_net(fields)
    assert str(caught.value).startswith(f"<text>:{expected}")


def test_the_three_statistics_of_batch_norm_learn_nothing() -> None:
    params = "param { lr_mult: 5 name: 'm' } " * 3
    net = read_net(f"layer {{ type: 'BatchNorm' {params} }} layer {{ type: 'Scale' {params} }}")
    norm, scale = net.message.layer
    assert [(p.lr_mult, p.decay_mult, p.name) for p in norm.param] == [(0, 0, "m")] * 3
    assert [p.lr_mult for p in scale.param] == [5] * 3
