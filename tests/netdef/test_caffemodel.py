"""Model, state and blob files: the same bytes as protobuf writes, and no trust in what is read."""

import contextlib
import mmap
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from cvgg.errors import DataError, Error, MissingInputError
from cvgg.netdef import wire
from cvgg.netdef.caffe_pb2 import (
    TRAIN,
    BlobProto,
    BlobShape,
    ExactState,
    LayerParameter,
    NetParameter,
    SolverState,
    V1LayerParameter,
)
from cvgg.netdef.caffemodel import (
    V1_TYPES,
    ModelBlob,
    ModelLayer,
    blob_bytes,
    model_bytes,
    read_blob,
    read_model,
    read_state,
    state_bytes,
)

WEIGHTS = [0.5, -1.25, 3.0, 1e-40, float("inf"), -0.0]  # a denormal and both odd ends: bits count
BIAS = [7.0, -8.5]


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def proto(numbers: list[float], *dims: int) -> BlobProto:
    """A blob as Caffe writes it: a scalar gets no shape."""
    return BlobProto(data=numbers, shape=BlobShape(dim=dims) if dims else None)


def net_without_blobs() -> NetParameter:
    """One layer with settings on both sides of the blobs, one with none, one in between."""
    net = NetParameter(name="small", force_backward=True)
    net.state.phase = TRAIN
    net.layer.add(name="data", type="Input", top=["data"])
    conv = net.layer.add(name="conv1", type="Convolution", bottom=["data"], top=["conv1"])
    conv.param.add(lr_mult=2)
    conv.phase = TRAIN
    conv.include.add(phase=TRAIN)
    conv.convolution_param.num_output = 2
    net.layer.add(name="scale", type="Scale", bottom=["conv1"], top=["scale"])
    return net


def net_with_blobs() -> NetParameter:
    net = net_without_blobs()
    net.layer[1].blobs.extend([proto(WEIGHTS, 2, 3, 1, 1), proto(BIAS, 2)])
    net.layer[2].blobs.append(proto([0.75]))
    return net


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def test_a_model_has_the_bytes_that_protobuf_writes() -> None:
    blobs = {
        "conv1": [ModelBlob((2, 3, 1, 1), packed(WEIGHTS)), ModelBlob((2,), packed(BIAS))],
        "scale": [ModelBlob((), packed([0.75]))],
    }
    assert b"".join(model_bytes(net_without_blobs(), blobs)) == net_with_blobs().SerializeToString()


def test_a_model_is_written_without_the_blobs_its_net_held() -> None:
    assert b"".join(model_bytes(net_with_blobs(), {})) == net_without_blobs().SerializeToString()


def test_a_blob_of_128_numbers_gets_lengths_of_two_bytes() -> None:
    numbers = [float(i) for i in range(128)]
    net = NetParameter(layer=[LayerParameter(name="fc")])
    pieces = model_bytes(net, {"fc": [ModelBlob((1, 128), packed(numbers))]})
    net.layer[0].blobs.append(proto(numbers, 1, 128))
    assert b"".join(pieces) == net.SerializeToString()


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_model(written(tmp_path, net_with_blobs().SerializeToString())) == (
        ModelLayer("data", "Input", ()),
        ModelLayer(
            "conv1",
            "Convolution",
            (ModelBlob((2, 3, 1, 1), packed(WEIGHTS)), ModelBlob((2,), packed(BIAS))),
        ),
        ModelLayer("scale", "Scale", (ModelBlob((), packed([0.75])),)),
    )


def test_the_numbers_are_a_view_of_the_file_that_outlives_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, net_with_blobs().SerializeToString())
    data = read_model(path)[1].blobs[0].data
    path.unlink()
    assert isinstance(data, memoryview)
    assert isinstance(data.obj, mmap.mmap)
    assert data == packed(WEIGHTS)


def test_a_v1_layer_keeps_its_four_axes_and_gets_the_name_of_today(tmp_path: Path) -> None:
    layer = V1LayerParameter(name="fc6", type=V1LayerParameter.INNER_PRODUCT, blobs_lr=[1, 2])
    layer.blobs.add(num=1, channels=1, height=2, width=3, data=WEIGHTS)
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=BIAS)
    path = written(tmp_path, NetParameter(name="old", layers=[layer]).SerializeToString())
    weights = ModelBlob((1, 1, 2, 3), packed(WEIGHTS), legacy=True)
    bias = ModelBlob((1, 1, 1, 2), packed(BIAS), legacy=True)
    assert read_model(path) == (ModelLayer("fc6", "InnerProduct", (weights, bias)),)


def test_every_v1_type_has_a_word() -> None:
    assert V1_TYPES.keys() == set(V1LayerParameter.LayerType.values())


def test_a_v1_type_of_a_fork_is_shown_as_its_number(tmp_path: Path) -> None:
    layer = V1LayerParameter(name="odd").SerializeToString() + b"\x28\x63"  # 5: 99
    path = written(tmp_path, wire.prefix(2, len(layer)) + layer)
    assert read_model(path) == (ModelLayer("odd", "99", ()),)


def test_a_v0_layer_is_found_inside_its_connection(tmp_path: Path) -> None:
    net = NetParameter(name="older")
    connection = net.layers.add(bottom=["data"], top=["conv1"])
    connection.layer.name, connection.layer.type = "conv1", "conv"
    connection.layer.blobs.add(num=1, channels=3, height=1, width=2, data=WEIGHTS)
    blob = ModelBlob((1, 3, 1, 2), packed(WEIGHTS), legacy=True)
    path = written(tmp_path, net.SerializeToString())
    assert read_model(path) == (ModelLayer("conv1", "conv", (blob,)),)


def test_layers_of_two_generations_are_refused(tmp_path: Path) -> None:
    net = NetParameter(layer=[LayerParameter(name="a")], layers=[V1LayerParameter(name="b")])
    with pytest.raises(DataError, match=r"in the old form \(`layers`\) and in today's"):
        read_model(written(tmp_path, net.SerializeToString()))


def test_an_error_names_the_file_the_layer_and_the_blob(tmp_path: Path) -> None:
    net = net_with_blobs()
    net.layer[1].blobs[1].shape.dim[0] = 3
    path = written(tmp_path, net.SerializeToString())
    with pytest.raises(DataError, match="file: layer 'conv1' blob 1: 2 numbers are there, shape 3"):
        read_model(path)


def test_a_length_beyond_the_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, wire.prefix(100, 2**31 - 1))
    with pytest.raises(DataError, match="byte 0: a field needs 2147483647 bytes, 0 are left"):
        read_model(path)


def test_a_blob_may_not_reach_beyond_its_layer(tmp_path: Path) -> None:
    first = wire.prefix(7, 9) + bytes(2)
    second = net_with_blobs().SerializeToString()
    path = written(tmp_path, wire.prefix(100, len(first)) + first + second)
    with pytest.raises(DataError, match="byte 3: a field needs 9 bytes, 2 are left"):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "file: the file is empty$"),
        (b"\x0a\x05small", "file: holds no layers$"),
        (b"\x89HDF\r\n\x1a\n", "file: this is an HDF5 file"),
        (b'name: "VGG-A"\n', "byte 0: wire type 6 is not used by Caffe"),
        (b"\x02\x00", "byte 0: a field's number is 0"),
        (b"\x0d\x00\x00", "byte 0: a field needs 4 bytes, 2 are left"),
        (b"\x0a\x80", "byte 1: a number goes on behind the end"),
        (b"\xff" * 12, "byte 0: a number has more than 10 bytes"),
        (SolverState(iter=3).SerializeToString(), r"a \.solverstate: use --snapshot"),
        (proto(BIAS, 2).SerializeToString(), "a file of one blob: use it as mean_file"),
    ],
    ids=[
        "empty",
        "no layers",
        "HDF5",
        "text",
        "field 0",
        "cut number",
        "cut varint",
        "long varint",
        "state",
        "blob",
    ],
)
def test_what_is_not_a_model_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_model(written(tmp_path, content))


def test_a_path_without_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.caffemodel: No such file"):
        read_model(tmp_path / "none.caffemodel")
    with pytest.raises(MissingInputError, match="Is a directory"):
        read_model(tmp_path)


def test_a_model_cut_off_anywhere_is_an_error_or_has_fewer_layers(tmp_path: Path) -> None:
    net = net_with_blobs()
    whole = read_model(written(tmp_path, net.SerializeToString()))
    lengths = []
    for count in range(1, 3):
        part = net_with_blobs()
        del part.layer[count:]
        lengths.append(part.ByteSize())
    content = net.SerializeToString()
    for length in range(len(content)):
        path = written(tmp_path, content[:length])
        if length in lengths:
            # A cut between two layers leaves a whole file: no reader can tell.
            assert read_model(path) == whole[: lengths.index(length) + 1]
        else:
            with pytest.raises(DataError):
                read_model(path)


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_model, net_with_blobs().SerializeToString()),
        (read_state, SolverState(iter=3, history=[proto(BIAS, 2)]).SerializeToString()),
        (read_blob, proto(WEIGHTS, 2, 3).SerializeToString()),
    ],
    ids=["model", "state", "blob"],
)
def test_a_changed_bit_anywhere_gives_no_other_error_than_ours(
    tmp_path: Path, read: Callable[[Path], object], content: bytes
) -> None:
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(Error):
            read(written(tmp_path, bytes(changed)))


def state() -> SolverState:
    """With fields on both sides of the history; Caffe writes current_step even when it is 0."""
    exact = ExactState(version=1, seed=2**64 - 1, losses=[0.1, 2.5])
    return SolverState(
        iter=300, learned_net="a/vgg_iter_300.caffemodel", current_step=0, cvgg=exact
    )


def test_a_state_has_the_bytes_that_protobuf_writes() -> None:
    history = [ModelBlob((2, 3), packed(WEIGHTS)), ModelBlob((2,), packed(BIAS))]
    full = state()
    full.history.extend([proto(WEIGHTS, 2, 3), proto(BIAS, 2)])
    assert b"".join(state_bytes(state(), history)) == full.SerializeToString()


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = (ModelBlob((2, 3), packed(WEIGHTS)), ModelBlob((2,), packed(BIAS)))
    path = written(tmp_path, b"".join(state_bytes(state(), history)))
    assert read_state(path) == (state(), history)


def test_a_model_given_as_a_state_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, net_with_blobs().SerializeToString())
    with pytest.raises(DataError, match=r"file: this is a \.caffemodel: use --weights"):
        read_state(path)


def test_damage_inside_what_a_state_holds_for_cvgg_is_told(tmp_path: Path) -> None:
    content = SolverState(iter=3).SerializeToString() + wire.prefix(10001, 1) + b"\xff"
    with pytest.raises(DataError, match="file: damaged"):
        read_state(written(tmp_path, content))


@pytest.mark.parametrize(
    ("legacy", "expected"),
    [
        (False, proto(WEIGHTS, 3, 1, 2)),
        (True, BlobProto(num=1, channels=3, height=1, width=2, data=WEIGHTS)),
    ],
)
def test_a_blob_file_has_the_bytes_that_protobuf_writes(
    tmp_path: Path,
    legacy: bool,  # noqa: FBT001
    expected: BlobProto,
) -> None:
    content = b"".join(blob_bytes(ModelBlob((3, 1, 2), packed(WEIGHTS)), legacy=legacy))
    assert content == expected.SerializeToString()
    shape = (1, 3, 1, 2) if legacy else (3, 1, 2)
    assert read_blob(written(tmp_path, content)) == ModelBlob(shape, packed(WEIGHTS), legacy)


def test_a_legacy_blob_goes_back_into_a_model_as_it_came() -> None:
    net = NetParameter(layer=[LayerParameter(name="fc")])
    blob = ModelBlob((1, 1, 1, 2), packed(BIAS), legacy=True)
    content = b"".join(model_bytes(net, {"fc": [blob]}))
    net.layer[0].blobs.add(num=1, channels=1, height=1, width=2, data=BIAS)
    assert content == net.SerializeToString()


def test_a_legacy_blob_of_five_axes_is_refused() -> None:
    blob = ModelBlob((1, 1, 1, 1, 2), packed(BIAS))
    with pytest.raises(DataError, match="at most 4 axes, this one has 1 1 1 1 2"):
        list(blob_bytes(blob, legacy=True))
