"""The mean over a database, its file, and the command that prints it."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from databases import write_images, write_lmdb
from numpy.typing import NDArray

from cvgg.commands import compute_mean
from cvgg.data.database import open_database
from cvgg.data.datum import Datum, datum_bytes
from cvgg.data.images import Colour
from cvgg.data.mean import mean_image, mean_values, write_mean
from cvgg.data.records import DatumRecords
from cvgg.errors import CannotCreateError, DataError
from cvgg.netdef.caffemodel import read_blob

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (7, 3, 5, 4), dtype=np.uint8)


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    compute_mean.register(parser.add_subparsers())
    args = parser.parse_args(["compute-mean", *map(str, words)])
    code: int = args.run(args)
    return code


def opened(path: str) -> DatumRecords:
    return DatumRecords(open_database(path), Colour.AS_STORED)


def naive_mean(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pixel by pixel, in Python's whole numbers."""
    mean = np.zeros(images[0].shape)
    for place in np.ndindex(mean.shape):
        mean[place] = sum(int(image[place]) for image in images) / len(images)
    return mean


@pytest.mark.parametrize("threads", [1, 3])
def test_the_mean_image_is_exact(tmp_path: Path, threads: int) -> None:
    database = opened(write_images(tmp_path / "db", IMAGES))
    np.testing.assert_array_equal(mean_image(database, threads=threads), naive_mean(IMAGES))


def test_the_sum_is_not_rounded_to_float32(tmp_path: Path) -> None:
    """2**24 + 1 is 2**24 in float32."""
    records = {}
    for i, value in enumerate((2.0**24, 1.0, 1.0, 1.0)):
        floats = np.full(1, value, np.float32)
        records[b"%08d" % i] = datum_bytes(Datum(1, 1, 1, float_data=floats))
    database = opened(write_lmdb(tmp_path / "db", records))
    assert mean_image(database).item() == 2.0**22 + 0.75
    assert mean_values(database).item() == 2.0**22 + 0.75


def test_channel_means_weigh_each_pixel_once_whatever_the_sizes(tmp_path: Path) -> None:
    images = [IMAGES[0], IMAGES[1, :, :2, :3]]
    database = opened(write_images(tmp_path / "db", images))
    expected = [
        sum(int(v) for image in images for v in image[c].flat) / (5 * 4 + 2 * 3) for c in range(3)
    ]
    np.testing.assert_array_equal(mean_values(database, threads=2), expected)


def test_a_mean_image_over_two_sizes_is_an_error_that_names_the_record(tmp_path: Path) -> None:
    images = [IMAGES[0], IMAGES[1], IMAGES[2, :, :, :3]]
    database = opened(write_images(tmp_path / "db", images))
    with pytest.raises(DataError, match=r"db\[00000002\]: 3x5x3, but the first image is 3x5x4"):
        mean_image(database)
    grey = opened(write_images(tmp_path / "grey", [IMAGES[0], IMAGES[1, :1]]))
    with pytest.raises(DataError, match=r"grey\[00000001\]: 1 channels"):
        mean_values(grey)


def test_the_file_has_num_1_and_the_planes_in_order(tmp_path: Path) -> None:
    mean = np.arange(24).reshape(3, 2, 4) / 7
    write_mean(tmp_path / "mean.binaryproto", mean)
    blob = read_blob(tmp_path / "mean.binaryproto")
    assert blob.shape == (1, 3, 2, 4)
    assert blob.legacy
    np.testing.assert_array_equal(np.frombuffer(blob.data, "<f4"), mean.ravel().astype("f4"))


def test_progress_counts_every_image(tmp_path: Path) -> None:
    database = opened(write_images(tmp_path / "db", IMAGES))
    seen = []
    mean_image(database, threads=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 7) for i in range(7)]


def test_the_command_prints_the_same_with_and_without_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_images(tmp_path / "db", IMAGES)
    assert run(path) == 0
    alone = capsys.readouterr().out
    assert run(path, tmp_path / "mean.binaryproto", "--threads", 2) == 0
    assert capsys.readouterr().out == alone
    means = naive_mean(IMAGES).mean(axis=(1, 2))
    assert alone.splitlines() == [f"mean_value channel [{c}]: {means[c]:.6f}" for c in range(3)]
    assert read_blob(tmp_path / "mean.binaryproto").shape == (1, 3, 5, 4)


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_images(tmp_path / "db", IMAGES), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 7
    # Sums of 140 bytes are exact; two divisions, by 20 and 7, against one by 140.
    np.testing.assert_allclose(result["mean_value"], IMAGES.mean(axis=(0, 2, 3)), rtol=1e-15)


def test_the_command_looks_at_the_output_folder_first(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="no folder"):
        run(tmp_path / "absent", tmp_path / "nowhere" / "mean.binaryproto")
