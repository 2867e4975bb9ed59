"""Winograd's convolution: how exact it is, in blocks, for any number of threads."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from reference import Array

from cvgg.engine import open_engine
from cvgg.kernels import cpu
from cvgg.kernels.cpu.processor import AVX2

pytestmark = pytest.mark.skipif(AVX2 is None, reason="this processor has no AVX2 and FMA")
RANDOM = np.random.default_rng(6)
PLAIN: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "group": 1}
FUNCTIONS = "forward", "backward_data", "backward_weights"
# Of the largest value: six numbers of each transform, and the sums of up to 512 products.
BOUND = {"forward": 2e-5, "backward_data": 2e-5, "backward_weights": 4e-5}
DIRECT_BOUND = 4e-6


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    yield
    cpu.set_threads(2)


def draw(*shape: int) -> Array:
    return RANDOM.standard_normal(shape, np.float32)


def exact(x: Array, w: Array, dy: Array, pad: tuple[int, int]) -> dict[str, Array]:
    """The three passes in float64, tap by tap."""
    p, q = dy.shape[2:]
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    y, dx, dw = np.zeros(dy.shape), np.zeros(wide.shape), np.zeros(w.shape)
    for i in range(3):
        for j in range(3):
            here = np.s_[:, :, i : i + p, j : j + q]
            tap = w[:, :, i, j].astype(np.float64)
            y += np.einsum("nchw,kc->nkhw", wide[here], tap, optimize=True)
            dx[here] += np.einsum("nkhw,kc->nchw", dy, tap, optimize=True)
            dw[:, :, i, j] = np.einsum("nkhw,nchw->kc", dy, wide[here], optimize=True)
    inside = np.s_[:, :, pad[0] : pad[0] + x.shape[2], pad[1] : pad[1] + x.shape[3]]
    return {"forward": y, "backward_data": dx[inside], "backward_weights": dw}


def computed(kernels: Any, x: Array, w: Array, dy: Array, pad: tuple[int, int]) -> dict[str, Array]:
    """The same by a backend; workspace and results are full of NaN before."""
    said = {**PLAIN, "pad": pad}
    size = kernels.conv_workspace(x.shape, w.shape, **said)

    def scratch() -> dict[str, Any]:
        return {**said, "workspace": np.full(size, np.nan, np.float32)}

    y, dx, dw = np.full_like(dy, np.nan), np.full_like(x, np.nan), np.zeros_like(w)
    kernels.conv_forward(x, w, None, y, **scratch())
    kernels.conv_backward_data(w, dy, dx, **scratch())
    kernels.conv_backward_weights(x, dy, dw, None, **scratch())
    return {"forward": y, "backward_data": dx, "backward_weights": dw}


SHAPES = {
    "two blocks of rows of tiles": ((11, 72, 30, 43), 20, (1, 1)),
    "parts of a block": ((5, 40, 30, 43), 52, (1, 1)),
    "a rest in every direction": ((2, 9, 5, 7), 17, (1, 1)),
    "no padding": ((2, 11, 6, 9), 8, (0, 0)),
    "all the padding there can be": ((1, 8, 3, 4), 19, (2, 2)),
    "one pixel": ((4, 8, 1, 1), 8, (1, 1)),
    "a long sum": ((1, 300, 8, 9), 16, (1, 0)),
}


@pytest.mark.parametrize(("x", "k", "pad"), SHAPES.values(), ids=SHAPES.keys())
def test_it_is_as_exact_as_said(x: tuple[int, ...], k: int, pad: tuple[int, int]) -> None:
    n, c, h, w = x
    arrays = draw(*x), draw(k, c, 3, 3), draw(n, k, h + 2 * pad[0] - 2, w + 2 * pad[1] - 2)
    expected = exact(*arrays, pad)
    for kernels, bounds in ((cpu, BOUND), (cpu.direct(), dict.fromkeys(FUNCTIONS, DIRECT_BOUND))):
        for name, found in computed(kernels, *arrays, pad).items():
            error = np.abs(found - expected[name]).max() / np.abs(expected[name]).max()
            assert error < bounds[name], name


def test_the_number_of_threads_changes_no_bit() -> None:
    arrays = draw(11, 72, 30, 43), draw(20, 72, 3, 3), draw(11, 20, 30, 43)
    bits = set()
    for threads in (1, 2, 3):
        kernels = open_engine("cpu", threads=threads).kernels
        found = computed(kernels, *arrays, (1, 1))
        bits.add(b"".join(found[name].tobytes() for name in FUNCTIONS))
    assert len(bits) == 1


def test_the_gradient_of_the_weights_is_added_to_what_is_there() -> None:
    x, dy, dw = draw(1, 8, 5, 6), draw(1, 9, 5, 6), draw(9, 8, 3, 3)
    alone = computed(cpu, x, dw, dy, (1, 1))["backward_weights"]
    expected = dw + alone
    size = cpu.conv_workspace(x.shape, dw.shape, pad=(1, 1), **PLAIN)
    workspace = np.zeros(size, np.float32)
    cpu.conv_backward_weights(x, dy, dw, None, pad=(1, 1), **PLAIN, workspace=workspace)
    np.testing.assert_array_equal(dw, expected)


@pytest.mark.parametrize(
    "said",
    [{"stride": (1, 2)}, {"dilation": (2, 1)}, {"group": 2}, {"pad": (3, 1)}],
    ids=["stride", "dilation", "groups", "more padding than window"],
)
def test_other_convolutions_go_the_direct_way(said: dict[str, Any]) -> None:
    fast, direct = workspaces(said)
    assert fast == direct


def test_three_by_three_of_stride_1_goes_by_winograd() -> None:
    fast, direct = workspaces({})
    assert fast != direct


def workspaces(said: dict[str, Any]) -> tuple[int, int]:
    """What both backends want for a small convolution: who goes which way shows in it."""
    x, w = (2, 16, 9, 8), (8, 16 // said.get("group", 1), 3, 3)
    numbers = {"pad": (1, 1), **PLAIN, **said}
    fast, direct = (each.conv_workspace(x, w, **numbers) for each in (cpu, cpu.direct()))
    return fast, direct
