"""Layers against what the original Caffe computed. See README.md in this folder."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cvgg.engine import Engine
from cvgg.netdef.caffe_pb2 import TEST, TRAIN
from cvgg.testing import STALE, OneLayer

FOLDER = Path(__file__).parent / "layers"
CASES = sorted(path.stem for path in FOLDER.glob("*.prototxt"))


def recorded(values: NDArray[np.float32], name: str) -> list[NDArray[np.float32]]:
    """The arrays name0, name1, ... of a recording."""
    found = []
    while f"{name}{len(found)}" in values:
        found.append(values[f"{name}{len(found)}"])
    return found


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """L2 norm of the difference, relative to theirs (absolute where theirs is 0)."""
    assert ours.shape == theirs.shape
    ours64, theirs64 = ours.astype(np.float64), theirs.astype(np.float64)
    norm = float(np.linalg.norm(theirs64))
    return float(np.linalg.norm(ours64 - theirs64)) / (norm or 1.0)


def tolerance(case: str) -> float:
    """Caffe itself spreads by 4e-6; a Winograd convolution rounds otherwise."""
    return 5e-5 if case.startswith("conv") else 1e-5


@pytest.fixture
def recording(case: str) -> dict[str, NDArray[np.float32]]:
    with np.load(FOLDER / f"{case}.npz") as file:
        return dict(file)


@pytest.fixture
def layer(case: str, recording: dict[str, NDArray[np.float32]], engine: Engine) -> OneLayer:
    return OneLayer(
        (FOLDER / f"{case}.prototxt").read_text(),
        recorded(recording, "bottom"),
        phase=TRAIN if case == "batchnorm_train" else TEST,
        params=recorded(recording, "param"),
        engine=engine,
    )


def test_there_are_recordings() -> None:
    assert len(CASES) == 15


@pytest.mark.parametrize("case", CASES)
def test_forward_is_what_caffe_computed(
    case: str, layer: OneLayer, recording: dict[str, NDArray[np.float32]]
) -> None:
    theirs = [values for key, values in recording.items() if key.startswith("top/")]
    ours = layer.forward()
    assert len(ours) == len(theirs)
    for top, expected in zip(ours, theirs, strict=True):
        assert distance(top, expected) <= tolerance(case)
    for param, expected in zip(layer.params, recorded(recording, "param_after"), strict=True):
        assert distance(param, expected) <= tolerance(case)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("accuracy")])
def test_backward_is_what_caffe_computed(
    case: str, layer: OneLayer, recording: dict[str, NDArray[np.float32]]
) -> None:
    diffs = [values for key, values in recording.items() if key.startswith("topdiff/")]
    layer.forward()
    bottoms = layer.backward(diffs or [np.ones((), np.float32)])
    for index, expected in enumerate(recorded(recording, "bottomdiff")):
        if index in layer.layer.labels:
            assert np.all(bottoms[index] == STALE)  # labels get no gradient
        else:
            assert distance(bottoms[index], expected) <= tolerance(case)
    theirs = recorded(recording, "paramdiff")
    for ours, expected in zip(layer.param_diffs, theirs, strict=True):
        if ours is None:
            assert not np.any(expected)  # what is not learned has no gradient in Caffe either
        else:
            assert distance(ours, expected) <= tolerance(case)
