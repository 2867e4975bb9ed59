"""One element at a time: ReLU, dropout, eltwise, split, concat, fill and copy; convert turns the
layout."""

from collections.abc import Sequence

import numpy as np

from .. import rules
from ..interface import Array
from ..philox import Purpose
from .border import channels_last, check, form, same
from .driver import DeviceArray
from .launch import Launcher

FOUND_BLOCKS = 1024  # of find_nonfinite at most: each leaves one number for the host


class PointwiseKernels(Launcher):
    """Arrays of any shape; all arrays of a call have one layout, but convert's."""

    def relu_forward(self, x: Array, y: Array, *, negative_slope: float) -> None:
        same("relu_forward", x=x, y=y)
        self.launch("relu_forward", self.blocks(x.size), x, y, negative_slope, x.size)

    def relu_backward(self, x: Array, dy: Array, dx: Array, *, negative_slope: float) -> None:
        same("relu_backward", x=x, dy=dy, dx=dx)
        self.launch("relu_backward", self.blocks(x.size), x, dy, dx, negative_slope, x.size)

    def dropout_forward(
        self, x: Array, y: Array, state: Array, *, layer: int, ratio: float
    ) -> None:
        self._dropout("dropout_forward", x, y, state, layer, ratio)

    def dropout_backward(
        self, dy: Array, dx: Array, state: Array, *, layer: int, ratio: float
    ) -> None:
        self._dropout("dropout_backward", dy, dx, state, layer, ratio)

    def _dropout(
        self, function: str, x: Array, y: Array, state: Array, layer: int, ratio: float
    ) -> None:
        last = same(function, x=x, y=y)
        check(function, dtype="int64", state=state)
        rules.dropout(function, state, ratio)
        per_image = x.size // x.shape[0] if x.ndim and x.size else 1
        word, threshold, factor = layer & 0xFFFFFFFF, int(ratio * 2**32), 1.0 / (1.0 - ratio)
        self.launch(
            function, self.blocks(x.size),
            x, y, state, word, Purpose.DROPOUT, threshold, factor, per_image,
            *form(x, last=last), x.size,
        )  # fmt: skip

    def concat_forward(self, part: Array, whole: Array, *, at: int) -> None:
        rows = _rows("concat_forward", part, whole, at)
        self.launch("concat_forward", self.blocks(part.size), part, whole, *rows, part.size)

    def concat_backward(self, whole: Array, part: Array, *, at: int) -> None:
        rows = _rows("concat_backward", part, whole, at)
        self.launch("concat_backward", self.blocks(part.size), whole, part, *rows, part.size)

    def eltwise_sum_forward(self, xs: Sequence[Array], y: Array, *, coeff: Sequence[float]) -> None:
        _check_all("eltwise_sum_forward", xs, y)
        rules.coefficients("eltwise_sum_forward", xs, coeff)
        blocks = self.blocks(y.size)
        second, factor = (xs[1], coeff[1]) if len(xs) > 1 else (None, 0.0)
        self.launch("eltwise_sum_forward", blocks, xs[0], second, y, coeff[0], factor, y.size)
        for x, factor in zip(xs[2:], coeff[2:], strict=True):
            self.launch("eltwise_sum_forward", blocks, y, x, y, 1.0, factor, y.size)

    def eltwise_sum_backward(self, dy: Array, dx: Array, *, coeff: float) -> None:
        same("eltwise_sum_backward", dy=dy, dx=dx)
        self.launch("eltwise_sum_backward", self.blocks(dy.size), dy, dx, coeff, dy.size)

    def eltwise_prod_forward(self, xs: Sequence[Array], y: Array) -> None:
        _check_all("eltwise_prod_forward", xs, y)
        self._fold("eltwise_prod_forward", xs, y)

    def eltwise_prod_backward(
        self, xs: Sequence[Array], dy: Array, dx: Array, *, index: int
    ) -> None:
        _check_all("eltwise_prod_backward", [*xs, dy], dx)
        rules.input_index("eltwise_prod_backward", xs, index)
        others = [x for i, x in enumerate(xs) if i != index]
        self._fold("eltwise_prod_backward", [dy, *others], dx)

    def eltwise_max_forward(self, xs: Sequence[Array], y: Array, argmax: Array) -> None:
        function = "eltwise_max_forward"
        _check_all(function, xs, y)
        check(function, dtype="int32", argmax=argmax)
        rules.eltwise_max(function, xs, y, argmax)
        channels_last(function, y=y, argmax=argmax)
        for i, x in enumerate(xs[1:], start=1):
            before = xs[0] if i == 1 else y
            self.launch(function, self.blocks(y.size), before, x, y, argmax, i, y.size)

    def eltwise_max_backward(self, dy: Array, argmax: Array, dx: Array, *, index: int) -> None:
        function = "eltwise_max_backward"
        same(function, dy=dy, dx=dx)
        check(function, dtype="int32", argmax=argmax)
        rules.argmax(function, argmax, dy=dy)
        channels_last(function, dy=dy, argmax=argmax)
        self.launch(function, self.blocks(dy.size), dy, argmax, dx, index, dy.size)

    def split_backward(self, dys: Sequence[Array], dx: Array) -> None:
        _check_all("split_backward", dys, dx)
        self._fold("split_backward", dys, dx)

    def fill(self, x: Array, *, value: float) -> None:
        check("fill", x=x)
        self.launch("fill", self.blocks(x.size), x, value, x.size)

    def copy(self, x: Array, y: Array) -> None:
        same("copy", x=x, y=y)
        self.launch("copy", self.blocks(x.size), x, y, x.size)

    def convert(self, x: Array, y: Array) -> None:
        check("convert", x=x, y=y)
        rules.equal("convert", x=x, y=y)
        from_last, to_last = channels_last("convert", x=x), channels_last("convert", y=y)
        if from_last == to_last:
            self.copy(x, y)
            return
        c, inner, _ = form(x, last=from_last)
        rows, columns = (inner, c) if from_last else (c, inner)
        tiles = x.shape[0] * -(-rows // 32) * -(-columns // 32)
        self.launch("convert", self.blocks(256 * tiles), x, y, x.shape[0], rows, columns)

    def find_nonfinite(self, x: Array) -> int:
        check("find_nonfinite", x=x)
        last = channels_last("find_nonfinite", x=x)
        blocks = min(self.blocks(x.size), FOUND_BLOCKS)
        found = self.piece(0, (blocks,), "int64")
        self.launch("find_nonfinite", blocks, x, found, *form(x, last=last), x.size)
        host = np.empty(blocks, np.int64)
        self.driver.copy_out(host, found.pointer, self.driver.compute)
        self.driver.synchronize(self.driver.compute)
        least = int(host.min())
        return least if least < x.size else -1

    def _fold(self, kernel: str, xs: Sequence[DeviceArray], y: DeviceArray) -> None:
        """y = xs[0] with each further x put to it by the kernel, in their order."""
        if len(xs) == 1:
            self.copy(xs[0], y)
        before = xs[0]
        for x in xs[1:]:
            self.launch(kernel, self.blocks(y.size), before, x, y, y.size)
            before = y


def _check_all(function: str, xs: Sequence[Array], y: Array) -> None:
    rules.inputs(function, xs)
    same(function, y=y, **{f"x{i}": x for i, x in enumerate(xs)})


def _rows(function: str, part: DeviceArray, whole: DeviceArray, at: int) -> tuple[int, int, int]:
    """The part as rows in longer rows of the whole: both widths, and where the part begins."""
    check(function, part=part, whole=whole)
    rules.concat(function, part, whole, at)
    cells = 1 if channels_last(function, part=part, whole=whole) else part.shape[2]
    return part.shape[1] * cells, whole.shape[1] * cells, at * cells
