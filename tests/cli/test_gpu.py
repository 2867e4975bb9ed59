"""--gpu where there is none: one line, exit 69, and never the CPU in its place."""

import sys
from pathlib import Path

import nets
import pytest
from shell import Shell


@pytest.fixture(autouse=True)
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.prototxt"
    path.write_text(nets.dummy_data(2) + nets.fc("fc", "data", 3) + nets.loss("fc"))
    return str(path)


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("0", 69, "CuPy cannot be loaded"),
        ("3", 69, "CuPy cannot be loaded"),
        ("all", 69, "--gpu all: several GPUs are not there yet; name one, as --gpu 0"),
        ("first", 2, "--gpu first: the number of a GPU, as 0"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_line(
    word: str, code: int, said: str, cvgg: Shell, net: str
) -> None:
    done = cvgg("time", "--model", net, "--gpu", word)
    assert done.code == code
    (line,) = done.err.splitlines()
    assert line.startswith(f"cvgg: error: {said}")
    assert done.out == ""


def test_a_solver_that_says_gpu_is_refused_too(cvgg: Shell, tmp_path: Path, net: str) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(f'net: "{net}" solver_mode: GPU base_lr: 0.1 lr_policy: "fixed" max_iter: 1')
    done = cvgg("train", "--solver", path)
    assert done.code == 69
    assert "CuPy cannot be loaded" in done.err
    assert "--cpu" in done.err


def test_without_a_word_and_without_a_card_it_is_the_cpu(cvgg: Shell, net: str) -> None:
    done = cvgg("time", "--model", net, "--iterations", 1)
    assert done.code == 0
    assert "Engine cpu" in done.err
    assert "CuPy" in done.err
