"""The demo's images: the same for the same seed, different otherwise, records as promised."""

import json
from pathlib import Path

import numpy as np
import pytest

from cvgg.data.database import open_database
from cvgg.data.datum import read_datum
from cvgg.data.shapes import CLASSES, SIZE, draw, write_databases
from cvgg.errors import CannotCreateError, UsageError


def records(path: Path) -> list[tuple[bytes, bytes]]:
    database = open_database(str(path))
    return [(database.key(i), database.get(i)) for i in range(len(database))]


def test_equal_seeds_give_equal_bytes_and_another_seed_other_images(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_databases(tmp_path / name, seed=seed, train=2, test=1)
    files = [
        [(tmp_path / name / part / "data.mdb").read_bytes() for part in ("train_lmdb", "test_lmdb")]
        for name in "abc"
    ]
    assert files[0] == files[1]
    assert files[0][0] != files[2][0]
    assert files[0][1] != files[2][1]


def test_classes_follow_in_turn_and_labels_fit_their_keys(tmp_path: Path) -> None:
    train, _ = write_databases(tmp_path, train=2, test=1)
    for number, (key, record) in enumerate(records(train)):
        datum = read_datum(record, "")
        assert datum.label == number % 10
        assert key == f"{number:08d}_{CLASSES[datum.label]}".encode()
        assert datum.array("").shape == (3, SIZE, SIZE)
    facts = json.loads((train / "cvgg.json").read_text())
    assert facts["records"] == 20
    assert facts["counts"] == {str(label): 2 for label in range(10)}
    assert facts["classes"] == list(CLASSES) == sorted(CLASSES)


def test_records_hold_blue_first(tmp_path: Path) -> None:
    train, _ = write_databases(tmp_path, seed=5, train=1, test=1)
    image = np.asarray(draw(3, np.random.default_rng((5, 0, 3, 0))))
    pixels = read_datum(records(train)[3][1], "").array("")
    np.testing.assert_array_equal(pixels, image[:, :, ::-1].transpose(2, 0, 1))


def test_training_and_testing_share_no_image(tmp_path: Path) -> None:
    train, test = write_databases(tmp_path, train=3, test=3)
    images = {read_datum(record, "").data.tobytes() for _, record in records(train) + records(test)}
    assert len(images) == 60


def test_more_images_of_a_class_change_none_of_the_first(tmp_path: Path) -> None:
    few, _ = write_databases(tmp_path / "few", train=1, test=1)
    more, _ = write_databases(tmp_path / "more", train=3, test=1)
    assert records(more)[:10] == records(few)


def test_a_linear_classifier_fails_on_pixels() -> None:
    """Ridge regression on 40 images a class: 0.09, and 1.0 if place, size, turn and colours of the
    shapes are held. Chance is 0.1."""
    images = np.stack(
        [
            np.asarray(draw(label, np.random.default_rng((label, i)))).reshape(-1) / 255.0 - 0.5
            for i in range(50)
            for label in range(10)
        ]
    )
    labels = np.arange(500) % 10
    train, test = images[:400], images[400:]
    weights = np.linalg.solve(train @ train.T + 10.0 * np.eye(400), np.eye(10)[labels[:400]])
    guesses = (test @ train.T @ weights).argmax(axis=1)
    assert (guesses == labels[400:]).mean() < 0.7


def test_an_existing_database_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "test_lmdb").mkdir()
    (tmp_path / "test_lmdb" / "mine").write_text("kept")
    with pytest.raises(CannotCreateError, match="test_lmdb: exists"):
        write_databases(tmp_path, train=1, test=1)
    assert (tmp_path / "test_lmdb" / "mine").read_text() == "kept"
    assert not (tmp_path / "train_lmdb").exists()


def test_a_label_or_count_out_of_range_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label 10 must lie in 0 to 9"):
        draw(10, np.random.default_rng(0))
    with pytest.raises(UsageError, match="test images a class must be at least 1, not 0"):
        write_databases(tmp_path, train=1, test=0)
