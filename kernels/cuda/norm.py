"""Batch normalisation and scale, by channel: x and y are (n, c, inner), either layout."""

from collections.abc import Iterator
from dataclasses import dataclass

from .. import rules
from ..interface import Array
from .border import channels_last, check, has_shape, same
from .choice import SCRATCH, ceil_div
from .driver import DeviceArray
from .launch import Launcher

GROUP = 16384  # channels of a launch: their sums and coefficients must find room in SCRATCH
CHUNKS, BLOCKS, CHUNK = 128, 1024, 256  # chunks and blocks at most, positions of a chunk at least
DOUBLE = 8  # bytes


@dataclass(frozen=True)
class Group:
    """The channels of one launch and the memory between its kernels."""

    start: int
    channels: int
    chunks: int
    sum_grid: tuple[int, int]
    parts: DeviceArray  # double (2, chunks, channels)
    coefficients: DeviceArray  # double (3, channels)


class NormKernels(Launcher):
    """Sums by channel are made in chunks that depend on the shape and the layout alone."""

    def batch_norm_train_forward(
        self,
        x: Array,
        y: Array,
        batch_mean: Array,
        batch_std: Array,
        mean: Array,
        variance: Array,
        scale_factor: Array,
        *,
        fraction: float,
        eps: float,
    ) -> None:
        function = "batch_norm_train_forward"
        same(function, x=x, y=y)
        has_shape(function, (1,), scale_factor=scale_factor)
        of_channels = {"batch_mean": batch_mean, "batch_std": batch_std, "mean": mean}
        _check(function, x, variance=variance, **of_channels)
        for group in self._groups(x):
            numbers = _numbers(x, group)
            self.launch("batch_norm_sums", group.sum_grid, x, group.parts, *numbers)
            self.launch("batch_norm_squares", group.sum_grid, x, group.parts, *numbers)
            self.launch(
                "batch_norm_train_coefficients", self.blocks(group.channels),
                group.parts, batch_mean, batch_std, mean, variance, scale_factor,
                group.coefficients, _positions(x), group.start, group.channels, group.chunks,
                fraction, eps,
            )  # fmt: skip
            self._normalise(x, y, group)

    def batch_norm_test_forward(
        self,
        x: Array,
        y: Array,
        batch_mean: Array,
        batch_std: Array,
        mean: Array,
        variance: Array,
        scale_factor: Array,
        *,
        eps: float,
    ) -> None:
        function = "batch_norm_test_forward"
        same(function, x=x, y=y)
        has_shape(function, (1,), scale_factor=scale_factor)
        of_channels = {"batch_mean": batch_mean, "batch_std": batch_std, "mean": mean}
        _check(function, x, variance=variance, **of_channels)
        for group in self._groups(x):
            self.launch(
                "batch_norm_test_coefficients", self.blocks(group.channels),
                mean, variance, scale_factor, batch_mean, batch_std,
                group.coefficients, group.start, group.channels, eps,
            )  # fmt: skip
            self._normalise(x, y, group)

    def _normalise(self, x: Array, y: Array, group: Group) -> None:
        blocks = self.blocks(_positions(x) * group.channels)
        self.launch("batch_norm_forward", blocks, x, group.coefficients, y, *_numbers(x, group))

    def batch_norm_train_backward(self, y: Array, batch_std: Array, dy: Array, dx: Array) -> None:
        function = "batch_norm_train_backward"
        same(function, y=y, dy=dy, dx=dx)
        _check(function, y, batch_std=batch_std)
        for group in self._groups(y):
            numbers = _numbers(y, group)
            self.launch("batch_norm_backward_sums", group.sum_grid, y, dy, group.parts, *numbers)
            self.launch(
                "batch_norm_backward_coefficients", self.blocks(group.channels),
                group.parts, batch_std, group.coefficients,
                _positions(y), group.start, group.channels, group.chunks,
            )  # fmt: skip
            blocks = self.blocks(_positions(y) * group.channels)
            self.launch(function, blocks, y, group.coefficients, dy, dx, *numbers)

    def batch_norm_test_backward(self, batch_std: Array, dy: Array, dx: Array) -> None:
        function = "batch_norm_test_backward"
        same(function, dy=dy, dx=dx)
        _check(function, dy, batch_std=batch_std)
        self.launch(function, self.blocks(dy.size), batch_std, dy, dx, *_form(dy), dy.size)

    def scale_forward(self, x: Array, g: Array, b: Array | None, y: Array) -> None:
        same("scale_forward", x=x, y=y)
        _check("scale_forward", x, g=g, b=b)
        self.launch("scale_forward", self.blocks(x.size), x, g, b, y, *_form(x), x.size)

    def scale_backward_data(self, g: Array, dy: Array, dx: Array) -> None:
        function = "scale_backward_data"
        same(function, dy=dy, dx=dx)
        _check(function, dy, g=g)
        self.launch(function, self.blocks(dy.size), g, dy, dx, *_form(dy), dy.size)

    def scale_backward_weights(
        self, x: Array, dy: Array, dg: Array | None, db: Array | None
    ) -> None:
        function = "scale_backward_weights"
        same(function, x=x, dy=dy)
        _check(function, x, dg=dg, db=db)
        for group in self._groups(x):
            numbers = _numbers(x, group)
            self.launch("scale_backward_weights_sums", group.sum_grid, x, dy, group.parts, *numbers)
            self.launch(
                function, self.blocks(group.channels),
                group.parts, dg, db, group.start, group.channels, group.chunks,
            )  # fmt: skip

    def _groups(self, x: DeviceArray) -> Iterator[Group]:
        """x's channels, GROUP at a time."""
        _, _, last = _form(x)
        for start in range(0, x.shape[1], GROUP):
            channels = min(GROUP, x.shape[1] - start)
            across = ceil_div(channels, 32 if last else 8)
            room = (SCRATCH // (DOUBLE * channels) - 3) // 2
            wanted = ceil_div(_positions(x), CHUNK)
            chunks = max(1, min(CHUNKS, BLOCKS // across, wanted, room))
            size = 2 * chunks * channels * DOUBLE
            parts = self.piece(0, (size,), "uint8")
            coefficients = self.piece(size, (3 * channels * DOUBLE,), "uint8")
            yield Group(start, channels, chunks, (across, chunks), parts, coefficients)


def _check(function: str, x: Array, **of_channels: Array | None) -> None:
    check(function, x=x)
    for name, array in of_channels.items():
        check(function, **{name: array})  # type: ignore[arg-type]
    rules.by_channel(function, x, **of_channels)


def _positions(x: DeviceArray) -> int:
    return x.shape[0] * x.shape[2]


def _form(x: DeviceArray) -> tuple[int, int, int]:
    """c, inner and last, as the kernels' Form has them. Without an inner axis the channels lie
    last in either layout."""
    _, c, inner = x.shape
    return c, inner, int(inner == 1 or channels_last("", x=x))


def _numbers(x: DeviceArray, group: Group) -> tuple[int, ...]:
    """What the kernels of one group take behind their arrays."""
    return _positions(x), *_form(x), group.start, group.channels
