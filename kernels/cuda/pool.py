"""Pooling over windows in Caffe's geometry, either layout; the caller gives the output's shape."""

from .. import rules
from ..interface import Array, Pair
from .border import channels_last, check
from .driver import DeviceArray
from .launch import Launcher


class PoolKernels(Launcher):
    """Backward reads, for each cell of dx, the windows that cover it: no sum has two writers."""

    def pool_max_forward(
        self, x: Array, y: Array, argmax: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        function = "pool_max_forward"
        check(function, x=x, y=y)
        rules.pooling(function, window, stride, x=x, y=y)
        check(function, dtype="int32", argmax=argmax)
        rules.argmax(function, argmax, y=y)
        last = channels_last(function, x=x, y=y, argmax=argmax)
        geometry = _geometry(x, y, window, stride, pad, last=last)
        self.launch(function, self._lines(y, last=last), x, y, argmax, *geometry)

    def pool_max_backward(
        self, dy: Array, argmax: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        function = "pool_max_backward"
        check(function, dy=dy, dx=dx)
        check(function, dtype="int32", argmax=argmax)
        rules.argmax(function, argmax, dy=dy)
        rules.pooling(function, window, stride, dx=dx, dy=dy)
        last = channels_last(function, dy=dy, argmax=argmax, dx=dx)
        geometry = _geometry(dx, dy, window, stride, pad, last=last)
        self.launch(function, self._lines(dx, last=last), dy, argmax, dx, *geometry)

    def pool_ave_forward(
        self, x: Array, y: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        function = "pool_ave_forward"
        check(function, x=x, y=y)
        rules.pooling(function, window, stride, x=x, y=y)
        last = channels_last(function, x=x, y=y)
        geometry = _geometry(x, y, window, stride, pad, last=last)
        self.launch(function, self._lines(y, last=last), x, y, *geometry)

    def pool_ave_backward(
        self, dy: Array, dx: Array, *, window: Pair, stride: Pair, pad: Pair
    ) -> None:
        function = "pool_ave_backward"
        check(function, x=dx, y=dy)
        rules.pooling(function, window, stride, x=dx, y=dy)
        last = channels_last(function, dy=dy, dx=dx)
        geometry = _geometry(dx, dy, window, stride, pad, last=last)
        self.launch(function, self._lines(dx, last=last), dy, dx, *geometry)

    def _lines(self, array: DeviceArray, *, last: bool) -> tuple[int, int]:
        """The grid for pool.cu's each_cell: a block for each line and, where lines are few, for
        each 256 elements of a line."""
        n, c, rows, columns = array.shape
        lines = max(1, n * rows if last else n * c)
        width = columns * c if last else rows * columns
        lines = min(lines, 2**31 - 1)
        wanted = -(-32 * self.driver.properties.multiprocessors // lines)
        return lines, max(1, min(-(-width // 256), wanted, 65535))


def _geometry(
    x: DeviceArray, y: DeviceArray, window: Pair, stride: Pair, pad: Pair, *, last: bool
) -> tuple[int, ...]:
    """What the kernels take behind their arrays."""
    return (*x.shape, *y.shape[2:], *window, *stride, *pad, int(last))
