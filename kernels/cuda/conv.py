"""Convolution: which kernel, which numbers. The kernels are in conv_simt.cu and
conv_weights_simt.cu; choice.py chooses."""

from dataclasses import dataclass
from math import prod

from .. import product_rules as rules
from ..interface import Array, Pair
from ..rules import need
from . import choice
from .choice import Choice, ceil_div
from .driver import DeviceArray
from .launch import Launcher


@dataclass(frozen=True)
class Problem:
    """A convolution: x (n, c, h, w), w (k, c/group, r, s)."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: Pair
    pad: Pair
    dilation: Pair
    group: int

    @property
    def plane(self) -> Pair:
        return rules.conv_plane(self.x, self.w, self.stride, self.pad, self.dilation)

    @property
    def y(self) -> tuple[int, ...]:
        return self.x[0], self.w[0], *self.plane

    @property
    def pixels(self) -> int:
        """Of y."""
        return self.x[0] * prod(self.plane)

    @property
    def channels(self) -> tuple[int, int]:
        """Of a group: those of x, those of y."""
        return self.w[1], self.w[0] // self.group

    @property
    def taps(self) -> int:
        return self.w[2] * self.w[3]

    @property
    def forward(self) -> tuple[int, ...]:
        """What the kernels call geometry: x is the image, y the output."""
        (c, k), (p, q) = self.channels, self.plane
        image = (*self.x[2:], c * self.group, c)
        return (
            *image,
            p,
            q,
            self.w[0],
            k,
            *self.w[2:],
            *self.stride,
            *self.pad,
            *self.dilation,
            1,
            1,
        )

    @property
    def backward(self) -> tuple[int, ...]:
        """y is the image, x the output: the window is turned, and a stride lies between the image's
        rows."""
        (c, k), (p, q) = self.channels, self.plane
        pad = [self.dilation[i] * (self.w[2 + i] - 1) - self.pad[i] for i in range(2)]
        image = (p, q, self.w[0], k)
        output = (*self.x[2:], c * self.group, c)
        return (*image, *output, *self.w[2:], 1, 1, *pad, *self.dilation, *self.stride)


def _problem(
    function: str,
    x: DeviceArray,
    w: DeviceArray,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
) -> Problem:
    """Raises ValueError if the shapes do not fit."""
    rules.conv_numbers(function, x.shape, w.shape, stride, pad, dilation, group)
    return Problem(x.shape, w.shape, stride, pad, dilation, group)


class ConvKernels(Launcher):
    """Convolution in NHWC; weights come as (k, c, r, s) and are packed by every call."""

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
        """The packed weights, or the partial sums of their gradient."""
        problem = Problem(x, w, stride, pad, dilation, group)
        return prod(w) * max(1, self._weights_choice(problem).runs)

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
        problem = _problem("conv_forward", x, w, stride, pad, dilation, group)
        rules.conv_arrays("conv_forward", w.shape[0], y.shape, problem.y, b)
        self._forward("conv_forward", problem, x, w, b, y, None, workspace, 0, 0.0)

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
        name = "conv_relu_forward"
        problem = _problem(name, x, w, stride, pad, dilation, group)
        rules.conv_arrays(name, w.shape[0], y.shape, problem.y, b)
        self._forward(name, problem, x, w, b, y, None, workspace, 1, negative_slope)

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
        """A byte of argmax has four channels of one group."""
        return group == 1 or w[0] // group % 4 == 0

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
        problem = _problem(name, x, w, stride, pad, dilation, group)
        rules.pooled(name, problem.y, y, argmax)
        rules.conv_arrays(name, w.shape[0], problem.y, problem.y, b)
        fits = self.conv_relu_pool_fits(
            x.shape, w.shape, stride=stride, pad=pad, dilation=dilation, group=group
        )
        need(name, fits, "a group must have 4 i channels", w=w.shape)
        self._forward(name, problem, x, w, b, y, argmax, workspace, 1, 0.0)

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
        name = "conv_backward_data"
        problem = _problem(name, dx, w, stride, pad, dilation, group)
        rules.conv_arrays(name, w.shape[0], dy.shape, problem.y, None)
        self.last(name, dy=dy, dx=dx)
        c, k = problem.channels
        packed = self._packed(name, "conv_pack_backward", problem, w, workspace)
        pixels = dx.size // dx.shape[1]
        chosen = choice.choose_conv(pixels, c, k, group, self.driver.properties)
        self.launch(
            chosen.kernel, chosen.grid,
            dy, packed, None, dx, None, dx.shape[0], *problem.backward, 0, 0.0,
        )  # fmt: skip

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
        name = "conv_backward_weights"
        self.last(name, x=x, dy=dy)
        if db is not None:
            rules.bias_diff(name, dy, db)
            self._bias_sums(dy, db, "conv_bias", dy)
        if dw is None:
            return
        problem = _problem(name, x, dw, stride, pad, dilation, group)
        rules.conv_arrays(name, dw.shape[0], dy.shape, problem.y, None)
        c, k = problem.channels
        chosen = self._weights_choice(problem)
        sums = self._cut(name, workspace, chosen.runs * dw.size)
        self.launch(
            chosen.kernel, chosen.grid, x, dy, sums, x.shape[0], group, chosen.run, *problem.forward
        )
        blocks = self.blocks(dw.size)
        self.launch("conv_weights_add", blocks, sums, dw, chosen.runs, group, k, c, problem.taps)

    def relu_bias_backward(
        self, y: Array, dy: Array, dx: Array, db: Array | None, *, negative_slope: float
    ) -> None:
        name = "relu_bias_backward"
        need(name, y.shape == dy.shape == dx.shape, "y, dy and dx must have one shape", y=y.shape)
        self.last(name, y=y, dy=dy, dx=dx)
        if db is None:
            self.relu_backward(y, dy, dx, negative_slope=negative_slope)  # type: ignore[attr-defined]
            return
        rules.bias_diff(name, dy, db)
        self._bias_sums(dy, db, name, y, dy, dx, after=(negative_slope,))

    def relu_pool_bias_backward(
        self, y: Array, argmax: Array, dy: Array, dx: Array, db: Array | None
    ) -> None:
        name = "relu_pool_bias_backward"
        rules.pooled(name, dx.shape, y, argmax)
        need(name, y.shape == dy.shape, "dy must have y's shape", y=y.shape, dy=dy.shape)
        self.last(name, y=y, dy=dy, dx=dx)
        if db is not None:
            rules.bias_diff(name, dy, db)
        self._bias_sums(dy, db, name, y, argmax, dy, dx, after=dx.shape[2:])

    # ---- inside
    def _weights_choice(self, problem: Problem) -> Choice:
        c, k = problem.channels
        depth = problem.taps * c
        card = self.driver.properties
        return choice.choose_conv_weights(problem.pixels, depth, k, c, problem.group, card)

    def _forward(
        self,
        name: str,
        problem: Problem,
        x: DeviceArray,
        w: DeviceArray,
        b: DeviceArray | None,
        y: DeviceArray,
        argmax: DeviceArray | None,
        workspace: DeviceArray,
        relu: int,
        slope: float,
    ) -> None:
        self.last(name, x=x, y=y)
        packed = self._packed(name, "conv_pack_forward", problem, w, workspace)
        c, k = problem.channels
        card = self.driver.properties
        chosen = choice.choose_conv(problem.pixels, k, c, problem.group, card)
        self.launch(
            chosen.kernel, chosen.grid,
            x, packed, b, y, argmax, x.shape[0], *problem.forward, relu, slope,
        )  # fmt: skip

    def _packed(
        self, name: str, kernel: str, problem: Problem, w: DeviceArray, workspace: DeviceArray
    ) -> DeviceArray:
        c, k = problem.channels
        packed = self._cut(name, workspace, w.size)
        self.launch(kernel, self.blocks(w.size), w, packed, problem.group, k, c, problem.taps)
        return packed

    def _cut(self, name: str, workspace: DeviceArray, size: int) -> DeviceArray:
        need(name, workspace.size >= size, f"workspace needs {size}", workspace=workspace.size)
        return workspace.reshape(workspace.size).head(size)

    def _bias_sums(
        self,
        dy: DeviceArray,
        db: DeviceArray | None,
        kernel: str,
        *arrays: DeviceArray,
        after: tuple[float, ...] = (),
    ) -> None:
        """Runs a kernel that sums channels over runs of dy's pixels; adds the sums to db."""
        k = dy.shape[1]
        pixels = dy.size // k
        runs, run = choice.split_bias(pixels, k)
        sums = self.piece(0, (runs, k))
        grid = (runs, ceil_div(k, 32))
        self.launch(kernel, grid, *arrays, sums, pixels, k, run, *after)
        if db is not None:
            self.launch("conv_bias_add", self.blocks(k), sums, db, runs, k)
