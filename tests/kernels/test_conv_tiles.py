"""Each tile of the CUDA convolutions on problems of several tiles and steps, none of them whole.

What is chosen depends on the card; a pretended number of multiprocessors leads to each tile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from emulated import DEVICES
from emulator.driver import EmulatorDriver
from hosted import hosted
from reference import Array, conv_shape, relu

from cvgg.engine.cuda import CudaEngine
from cvgg.kernels.cuda.choice import choose_conv, choose_conv_weights
from cvgg.kernels.cuda.driver import Properties
from cvgg.kernels.interface import Kernels, Pair

RANDOM = np.random.default_rng(11)
MANY = 1000  # multiprocessors that no problem here keeps busy


@dataclass(frozen=True)
class Problem:
    """x (n, c, h, w) and w (k, c/group, r, s), on a card with so many multiprocessors."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    multiprocessors: int
    stride: Pair = (1, 1)
    pad: Pair = (1, 1)
    dilation: Pair = (1, 1)
    group: int = 1

    @property
    def y(self) -> tuple[int, ...]:
        return conv_shape(self.x, self.w, self.stride, self.pad, self.dilation)

    @property
    def said(self) -> dict[str, Any]:
        names = ("stride", "pad", "dilation", "group")
        return {name: getattr(self, name) for name in names}

    @property
    def card(self) -> Properties:
        return Properties("", "sm_90", self.multiprocessors, 2 << 30)

    def parts(self, padded: Array, w: Array, y: Array) -> Any:
        """For each group and tap: the pixels of the padded x that it meets, its weights, y."""
        (p, q), c, k = self.y[2:], self.w[1], self.w[0] // self.group
        for group in range(self.group):
            for r, s in np.ndindex(*self.w[2:]):
                rows, columns = (
                    slice(at * by, at * by + (size - 1) * step + 1, step)
                    for at, by, size, step in zip(
                        (r, s), self.dilation, (p, q), self.stride, strict=True
                    )
                )
                channels, outputs = (slice(group * of, (group + 1) * of) for of in (c, k))
                image = padded[:, channels, rows, columns]
                yield image, w[outputs, :, r, s], y[:, outputs]

    def padded(self, x: Array) -> Array:
        rows, columns = self.pad
        return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (rows, rows), (columns, columns)))

    def forward(self, x: Array, w: Array) -> Array:
        y = np.zeros(self.y)
        for image, weights, part in self.parts(self.padded(x), w, y):
            part += np.einsum("nchw,kc->nkhw", image, weights.astype(float))
        return y

    def backward_data(self, w: Array, dy: Array) -> Array:
        padded = self.padded(np.zeros(self.x))
        for image, weights, part in self.parts(padded, w, dy):
            image += np.einsum("nkhw,kc->nchw", part, weights.astype(float))
        (rows, columns), (h, w_) = self.pad, self.x[2:]
        return padded[:, :, rows : rows + h, columns : columns + w_]

    def backward_weights(self, x: Array, dy: Array) -> Array:
        dw = np.zeros(self.w)
        for image, weights, part in self.parts(self.padded(x), dw, dy):
            weights += np.einsum("nkhw,nchw->kc", part.astype(float), image)
        return dw


@pytest.fixture(params=["emulated-backwards", "race"])
def mode(request: pytest.FixtureRequest) -> str:
    result: str = request.param
    return result


def kernels_of(problem: Problem, mode: str) -> Any:
    """`Kernels`, and what only the CUDA backend has: pooling in the epilogue."""
    seed, how = DEVICES[mode]
    driver = EmulatorDriver(seed, how, multiprocessors=problem.multiprocessors)
    return hosted(CudaEngine(driver, threads=2), "NHWC")


def draw(shape: tuple[int, ...]) -> Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def scratch(problem: Problem, kernels: Kernels) -> dict[str, Any]:
    size = kernels.conv_workspace(problem.x, problem.w, **problem.said)
    return {**problem.said, "workspace": np.full(size, np.nan, np.float32)}


def close(actual: Array, expected: Array, terms: int) -> None:
    """Within five deviations of the rounding of a sum of `terms` products of numbers in (-1, 1).

    A partial sum of i products has the deviation sqrt(i) / 3, and each addition rounds by at most
    2**-24 of it: the deviation of all roundings together is below terms / 3 * 2**-24."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5 * terms / 3 * 2.0**-24 + 2.0**-22)


# 2 x 9 x 10 pixels of y: whole tiles and a rest. 12 channels, 9 taps: 13 steps and a half.
TILES = {
    "conv_128x128": Problem((2, 12, 9, 10), (132, 12, 3, 3), 1),
    "conv_128x64": Problem((2, 12, 9, 10), (132, 12, 3, 3), 5),
    "conv_64x64": Problem((2, 12, 9, 10), (132, 12, 3, 3), MANY),
    "conv_128x64_any": Problem((2, 11, 9, 10), (131, 11, 3, 3), 5),
}
OTHERS = {
    # 4 channels are one read: every read has a tap of its own, some in the padding.
    "conv_128x64": Problem((3, 8, 11, 9), (16, 4, 3, 2), 1, (2, 3), (2, 1), (2, 3), group=2),
    "conv_64x64": Problem((1, 20, 7, 8), (8, 20, 2, 3), MANY, (3, 1), (0, 2), (1, 2)),
    "conv_128x64_any": Problem((3, 6, 11, 9), (10, 3, 3, 2), 1, (2, 3), (2, 1), (2, 3), group=2),
}
EACH = [*TILES.items(), *OTHERS.items()]
IDS = [*TILES, *(f"{name}, windows" for name in OTHERS)]


@pytest.mark.parametrize(("kernel", "problem"), EACH, ids=IDS)
def test_forward_is_right_in_every_tile(kernel: str, problem: Problem, mode: str) -> None:
    pixels, k = problem.y[0] * problem.y[2] * problem.y[3], problem.w[0] // problem.group
    assert choose_conv(pixels, k, problem.w[1], problem.group, problem.card).kernel == kernel
    x, w, b, y = draw(problem.x), draw(problem.w), draw(problem.w[:1]), np.empty(problem.y, "f4")
    kernels = kernels_of(problem, mode)
    kernels.conv_relu_forward(x, w, b, y, negative_slope=0.5, **scratch(problem, kernels))
    expected = relu(problem.forward(x, w) + b[:, None, None], 0.5).reshape(y.shape)
    close(y, expected, int(np.prod(problem.w[1:])) + 1)


def turned(problem: Problem) -> Problem:
    """The problem with the channels of x and y exchanged, so that backward-data has the tile that
    forward has."""
    (n, _, h, width), (k, c, *taps), group = problem.x, problem.w, problem.group
    x, w = (n, k, h, width), (c * group, k // group, *taps)
    return Problem(x, w, problem.multiprocessors, *list(problem.said.values()))


@pytest.mark.parametrize(
    ("kernel", "problem"), [(kernel, turned(each)) for kernel, each in EACH], ids=IDS
)
def test_backward_data_is_right_in_every_tile(kernel: str, problem: Problem, mode: str) -> None:
    pixels, k = problem.x[0] * problem.x[2] * problem.x[3], problem.w[0] // problem.group
    assert choose_conv(pixels, problem.w[1], k, problem.group, problem.card).kernel == kernel
    w, dy, dx = draw(problem.w), draw(problem.y), np.empty(problem.x, np.float32)
    kernels = kernels_of(problem, mode)
    kernels.conv_backward_data(w, dy, dx, **scratch(problem, kernels))
    close(dx, problem.backward_data(w, dy), int(np.prod(problem.w)) // problem.group)


# Several sums need 512 pixels each: 2 x 25 x 22 are two of 560 and 540, 17 x 63 two of 544 and 527.
WEIGHTS = {
    "conv_weights_128x128": Problem((1, 112, 5, 9), (132, 112, 3, 3), 1),
    "conv_weights_64x64": Problem((2, 24, 25, 22), (136, 12, 3, 3), 16, group=2),
    "conv_weights_64x64_any": Problem((1, 22, 17, 63), (134, 11, 3, 3), 16, group=2),
}


@pytest.mark.parametrize(("kernel", "problem"), WEIGHTS.items(), ids=WEIGHTS.keys())
def test_the_gradient_of_weights_is_right_in_every_tile_and_run(
    kernel: str, problem: Problem, mode: str
) -> None:
    pixels, (k, c, *taps) = problem.y[0] * problem.y[2] * problem.y[3], problem.w
    depth, group = c * int(np.prod(taps)), problem.group
    chosen = choose_conv_weights(pixels, depth, k // group, c, group, problem.card)
    assert (chosen.kernel, chosen.runs > 1) == (kernel, kernel != "conv_weights_128x128")
    x, dy, dw, db = draw(problem.x), draw(problem.y), draw(problem.w), draw((k,))
    dw_expected = dw + problem.backward_weights(x, dy)
    db_expected = db + dy.sum(axis=(0, 2, 3), dtype=np.float64)
    kernels = kernels_of(problem, mode)
    kernels.conv_backward_weights(x, dy, dw, db, **scratch(problem, kernels))
    close(dw, dw_expected, pixels + 1)
    close(db, db_expected, pixels + 1)


# Windows of 2 x 2: 4 pixels of a window lie in one thread of every tile.
POOLED = {
    "conv_128x128": Problem((2, 12, 8, 10), (132, 12, 3, 3), 1),
    "conv_128x64": Problem((3, 8, 6, 10), (20, 8, 3, 3), 1),
    "conv_64x64": Problem((2, 12, 8, 10), (132, 12, 3, 3), MANY),
    "conv_128x64_any": Problem((3, 3, 6, 10), (10, 3, 3, 3), 1),
}


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("kernel", "problem"), POOLED.items(), ids=POOLED.keys())
def test_pooling_in_the_epilogue_keeps_the_largest_and_its_place(
    kernel: str, problem: Problem, mode: str, *, biased: bool
) -> None:
    (n, k, p, q), kernels = problem.y, kernels_of(problem, mode)
    assert choose_conv(n * p * q, k, problem.w[1], 1, problem.card).kernel == kernel
    x, w = draw(problem.x), draw(problem.w)
    b = draw((k,)) - 2 if biased else None  # below 0: windows without a number above 0
    y = np.empty((n, k, p // 2, q // 2), np.float32)
    argmax = np.full((n, p // 2, q // 2, -(-k // 4)), 0xE4, np.uint8)
    kernels.conv_relu_pool_forward(x, w, b, y, argmax, **scratch(problem, kernels))
    whole = problem.forward(x, w) + (0 if b is None else b[:, None, None])
    windows = np.maximum(whole, 0).reshape(n, k, p // 2, 2, q // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    windows = windows.reshape(n, k, p // 2, q // 2, 4)
    close(y, windows.max(axis=-1), int(np.prod(problem.w[1:])) + 1)

    # The four numbers of a window differ by more than their roundings.
    place = windows.argmax(axis=-1)
    dy, db, dx = draw(y.shape), draw((k,)), np.full(problem.y, 7, np.float32)
    through = np.where(y > 0, dy, np.float32(0))
    db_expected = db + through.sum(axis=(0, 2, 3), dtype=np.float64)
    kernels.relu_pool_bias_backward(y, argmax, dy, dx, db if biased else None)
    expected = (through[..., None] * (np.arange(4) == place[..., None])).reshape(
        n, k, p // 2, q // 2, 2, 2
    )
    np.testing.assert_array_equal(dx, expected.transpose(0, 1, 2, 4, 3, 5).reshape(dx.shape))
    if biased:
        close(db, db_expected, n * p * q // 4 + 1)


def test_sums_of_a_bias_come_in_several_runs_and_blocks(mode: str) -> None:
    """2 x 23 x 25 pixels are 3 runs of 512 at most; 37 channels two blocks of 32 at most."""
    kernels = kernels_of(TILES["conv_64x64"], mode)
    y, dy, db = draw((2, 37, 23, 25)), draw((2, 37, 23, 25)), draw((37,))
    y[:, ::2, 3] = 0  # not above 0
    expected = np.where(y > 0, dy, np.float32(0.3) * dy)
    db_expected = db + expected.sum(axis=(0, 2, 3), dtype=np.float64)
    dx = np.full_like(dy, 7)
    kernels.relu_bias_backward(y, dy, dx, db, negative_slope=0.3)
    np.testing.assert_array_equal(dx, expected)
    close(db, db_expected, 2 * 23 * 25 + 1)


def test_in_the_epilogue_the_first_of_equals_wins_and_nan_never(mode: str) -> None:
    problem = Problem((1, 4, 4, 6), (8, 4, 1, 1), 1, pad=(0, 0))
    kernels = kernels_of(problem, mode)
    x, w, dx = np.ones(problem.x, "f4"), np.ones(problem.w, "f4"), np.full(problem.y, 7, "f4")
    x[:, :, :2, :2] = np.nan  # a window of nothing else
    x[:, :, 0, 2] = np.nan  # the first of its window
    y, argmax = np.empty((1, 8, 2, 3), np.float32), np.empty((1, 2, 3, 2), np.uint8)
    kernels.conv_relu_pool_forward(x, w, None, y, argmax, **scratch(problem, kernels))
    lowest = -np.finfo(np.float32).max
    np.testing.assert_array_equal(y, np.broadcast_to([[lowest, 4, 4], [4, 4, 4]], y.shape))
    dy = np.arange(48, dtype=np.float32).reshape(y.shape) + 1
    kernels.relu_pool_bias_backward(y, argmax, dy, dx, None)
    expected = np.zeros(problem.y)
    expected[:, :, ::2, ::2] = dy
    expected[:, :, 0, :3] = 0
    expected[:, :, 0, 3] = dy[:, :, 0, 1]
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("c", [4, 3])
def test_nan_reaches_the_outputs_of_its_windows_only(c: int, mode: str) -> None:
    """A step is 8 or 16 terms and the window has c: the rest of the step must not read on."""
    problem = Problem((1, c, 3, 5), (4, c, 1, 1), 1, pad=(0, 0))
    kernels = kernels_of(problem, mode)
    x, w, y = draw(problem.x), draw(problem.w), np.empty(problem.y, np.float32)
    x[:, :, 1] = np.nan
    kernels.conv_forward(x, w, None, y, **scratch(problem, kernels))
    assert np.isnan(y[:, :, 1]).all()
    close(y[:, :, ::2], problem.forward(x, w)[:, :, ::2], c)
