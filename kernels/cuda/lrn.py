"""Local response normalisation, across channels and within a channel, either layout."""

from .. import rules
from ..interface import Array
from .border import form, same
from .driver import DeviceArray
from .launch import Launcher


class LrnKernels(Launcher):
    """All arrays of a call: (n, c, h, w), one layout."""

    def lrn_across_forward(
        self,
        x: Array,
        y: Array,
        scale: Array,
        *,
        size: int,
        alpha: float,
        beta: float,
        k: float,
    ) -> None:
        function = "lrn_across_forward"
        last = same(function, x=x, y=y, scale=scale)
        rules.lrn(function, x, size)
        numbers = (size // 2, alpha / size, beta, k, *form(x, last=last), x.size)
        self.launch(function, self.blocks(x.size), x, y, scale, *numbers)

    def lrn_across_backward(
        self,
        x: Array,
        y: Array,
        scale: Array,
        dy: Array,
        dx: Array,
        *,
        size: int,
        alpha: float,
        beta: float,
    ) -> None:
        function = "lrn_across_backward"
        last = same(function, x=x, y=y, scale=scale, dy=dy, dx=dx)
        rules.lrn(function, x, size)
        numbers = (size // 2, 2 * alpha * beta / size, beta, *form(x, last=last), x.size)
        self.launch(function, self.blocks(x.size), x, y, scale, dy, dx, *numbers)

    def lrn_within_forward(
        self, x: Array, y: Array, scale: Array, *, size: int, alpha: float, beta: float
    ) -> None:
        function = "lrn_within_forward"
        last = same(function, x=x, y=y, scale=scale)
        rules.lrn(function, x, size)
        numbers = (size // 2, alpha / size**2, beta, *_planes(x, last=last))
        self.launch(function, self.blocks(x.size), x, y, scale, *numbers)

    def lrn_within_backward(
        self,
        x: Array,
        y: Array,
        scale: Array,
        dy: Array,
        dx: Array,
        *,
        size: int,
        alpha: float,
        beta: float,
    ) -> None:
        function = "lrn_within_backward"
        last = same(function, x=x, y=y, scale=scale, dy=dy, dx=dx)
        rules.lrn(function, x, size)
        numbers = (size // 2, 2 * alpha * beta / size**2, beta, *_planes(x, last=last))
        self.launch(function, self.blocks(x.size), x, y, scale, dy, dx, *numbers)


def _planes(x: DeviceArray, *, last: bool) -> tuple[int, ...]:
    return (*x.shape[1:], int(last), x.size)
