"""Where images are cut and mirrored, and what is taken off them."""

from pathlib import Path

import numpy as np
import pytest

from cvgg.data.images import Colour
from cvgg.data.transform import Cropper, check, colour_of, draw, read_mean
from cvgg.errors import DataError, LayerError
from cvgg.kernels.philox import Purpose, hash_name, philox
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, BlobProto, TransformationParameter

SEED = (5 << 32) + 77


def words(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(numbers, np.uint32)


def test_a_position_draws_its_own_words_whatever_comes_with_it() -> None:
    positions = np.array([0, 7, (1 << 32) - 1, 1 << 32, (3 << 32) + 7], np.int64)
    drawn = draw(positions, layer="data", seed=SEED)
    for position, row in zip(positions.tolist(), drawn, strict=True):
        counter = (position & 0xFFFFFFFF, position >> 32, hash_name("data"), Purpose.AUGMENT)
        np.testing.assert_array_equal(row, philox(counter, SEED)[0])
    assert len(np.unique(drawn)) == drawn.size


def test_in_test_the_crop_is_in_the_centre_rounded_down() -> None:
    cropper = Cropper.of(TransformationParameter(crop_size=4), TEST)
    assert not cropper.draws
    assert cropper.place(9, 4, words(2**32 - 1, 2**32 - 1, 2**32 - 1, 0)) == (2, 0, 0)


def test_in_train_row_and_column_reach_both_ends_and_nothing_else() -> None:
    cropper = Cropper.of(TransformationParameter(crop_size=4), TRAIN)
    assert cropper.draws
    last = 2**32 - 1
    assert cropper.place(9, 6, words(last, 0, 0, last)) == (0, 0, 0)
    assert cropper.place(9, 6, words(0, last, last, 0)) == (5, 2, 0)
    # Each of the 6 rows takes a sixth of the words.
    assert cropper.place(9, 6, words(0, last // 6 + 1, 0, 0))[0] == 1


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_mirror_is_drawn_in_both_phases_if_it_is_set(phase: int) -> None:
    cropper = Cropper.of(TransformationParameter(mirror=True), phase)
    assert cropper.draws
    assert cropper.place(3, 3, words(1 << 31, 0, 0, 0)) == (0, 0, 1)
    assert cropper.place(3, 3, words((1 << 31) - 1, 0, 0, 0)) == (0, 0, 0)
    assert Cropper.of(TransformationParameter(), phase).place(3, 3, words(1 << 31, 0, 0, 0))[2] == 0


def test_mean_values_are_one_for_each_channel_or_one_for_all() -> None:
    mean = read_mean(TransformationParameter(mean_value=[1.5, 2, 3]), 3)
    assert mean is not None
    assert (mean.dtype.name, mean.shape) == ("float32", (3, 1, 1))
    np.testing.assert_array_equal(mean[:, 0, 0], [1.5, 2, 3])
    mean = read_mean(TransformationParameter(mean_value=[4]), 3)
    assert mean is not None
    np.testing.assert_array_equal(mean[:, 0, 0], [4, 4, 4])
    assert read_mean(TransformationParameter(), 3) is None
    with pytest.raises(LayerError, match=r"once or 3 times .* not 2 times"):
        read_mean(TransformationParameter(mean_value=[1, 2]), 3)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_mean_file_is_a_whole_image(tmp_path: Path, *, legacy: bool) -> None:
    values = np.arange(24, dtype=np.float32)
    proto = BlobProto(data=values.tolist())
    if legacy:
        proto.num, proto.channels, proto.height, proto.width = 1, 2, 3, 4
    else:
        proto.shape.dim.extend([2, 3, 4])
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(proto.SerializeToString())
    param = TransformationParameter(mean_file=str(path))
    mean = read_mean(param, 2)
    assert mean is not None
    np.testing.assert_array_equal(mean, values.reshape(2, 3, 4))
    with pytest.raises(LayerError, match=r"mean\.binaryproto has 2 channels, the images have 3"):
        read_mean(param, 3)


def test_a_mean_file_of_other_axes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    proto = BlobProto(data=[1.0] * 6)
    proto.shape.dim.extend([2, 3])
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(DataError, match=r"mean\.binaryproto: .* 1 c h w, not 2 3"):
        read_mean(TransformationParameter(mean_file=str(path)), 2)


def test_a_mean_file_that_is_missing_is_left_to_open() -> None:
    assert read_mean(TransformationParameter(mean_file="none/mean.binaryproto"), 3) is None


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(LayerError, match="mean_file and mean_value"):
        check(TransformationParameter(mean_file="a", mean_value=[1]))
    with pytest.raises(LayerError, match="force_color and force_gray"):
        colour_of(TransformationParameter(force_color=True, force_gray=True), Colour.COLOUR)


def test_force_color_and_force_gray_overrule_the_layer() -> None:
    for default in Colour:
        assert colour_of(TransformationParameter(), default) is default
        assert colour_of(TransformationParameter(force_color=True), default) is Colour.COLOUR
        assert colour_of(TransformationParameter(force_gray=True), default) is Colour.GREY
