"""The layers that bring data: Data, ImageData, Input, DummyData."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import numbered, write_images, write_lmdb
from google.protobuf import text_format
from numpy.typing import NDArray
from PIL import Image

from cvgg.blob import Blob
from cvgg.data.datum import Datum, datum_bytes
from cvgg.data.transform import Cropper, draw
from cvgg.errors import DataError, LayerError, MissingInputError, ShapeError
from cvgg.kernels import cpu
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Layer, Own, Pass, Setting, SourceLayer
from cvgg.layers.data import Data
from cvgg.layers.dummy_data import DummyData
from cvgg.layers.image_data import ImageData
from cvgg.layers.input import Input
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, BlobProto, LayerParameter

SEED, SHAPE, COUNT, BATCH = 11, (3, 6, 5), 7, 4
IMAGES = numbered(COUNT, SHAPE)
GOOD = 'data_param { source: "a" batch_size: 4 backend: LMDB }'


KERNELS: Kernels = cpu


def spec(text: str, *tops: str) -> LayerParameter:
    message = LayerParameter(name="data", top=tops or ("data", "label"))
    text_format.Parse(text, message)
    return message


def data_spec(source: str, more: str = "", transform: str = "") -> LayerParameter:
    return spec(
        f'data_param {{ source: "{source}" batch_size: {BATCH} backend: LMDB {more} }}'
        f"transform_param {{ {transform} }}"
    )


def tops_of(layer: Layer) -> list[Blob]:
    return [Blob("top", shape, np.full(shape, -7, np.float32)) for shape in layer.tops]


def own_of(layer: SourceLayer, *, seed: int = SEED) -> Own:
    buffers = {each.name: np.zeros(each.shape, each.dtype) for each in layer.buffers}
    none = np.zeros(0, np.float32)
    return Own([], buffers, none, none, feed=layer.open(seed=seed, threads=2))


def load(layer: SourceLayer, this: Pass, own: Own | None = None) -> list[NDArray[np.float32]]:
    """The data of the tops after one pass."""
    tops, mine = tops_of(layer), own or own_of(layer)
    layer.load(tops, mine, this)
    layer.forward(KERNELS, [], tops, mine)
    layer.forward(KERNELS, [], tops, mine)
    if own is None:
        mine.feed.close()
    return [top.data for top in tops]


def batch(number: int, *, first: int = 0, images: int = BATCH, draw: int = 0) -> Pass:
    return Pass(draw, number, first, images)


# ---- Data
def test_data_brings_images_and_labels_of_the_batch(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES, label=40)
    layer = Data(data_spec(path), [], Setting(TRAIN))
    assert layer.tops == ((BATCH, *SHAPE), (BATCH,))
    assert layer.batch_size == BATCH
    images, labels = load(layer, batch(1))
    wanted = [4, 5, 6, 0]
    np.testing.assert_array_equal(images, [IMAGES[i] for i in wanted])
    np.testing.assert_array_equal(labels, [40 + i for i in wanted])


def test_data_without_a_label_top_brings_images(tmp_path: Path) -> None:
    message = data_spec(write_images(tmp_path / "db", IMAGES))
    del message.top[1]
    layer = Data(message, [], Setting(TEST))
    assert layer.tops == ((BATCH, *SHAPE),)
    (images,) = load(layer, batch(0))
    np.testing.assert_array_equal(images, IMAGES[:BATCH])


def test_data_brings_a_part_of_the_batch_to_each_micro_batch(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES, label=40)
    layer = Data(data_spec(path, transform="crop_size: 4 mirror: true"), [], Setting(TRAIN))
    images, labels = load(layer, batch(1))
    half = Data(
        data_spec(path, transform="crop_size: 4 mirror: true"), [], Setting(TRAIN, images=2)
    )
    assert half.tops == ((2, 3, 4, 4), (2,))
    assert half.batch_size == BATCH
    own = own_of(half)
    for first in (0, 2):
        part, part_labels = load(half, batch(1, first=first, images=2), own)
        np.testing.assert_array_equal(part, images[first : first + 2])
        np.testing.assert_array_equal(part_labels, labels[first : first + 2])
    own.feed.close()


def test_data_takes_the_mean_image_at_the_crop_and_then_scales(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    mean = np.arange(90, dtype=np.float32).reshape(SHAPE) / 4
    proto = BlobProto(data=mean.ravel().tolist(), num=1, channels=3, height=6, width=5)
    (tmp_path / "mean").write_bytes(proto.SerializeToString())
    transform = f'crop_size: 4 mirror: true scale: 0.5 mean_file: "{tmp_path}/mean"'
    layer = Data(data_spec(path, transform=transform), [], Setting(TRAIN))
    own = own_of(layer)
    for number in (1, 2):
        images, _ = load(layer, batch(number), own)
        positions = number * BATCH + np.arange(BATCH)
        words = draw(positions, layer="data", seed=SEED)
        for i, position in enumerate(positions):
            row, column, mirror = Cropper(4, mirror=True, random=True).place(6, 5, words[i])
            whole = (IMAGES[position % COUNT] - mean.astype(float)) * 0.5
            cut = whole[:, row : row + 4, column : column + 4]
            # Quarters and halves of small whole numbers: exact in float32.
            np.testing.assert_array_equal(images[i], cut[:, :, ::-1] if mirror else cut)
    own.feed.close()


def test_data_writes_its_mean_into_new_buffers_too(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    layer = Data(data_spec(path, transform="mean_value: 9"), [], Setting(TEST))
    own = own_of(layer)
    for _ in range(2):
        images, _ = load(layer, batch(0), own)
        np.testing.assert_array_equal(images, np.stack(IMAGES[:BATCH]).astype(float) - 9)
        own.buffers = {each.name: np.zeros(each.shape, each.dtype) for each in layer.buffers}
    own.feed.close()


def test_data_in_test_cuts_the_centre(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    layer = Data(data_spec(path, transform="crop_size: 3"), [], Setting(TEST))
    images, _ = load(layer, batch(0))
    np.testing.assert_array_equal(images, [image[:, 1:4, 1:4] for image in IMAGES[:BATCH]])


def test_data_shuffles_if_asked_for_and_has_every_record_once_an_epoch(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    layer = Data(data_spec(path, more="shuffle: true prefetch: 0"), [], Setting(TRAIN))
    own = own_of(layer)
    labels = np.concatenate([load(layer, batch(number), own)[1] for number in range(7)])
    own.feed.close()
    epochs = labels.reshape(4, COUNT)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(COUNT), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_data_skips_the_same_number_of_records_for_one_seed(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    firsts = set()
    for seed in range(12):
        layer = Data(data_spec(path, more="rand_skip: 3"), [], Setting(TRAIN))
        first = []
        for _ in range(2):
            own = own_of(layer, seed=seed)
            first.append(load(layer, batch(0), own)[1][0])
            own.feed.close()
        assert first[0] == first[1]
        firsts.add(first[0])
    assert firsts == {0, 1, 2}


def test_data_brings_floats_as_they_are(tmp_path: Path) -> None:
    values = np.array([0.25, -3.5, 1e9, 7.0, 2.0, 0.0], np.float32)
    record = datum_bytes(Datum(2, 3, 1, label=1, float_data=values))
    path = write_lmdb(tmp_path / "db", {b"a": record})
    layer = Data(data_spec(path), [], Setting(TEST))
    assert {each.name: each.dtype for each in layer.buffers}["images"] == "float32"
    images, _ = load(layer, batch(0))
    np.testing.assert_array_equal(images, np.tile(values.reshape(2, 3, 1), (BATCH, 1, 1, 1)))


@pytest.mark.parametrize(
    ("more", "transform", "channels"),
    [
        ("", "", 1),
        ("force_encoded_color: true", "", 3),
        ("", "force_color: true", 3),
        ("force_encoded_color: true", "force_gray: true", 1),
    ],
)
def test_data_decodes_images_with_the_channels_asked_for(
    tmp_path: Path, more: str, transform: str, channels: int
) -> None:
    Image.fromarray(IMAGES[0][0]).save(tmp_path / "a.png")
    encoded = Datum(data=(tmp_path / "a.png").read_bytes(), encoded=True)
    path = write_lmdb(tmp_path / "db", {b"a": datum_bytes(encoded)})
    layer = Data(data_spec(path, more, transform), [], Setting(TEST))
    assert layer.tops[0] == (BATCH, channels, 6, 5)
    images, _ = load(layer, batch(0))
    np.testing.assert_array_equal(images[3, channels - 1], IMAGES[0][0])


def test_data_counts_the_ignored_labels_of_the_whole_batch(tmp_path: Path) -> None:
    records = {
        b"%d" % i: datum_bytes(Datum(1, 1, 1, b"a", label))
        for i, label in enumerate([255, 1, 255, 3, 255, 5])
    }
    layer = Data(data_spec(write_lmdb(tmp_path / "db", records)), [], Setting(TRAIN, images=1))
    own = own_of(layer)
    assert layer.ignored(own, batch(0, images=1), 1, 255) == 2
    assert layer.ignored(own, batch(1, first=3, images=1), 1, 255) == 2
    assert layer.ignored(own, batch(2, images=1), 1, 255) == 2
    assert layer.ignored(own, batch(0, images=1), 1, 4) == 0
    with pytest.raises(LayerError, match="top 0 of Data brings no labels"):
        layer.ignored(own, batch(0), 0, 255)
    own.feed.close()


@pytest.mark.parametrize(
    ("transform", "channels"),
    [
        ("crop_size: 4", 3),
        ("crop_size: 4 mean_value: 7", 3),
        ("crop_size: 4 mean_value: 7 mean_value: 8", 2),
        ("crop_size: 4 force_gray: true", 1),
    ],
)
def test_data_has_shapes_without_its_database_if_it_crops(
    tmp_path: Path, transform: str, channels: int
) -> None:
    layer = Data(data_spec(f"{tmp_path}/none", transform=transform), [], Setting(TRAIN))
    assert layer.tops == ((BATCH, channels, 4, 4), (BATCH,))
    with pytest.raises(MissingInputError, match=r"none: .*make it with: cvgg convert-imagenet"):
        layer.open(seed=SEED, threads=1)


def test_data_takes_the_channels_from_the_database_if_it_is_there(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", numbered(2, (1, 6, 5)))
    layer = Data(data_spec(path, transform="crop_size: 4"), [], Setting(TRAIN))
    assert layer.tops[0] == (BATCH, 1, 4, 4)


def test_data_needs_its_database_if_it_does_not_crop(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="none: no such database"):
        Data(data_spec(f"{tmp_path}/none"), [], Setting(TRAIN))


def test_data_says_at_open_that_its_mean_file_was_missing(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    transform = f'crop_size: 4 mean_file: "{tmp_path}/mean"'
    layer = Data(data_spec(path, transform=transform), [], Setting(TRAIN))
    with pytest.raises(MissingInputError, match=r"mean: no such mean_file .*cvgg compute-mean DB"):
        layer.open(seed=SEED, threads=1)


def test_two_data_layers_of_one_source_share_it(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    feeds = [
        Data(data_spec(path), [], Setting(phase)).open(seed=SEED, threads=1)
        for phase in (TRAIN, TEST)
    ]
    for feed in feeds:
        np.testing.assert_array_equal(feed.take(0).labels, [0, 1, 2, 3])
        feed.close()


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        ("data_param { batch_size: 4 backend: LMDB }", "source", "source is missing"),
        ('data_param { source: "a" backend: LMDB }', "batch_size", "batch_size must be above 0"),
        ('data_param { source: "a" batch_size: 4 }', "backend", "write backend: LMDB"),
        (
            'data_param { source: "a" batch_size: 4 backend: LEVELDB }',
            "backend",
            "convert-imagenet SOURCE a",
        ),
        (
            f"{GOOD} transform_param {{ force_gray: true force_color: true }}",
            "force_gray",
            "exclude",
        ),
        (
            f'{GOOD} transform_param {{ mean_value: 1 mean_file: "m" }}',
            "mean_value",
            "exclude",
        ),
    ],
)
def test_data_refuses_settings_that_it_cannot_obey(text: str, field: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as raised:
        Data(spec(text), [], Setting(TRAIN))
    assert raised.value.field == field


def test_data_refuses_a_crop_that_does_not_fit_the_first_image(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    with pytest.raises(LayerError, match="crop_size 6 does not fit in images of 6 5 pixels"):
        Data(data_spec(path, transform="crop_size: 6"), [], Setting(TRAIN))


def test_data_refuses_a_mean_image_of_another_size_than_the_images(tmp_path: Path) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    proto = BlobProto(data=[1.0] * 48, num=1, channels=3, height=4, width=4)
    (tmp_path / "mean").write_bytes(proto.SerializeToString())
    transform = f'crop_size: 4 mean_file: "{tmp_path}/mean"'
    with pytest.raises(LayerError, match=r"mean is of 4 4 pixels .* first image of 6 5"):
        Data(data_spec(path, transform=transform), [], Setting(TRAIN))


# ---- ImageData
def write_list(tmp_path: Path) -> Mapping[str, Any]:
    """Two PNG files and a list; gives what image_data_param needs."""
    (tmp_path / "a dir").mkdir()
    for i, name in enumerate(("a.png", "b.png")):
        Image.fromarray(IMAGES[i].transpose(1, 2, 0)[:, :, ::-1]).save(tmp_path / "a dir" / name)
    (tmp_path / "list").write_text("a dir/a.png 5\na dir/b.png 6\n")
    return {"source": f"{tmp_path}/list", "root_folder": f"{tmp_path}/", "batch_size": 3}


def image_spec(param: Mapping[str, Any], transform: str = "") -> LayerParameter:
    message = spec(f"transform_param {{ {transform} }}")
    for name, value in param.items():
        setattr(message.image_data_param, name, value)
    return message


def test_image_data_brings_the_files_of_its_list(tmp_path: Path) -> None:
    layer = ImageData(image_spec(write_list(tmp_path)), [], Setting(TEST))
    assert layer.tops == ((3, *SHAPE), (3,))
    images, labels = load(layer, batch(0, images=3))
    np.testing.assert_array_equal(images, [IMAGES[0], IMAGES[1], IMAGES[0]])
    np.testing.assert_array_equal(labels, [5, 6, 5])
    own = own_of(layer)
    assert layer.ignored(own, batch(1, images=3), 1, 6) == 2
    own.feed.close()


def test_image_data_resizes_crops_and_greys(tmp_path: Path) -> None:
    param = {**write_list(tmp_path), "new_height": 4, "new_width": 8, "is_color": False}
    layer = ImageData(image_spec(param), [], Setting(TEST))
    assert layer.tops[0] == (3, 1, 4, 8)
    load(layer, batch(0, images=3))
    layer = ImageData(image_spec(param, "crop_size: 3"), [], Setting(TEST))
    assert layer.tops[0] == (3, 1, 3, 3)
    whole = ImageData(image_spec(param), [], Setting(TEST))
    cut, _ = load(layer, batch(0, images=3))
    images, _ = load(whole, batch(0, images=3))
    np.testing.assert_array_equal(cut, images[:, :, 0:3, 2:5])


def test_image_data_shuffles_if_asked_for(tmp_path: Path) -> None:
    param = {**write_list(tmp_path), "shuffle": True, "batch_size": 2}
    layer = ImageData(image_spec(param), [], Setting(TRAIN))
    own = own_of(layer)
    epochs = {tuple(load(layer, batch(n, images=2), own)[1].tolist()) for n in range(12)}
    own.feed.close()
    assert epochs == {(5, 6), (6, 5)}


def test_image_data_names_the_line_of_a_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    param = write_list(tmp_path)
    (tmp_path / "a dir" / "b.png").write_bytes(b"<html>")
    layer = ImageData(image_spec(param), [], Setting(TEST))
    with pytest.raises(DataError, match=r"list:2: .*a dir/b\.png: not an image"):
        load(layer, batch(0, images=3))
    (tmp_path / "a dir" / "b.png").unlink()
    with pytest.raises(MissingInputError, match=r"list:2: .*a dir/b\.png: no such file"):
        load(layer, batch(0, images=3))


def test_image_data_wants_both_new_sides_or_none(tmp_path: Path) -> None:
    param = {**write_list(tmp_path), "new_height": 4}
    with pytest.raises(LayerError, match="both new_height and new_width") as raised:
        ImageData(image_spec(param), [], Setting(TEST))
    assert raised.value.field == "new_width"


# ---- Input
def test_input_has_one_shape_for_all_tops_or_one_for_each() -> None:
    one = "input_param { shape { dim: 2 dim: 3 } }"
    two = "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }"
    assert Input(spec(one, "a", "b"), [], Setting()).tops == ((2, 3), (2, 3))
    assert Input(spec(two, "a", "b"), [], Setting()).tops == ((2, 3), (2,))
    with pytest.raises(ShapeError, match="2 shapes for 3 tops"):
        Input(spec(two, "a", "b", "c"), [], Setting())


def test_input_takes_the_shapes_asked_for() -> None:
    one = "input_param { shape { dim: 2 dim: 3 } }"
    setting = Setting(inputs={"b": (5, 7)})
    assert Input(spec(one, "a", "b"), [], setting).tops == ((2, 3), (5, 7))
    assert Input(spec("", "b"), [], setting).tops == ((5, 7),)
    with pytest.raises(ShapeError, match="0 shapes for 1 tops"):
        Input(spec("", "a"), [], setting)


def test_input_refuses_a_length_of_zero() -> None:
    with pytest.raises(ShapeError, match="top 'a' has shape 2 0; every length must be above 0"):
        Input(spec("input_param { shape { dim: 2 dim: 0 } }", "a"), [], Setting())


# ---- DummyData
DUMMY = """dummy_data_param {
  shape { dim: 40 dim: 30 } shape { dim: 50 dim: 20 } shape { dim: 3 }
  data_filler { type: "uniform" min: -2 max: 6 }
  data_filler { type: "gaussian" mean: 5 std: 0.5 }
  data_filler { type: "constant" value: 4 } }"""


def test_dummy_data_fills_each_top_by_its_filler() -> None:
    layer = DummyData(spec(DUMMY, "u", "g", "c"), [], Setting(TRAIN))
    assert layer.tops == ((40, 30), (50, 20), (3,))
    u, g, c = load(layer, batch(0))
    # Standard errors: 8/sqrt(12)/sqrt(1200) = 0.067 and 0.5/sqrt(1000) = 0.016; 5 of them.
    assert abs(u.mean() - 2) < 0.34
    assert -2 < u.min() < -1.9
    assert 5.9 < u.max() < 6
    assert abs(g.mean() - 5) < 0.08
    assert abs(g.std() - 0.5) < 0.06  # 5 * 0.5 / sqrt(2000)
    np.testing.assert_array_equal(c, [4, 4, 4])


def test_dummy_data_is_drawn_anew_for_each_pass_and_the_same_for_the_same() -> None:
    layer = DummyData(spec(DUMMY, "u", "g", "c"), [], Setting(TRAIN))
    own = own_of(layer)
    first, again, other = (load(layer, batch(0, draw=draw), own) for draw in (3, 3, 4))
    for top in (0, 1):
        np.testing.assert_array_equal(first[top], again[top])
        assert (first[top] != other[top]).mean() > 0.99
    seeds = load(layer, batch(0, draw=3), own_of(layer, seed=SEED + 1))
    assert (first[0] != seeds[0]).mean() > 0.99


def test_dummy_data_brings_a_part_of_the_batch_to_each_micro_batch() -> None:
    text = """dummy_data_param { shape { dim: 5 dim: 3 } shape { dim: 5 }
      data_filler { type: "gaussian" } data_filler { type: "constant" value: 4 } }"""
    layer = DummyData(spec(text), [], Setting(TRAIN))
    part = DummyData(spec(text), [], Setting(TRAIN, images=2))
    assert layer.batch_size == part.batch_size == 5
    assert part.tops == ((2, 3), (2,))
    images, _ = load(layer, batch(0, images=5, draw=9))
    cut, labels = load(part, batch(0, first=3, images=2, draw=9))
    np.testing.assert_array_equal(cut, images[3:])
    np.testing.assert_array_equal(labels, [4, 4])
    assert part.ignored(own_of(part), batch(0, images=2), 1, 4) == 5
    assert part.ignored(own_of(part), batch(0, images=2), 1, 3) == 0


@pytest.mark.parametrize("second", ["dim: 4", ""])
def test_tops_of_a_dummy_data_with_other_first_lengths_are_no_batch(second: str) -> None:
    text = f"dummy_data_param {{ shape {{ dim: 5 dim: 3 }} shape {{ {second} }} }}"
    layer = DummyData(spec(text), [], Setting(TRAIN, images=2))
    assert layer.batch_size is None
    assert layer.tops[0] == (5, 3)
    scalar = DummyData(spec("dummy_data_param { shape { } }", "a"), [], Setting(TRAIN))
    assert scalar.batch_size is None


def test_two_tops_of_a_dummy_data_differ() -> None:
    text = 'dummy_data_param { shape { dim: 50 } data_filler { type: "gaussian" } }'
    a, b = load(DummyData(spec(text, "a", "b"), [], Setting(TRAIN)), batch(0))
    assert (a != b).all()


def test_dummy_data_knows_the_older_fields_and_fills_with_zeros_by_itself() -> None:
    text = "dummy_data_param { num: 2 num: 5 channels: 3 height: 4 width: 1 width: 6 }"
    layer = DummyData(spec(text, "a", "b"), [], Setting(TRAIN))
    assert layer.tops == ((2, 3, 4, 1), (5, 3, 4, 6))
    assert not any(top.any() for top in load(layer, batch(0)))


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        ("num: 2 channels: 3 height: 4", "num", "given 1, 1, 1, 0 times"),
        ("num: 2 num: 2 num: 2 channels: 3 height: 4 width: 1", "shape", "3 times for 2 tops"),
        ("num: 2 channels: 3 height: 4 width: 1 shape { dim: 2 }", "shape", "not both"),
        ("", "num", "must each be given"),
        ("shape { dim: 2 } " + "data_filler { } " * 3, "data_filler", "3 times for 2 tops"),
        ('shape { dim: 2 } data_filler { type: "xavier" }', "data_filler.type", "'xavier'"),
        (
            'shape { dim: 2 } data_filler { type: "gaussian" sparse: 1 }',
            "data_filler.sparse",
            "sparse",
        ),
        ("shape { dim: -2 }", "shape", "has shape -2"),
    ],
)
def test_dummy_data_refuses_what_it_cannot_fill(text: str, field: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as raised:
        DummyData(spec(f"dummy_data_param {{ {text} }}", "a", "b"), [], Setting(TRAIN))
    assert raised.value.field == field
