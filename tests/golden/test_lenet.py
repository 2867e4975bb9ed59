"""The first 20 iterations of LeNet against what the original Caffe recorded. See README.md here."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from databases import write_lmdb
from numpy.typing import NDArray

import cvgg
from cvgg.data.datum import Datum, datum_bytes

FOLDER = Path(__file__).parent / "lenet"


def write_digits(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    write_lmdb(
        path,
        {
            b"%08d" % i: datum_bytes(Datum(1, 28, 28, image.tobytes(), int(label)))
            for i, (image, label) in enumerate(zip(images, labels, strict=True))
        },
    )


def test_lenet_learns_as_the_original_caffe_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = np.load(FOLDER / "digits.npz")
    write_digits(tmp_path / "mnist_train_lmdb", digits["train"], digits["train_labels"])
    write_digits(tmp_path / "mnist_test_lmdb", digits["test"], digits["test_labels"])
    for name in ("lenet_train_test.prototxt", "solver_sgd.prototxt"):
        shutil.copy(FOLDER / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    solver = cvgg.Solver("solver_sgd.prototxt")
    solver.net.copy_from(FOLDER / "init.caffemodel")
    records: list[dict[str, object]] = []
    solver.report.listeners.append(records.append)
    solver.step(20)
    solver.close()
    losses = [record["loss"] for record in records if record["event"] == "train"]
    # Recorded with 6 digits: 5e-6 of a loss near 2. After some 40 iterations the BLAS library's
    # rounding has decided a maximum another way, and two right programs part company.
    np.testing.assert_allclose(losses, digits["losses"], rtol=0, atol=2e-5)
    (test,) = (record["outputs"] for record in records if record["event"] == "test")
    assert isinstance(test, dict)
    accuracy, loss = digits["test_outputs"]
    assert test["accuracy"] == pytest.approx(accuracy, abs=1e-6)  # 1 image is 5e-4
    assert test["loss"] == pytest.approx(loss, abs=1e-5)
