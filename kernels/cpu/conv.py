"""Convolution. Where the processor allows it, windows of 3x3 and stride 1 go by Winograd
(winograd.h), few channels and all other windows by kernels of their own (narrow.h, direct.h); else
each image is laid out as a matrix (im2col) and multiplied by BLAS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import product_rules as rules
from ..interface import Array, Pair
from . import _native
from .border import check, has_shape, need, same, unwarned
from .processor import AVX2
from .team import TEAM

_LEAST_CHANNELS = 8
_PARTS = 4  # sums of the weights' gradient that are made side by side, and then added in order


@dataclass(frozen=True)
class _Problem:
    """Shapes of a convolution, and how its workspace is divided."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: Pair
    pad: Pair
    dilation: Pair
    group: int
    fast: bool

    @property
    def plain(self) -> bool:
        """3x3, stride 1, no groups, no dilation; on a processor that has kernels for it."""
        return (
            AVX2 is not None
            and self.w[2:] == (3, 3)
            and self.stride == self.dilation == (1, 1)
            and self.group == 1
        )

    @property
    def winograd(self) -> bool:
        """With fewer channels the transforms cost more than they save."""
        channels = min(self.x[1], self.w[0])
        return self.plain and self.fast and max(self.pad) <= 2 and channels >= _LEAST_CHANNELS

    @property
    def narrow(self) -> Any:
        """Few input channels, as winograd.h's neighbour narrow.h sees them; None for others."""
        if not self.plain or self.x[1] >= _LEAST_CHANNELS:
            return None
        return AVX2.Narrow(*self.x, self.w[0], *self.plane, *self.pad)

    @property
    def direct(self) -> Any:
        """Any window, as direct.h sees it; None where the processor has no kernels for it."""
        if AVX2 is None:
            return None
        numbers = *self.stride, *self.pad, *self.dilation, self.group
        return AVX2.Direct(*self.x, self.w[0], *self.plane, *self.w[2:], *numbers)

    @property
    def tiles(self) -> Any:
        """Forward and the gradient of the weights, as winograd.h sees them."""
        return AVX2.Winograd(*self.x, self.w[0], *self.plane, *self.pad)

    @property
    def tiles_back(self) -> Any:
        """Backward-data: a convolution of dy, with the rest of the padding."""
        n, c, h, w = self.x
        pads = (2 - each for each in self.pad)
        return AVX2.Winograd(n, self.w[0], *self.plane, c, h, w, *pads)

    @property
    def plane(self) -> Pair:
        return rules.conv_plane(self.x, self.w, self.stride, self.pad, self.dilation)

    @property
    def y(self) -> tuple[int, ...]:
        return self.x[0], self.w[0], *self.plane

    @property
    def pointwise(self) -> bool:
        """The image is its own matrix."""
        return self.w[2:] == (1, 1) and self.stride == (1, 1) and self.pad == (0, 0)

    @property
    def matrix(self) -> tuple[int, int, int]:
        """Shape of an image's matrix: (group, c/group r s, p q)."""
        p, q = self.plane
        return self.group, self.w[1] * self.w[2] * self.w[3], p * q

    @property
    def slot(self) -> int:
        """Elements of one thread's matrix."""
        return 0 if self.pointwise else int(np.prod(self.matrix))

    @property
    def sums(self) -> int:
        """Elements of the sums of the weights' gradient, which come before the slots."""
        return self.parts * int(np.prod(self.w))

    def slots(self, workspace: Array) -> int:
        """Threads that have one: the team may have grown since the workspace was made."""
        return (workspace.size - self.sums) // self.slot if self.slot else TEAM.size

    @property
    def weights(self) -> tuple[int, int, int]:
        """The weights as (group, k/group, c/group r s)."""
        return self.group, self.w[0] // self.group, self.matrix[1]

    @property
    def parts(self) -> int:
        return min(_PARTS, self.x[0])

    def check(
        self, function: str, x: Array, w: Array, y: Array, b: Array | None, workspace: Array
    ) -> None:
        check(function, x=x, w=w, y=y, b=b, workspace=workspace)
        rules.conv_arrays(function, self.w[0], y.shape, self.y, b)
        self.check_workspace(function, workspace)

    def check_workspace(self, function: str, workspace: Array) -> None:
        """It has room for one thread."""
        size = self.size(1)
        need(function, workspace.size >= size, f"workspace needs {size}", workspace=workspace.size)

    def size(self, threads: int) -> int:
        """Elements of workspace for so many threads; with room for one, one works."""
        if self.winograd:
            return max(int(each.workspace(threads)) for each in (self.tiles, self.tiles_back))
        kernels = [each for each in (self.narrow, self.direct) if each is not None]
        if kernels:
            return max(int(each.workspace(threads)) for each in kernels)
        return self.sums + min(threads, self.x[0]) * self.slot

    def place(self, x: Array, image: int, thread: int, workspace: Array) -> Array:
        """Where an image's matrix lies: in the thread's slot, or in the image itself."""
        if self.pointwise:
            return x[image].reshape(self.matrix)
        flat = workspace.reshape(-1)[self.sums :]
        return flat[thread * self.slot : (thread + 1) * self.slot].reshape(self.matrix)

    def move(self, function: Callable[..., None], x: Array, image: int, matrix: Array) -> None:
        """im2col or col2im of one image."""
        if not self.pointwise:
            window = _native.Window(*self.w[2:], *self.stride, *self.pad, *self.dilation)
            function(x, image, matrix, *self.x[1:], *self.plane, window)


def _flat(y: Array) -> tuple[int, int, int]:
    """y as (n, k, p q)."""
    n, k, p, q = y.shape
    return n, k, p * q


def relu_pool_bias_backward(
    y: Array, argmax: Array, dy: Array, dx: Array, db: Array | None
) -> None:
    name = "relu_pool_bias_backward"
    same(name, y=y, dy=dy)
    check(name, dx=dx)
    check(name, dtype="uint8", argmax=argmax)
    need(name, dx.ndim == 4, "dx must be (n, k, p, q)", dx=dx.shape)
    rules.pooled(name, dx.shape, y, argmax)
    if db is not None:
        has_shape(name, dx.shape[1:2], db=db)
    AVX2.relu_pool_bias_backward(y, argmax, dy, dx, db, *dx.shape)


@unwarned
def _forward(problem: _Problem, x: Array, w: Array, y: Array, workspace: Array) -> None:
    weights = w.reshape(problem.weights)

    def work(thread: int, image: int) -> None:
        matrix = problem.place(x, image, thread, workspace)
        problem.move(_native.im2col, x, image, matrix)
        out = y[image].reshape(*problem.weights[:2], -1)
        for part in range(problem.group):
            np.matmul(weights[part], matrix[part], out=out[part])

    TEAM.share(problem.x[0], work, most=problem.slots(workspace))


def relu_bias_backward(
    y: Array, dy: Array, dx: Array, db: Array | None, *, negative_slope: float
) -> None:
    function = "relu_bias_backward"
    same(function, y=y, dy=dy, dx=dx)
    need(function, dy.ndim == 4, "dy must be (n, k, p, q)", dy=dy.shape)
    _native.relu_backward(y, dy, dx, negative_slope)
    if db is not None:
        has_shape(function, dy.shape[1:2], db=db)
        _native.bias_backward(dx, db, *_flat(dx))


class Conv:
    """The functions of convolution. `fast`: by Winograd where that is possible: faster than the
    products themselves and less exact; tests/kernels/test_winograd.py has the bounds of both."""

    def __init__(self, *, fast: bool) -> None:
        self._fast = fast

    def conv_workspace(
        self,
        x: tuple[int, ...],
        w: tuple[int, ...],
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
    ) -> int:
        """Some sums of the weights' gradient, and a matrix for each of the threads of now."""
        problem = _Problem(x, w, stride, pad, dilation, group, self._fast)
        return problem.size(TEAM.size)

    def _problem(
        self, function: str, x: Array, w: Array, stride: Pair, pad: Pair, dilation: Pair, group: int
    ) -> _Problem:
        check(function, x=x, w=w)
        rules.conv_numbers(function, x.shape, w.shape, stride, pad, dilation, group)
        return _Problem(x.shape, w.shape, stride, pad, dilation, group, self._fast)

    def conv_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        problem = self._problem("conv_forward", x, w, stride, pad, dilation, group)
        problem.check("conv_forward", x, w, y, b, workspace)
        if problem.winograd:
            AVX2.winograd_forward(problem.tiles, x, w, b, y, False, False, 0.0, workspace)
            return
        if (narrow := problem.narrow) is not None:
            AVX2.narrow_forward(narrow, x, w, b, y, False, 0.0, workspace)
            return
        if (direct := problem.direct) is not None:
            AVX2.direct_forward(direct, x, w, b, y, False, 0.0, workspace)
            return
        _forward(problem, x, w, y, workspace)
        _native.bias_relu(y, b, *_flat(y), False, 0.0)

    def conv_relu_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        negative_slope: float,
        workspace: Array,
    ) -> None:
        problem = self._problem("conv_relu_forward", x, w, stride, pad, dilation, group)
        problem.check("conv_relu_forward", x, w, y, b, workspace)
        if problem.winograd:
            AVX2.winograd_forward(problem.tiles, x, w, b, y, False, True, negative_slope, workspace)
            return
        if (narrow := problem.narrow) is not None:
            AVX2.narrow_forward(narrow, x, w, b, y, True, negative_slope, workspace)
            return
        if (direct := problem.direct) is not None:
            AVX2.direct_forward(direct, x, w, b, y, True, negative_slope, workspace)
            return
        _forward(problem, x, w, y, workspace)
        _native.bias_relu(y, b, *_flat(y), True, negative_slope)

    def conv_relu_pool_fits(
        self,
        x: tuple[int, ...],
        w: tuple[int, ...],
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
    ) -> bool:
        """Those that have kernels of their own."""
        problem = _Problem(x, w, stride, pad, dilation, group, self._fast)
        return problem.winograd or problem.narrow is not None

    def conv_relu_pool_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        argmax: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        name = "conv_relu_pool_forward"
        problem = self._problem(name, x, w, stride, pad, dilation, group)
        check(name, y=y, b=b, workspace=workspace)
        check(name, dtype="uint8", argmax=argmax)
        rules.pooled(name, problem.y, y, argmax)
        rules.conv_arrays(name, w.shape[0], problem.y, problem.y, b)
        problem.check_workspace(name, workspace)
        if problem.winograd:
            AVX2.winograd_pool_forward(problem.tiles, x, w, b, y, argmax, workspace)
        else:
            need(name, problem.narrow is not None, "no kernel for this convolution", w=w.shape)
            AVX2.narrow_pool_forward(problem.narrow, x, w, b, y, argmax, workspace)

    @unwarned
    def conv_backward_data(
        self,
        w: Array,
        dy: Array,
        dx: Array,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        problem = self._problem("conv_backward_data", dx, w, stride, pad, dilation, group)
        problem.check("conv_backward_data", dx, w, dy, None, workspace)
        if problem.winograd:
            AVX2.winograd_forward(problem.tiles_back, dy, w, None, dx, True, False, 0.0, workspace)
            return
        if (direct := problem.direct) is not None:
            AVX2.direct_backward_data(direct, w, dy, dx, workspace)
            return
        weights = w.reshape(problem.weights)

        def work(thread: int, image: int) -> None:
            matrix = problem.place(dx, image, thread, workspace)
            top = dy[image].reshape(*problem.weights[:2], -1)
            for part in range(group):
                np.matmul(weights[part].T, top[part], out=matrix[part])
            problem.move(_native.col2im, dx, image, matrix)

        TEAM.share(problem.x[0], work, most=problem.slots(workspace))

    @unwarned
    def conv_backward_weights(
        self,
        x: Array,
        dy: Array,
        dw: Array | None,
        db: Array | None,
        *,
        stride: Pair,
        pad: Pair,
        dilation: Pair,
        group: int,
        workspace: Array,
    ) -> None:
        function = "conv_backward_weights"
        check(function, x=x, dy=dy, dw=dw, db=db, workspace=workspace)
        need(function, dy.ndim == 4, "dy must be (n, k, p, q)", dy=dy.shape)
        n = len(dy)
        if db is not None:
            rules.bias_diff(function, dy, db)
            _native.bias_backward(dy, db, *_flat(dy))
        if dw is None:
            return
        problem = self._problem(function, x, dw, stride, pad, dilation, group)
        problem.check(function, x, dw, dy, None, workspace)
        if problem.winograd:
            AVX2.winograd_backward_weights(problem.tiles, x, dy, dw, workspace)
            return
        if (narrow := problem.narrow) is not None:
            AVX2.narrow_backward_weights(narrow, x, dy, dw, workspace)
            return
        if (direct := problem.direct) is not None:
            AVX2.direct_backward_weights(direct, x, dy, dw, workspace)
            return
        sums = workspace.reshape(-1)[: problem.sums].reshape(problem.parts, *problem.weights)

        def work(thread: int, part: int) -> None:
            first, last = part * n // problem.parts, (part + 1) * n // problem.parts
            for image in range(first, last):
                matrix = problem.place(x, image, thread, workspace)
                problem.move(_native.im2col, x, image, matrix)
                top = dy[image].reshape(*problem.weights[:2], -1)
                for g in range(group):
                    if image == first:
                        np.matmul(top[g], matrix[g].T, out=sums[part, g])
                    else:
                        sums[part, g] += top[g] @ matrix[g].T

        TEAM.share(problem.parts, work, most=problem.slots(workspace))
        whole = dw.reshape(problem.weights)
        for each in sums:
            np.add(whole, each, out=whole)


FAST, DIRECT = Conv(fast=True), Conv(fast=False)
