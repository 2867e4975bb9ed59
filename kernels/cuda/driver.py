"""The seam between our host code and what runs it: a card through CuPy, or the tests' emulator.

Everything in kernels/cuda that decides (checks, choice of kernel and tile, grids, arguments) talks
to a Driver and to nothing else, so the tests run it all without a card."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import UnavailableError
from .compile import Source

Shape: TypeAlias = tuple[int, ...]
Stream: TypeAlias = Any  # a driver's own
Event: TypeAlias = Any
Function: TypeAlias = Any
Argument: TypeAlias = np.generic  # a scalar of the kernel's own type; pointers are uint64

ITEM_BYTES = {"float32": 4, "int32": 4, "int64": 8, "uint8": 1}


class DriverError(UnavailableError):
    """What a driver could not do; the message says it in one line."""


@dataclass(frozen=True)
class Properties:
    """What decisions depend on; can be written down without a device."""

    name: str  # "NVIDIA H100 80GB HBM3"
    architecture: str  # "sm_90"
    multiprocessors: int
    memory: int  # bytes in all


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """Memory of a device seen as an array; always contiguous.

    layout "NCHW": elements lie in the order of `shape`. "NHWC": axis 1 lies innermost, so that the
    array (n, c, h, w) lies as (n, h, w, c), and (n, c, i) as (n, i, c); `shape` stays as it is."""

    pointer: int
    shape: Shape
    dtype: str = "float32"
    layout: str = "NCHW"
    device: int = 0
    owner: Any = None  # keeps the memory alive

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * ITEM_BYTES[self.dtype]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def reshape(self, *shape: Any) -> "DeviceArray":
        """The same memory in another shape: reshape(2, 3) or reshape((2, 3)). Channels last, the
        first two axes must stay, since those behind them lie together. Raises ValueError."""
        wanted: Shape = tuple(shape[0]) if len(shape) == 1 and not _whole(shape[0]) else shape
        if prod(wanted) != self.size:
            raise ValueError(f"{self.shape} has {self.size} elements, {wanted} {prod(wanted)}")
        if self.channels_last and wanted[:2] != self.shape[:2]:
            raise ValueError(f"channels lie last: {self.shape} cannot be seen as {wanted}")
        layout = self.layout if wanted[:2] == self.shape[:2] else "NCHW"
        return replace(self, shape=wanted, layout=layout)

    @property
    def channels_last(self) -> bool:
        """Whether the layout makes a difference and is NHWC: one channel, or one place for each
        channel, lie the same either way."""
        return self.layout == "NHWC" and self._has_two_layouts

    @property
    def channels_first(self) -> bool:
        """The same for NCHW."""
        return self.layout == "NCHW" and self._has_two_layouts

    @property
    def _has_two_layouts(self) -> bool:
        return self.ndim > 2 and self.shape[1] > 1 and prod(self.shape[2:]) > 1

    def head(self, size: int) -> "DeviceArray":
        """The first `size` elements of an array of one axis. Raises ValueError."""
        if self.ndim != 1 or size > self.size:
            raise ValueError(f"the first {size} elements of {self.shape}")
        return replace(self, shape=(size,))


def _whole(value: object) -> bool:
    return isinstance(value, int | np.integer)


@dataclass(frozen=True)
class Launch:
    """One call of a kernel."""

    function: Function
    name: str
    grid: tuple[int, int, int]
    threads: int
    arguments: tuple[Argument, ...]
    arrays: tuple[DeviceArray | None, ...]  # those behind the pointers, in the same order


class Graph(Protocol):
    """Recorded work."""

    def launch(self) -> None:
        """Runs it again, on the compute stream."""
        ...


class Driver(Protocol):
    """One device. All work is asynchronous on a stream: `compute` for kernels and what they read,
    `upload` for copies beside them."""

    properties: Properties
    device: int
    compute: Stream
    upload: Stream

    # ---- kernels
    def load(self, source: Source, name: str) -> Function:
        """The kernel `name` of a source, compiled if it is new."""
        ...

    def launch(self, call: Launch) -> None:
        """Puts a call on the compute stream."""
        ...

    # ---- memory
    def allocate(self, nbytes: int) -> tuple[int, Any]:
        """Pointer, aligned to 256 bytes, and an object that frees the memory when it goes. Raises
        errors.OutOfMemoryError."""
        ...

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Host memory that copies need not stage."""
        ...

    def copy_in(self, pointer: int, host: NDArray[Any], stream: Stream) -> None:
        """Copies a contiguous host array to the device. `host` must stay as it is until the stream
        has passed."""
        ...

    def zero(self, pointer: int, nbytes: int, stream: Stream) -> None:
        """Fills memory of the device with bytes of 0."""
        ...

    def copy(self, to: int, pointer: int, nbytes: int, stream: Stream) -> None:
        """Copies within the device."""
        ...

    def copy_out(self, host: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Copies into a contiguous host array; it is there once the stream has passed."""
        ...

    def memory_free(self) -> int:
        """Bytes that can still be allocated."""
        ...

    # ---- order
    def record(self, stream: Stream) -> Event:
        """An event that happens when the stream has passed this point."""
        ...

    def wait(self, stream: Stream, event: Event) -> None:
        """Holds the stream's later work back until the event."""
        ...

    def finish(self, event: Event) -> None:
        """Returns when the event has happened. Raises DriverError for what failed before it."""
        ...

    def elapsed_ms(self, first: Event, last: Event) -> float:
        """Milliseconds between two events that have happened."""
        ...

    def synchronize(self, stream: Stream) -> None:
        """Returns when the stream has passed. Raises DriverError for what failed on it."""
        ...

    def capture(self, work: Callable[[], None]) -> Graph:
        """Records what `work` puts on the compute stream instead of running it."""
        ...


def empty(
    driver: Driver, shape: Sequence[int], dtype: str = "float32", layout: str = "NCHW"
) -> DeviceArray:
    """An array of the device's memory; what it holds is not said."""
    size = prod(shape) * ITEM_BYTES[dtype]
    pointer, owner = driver.allocate(size)
    return DeviceArray(pointer, tuple(shape), dtype, layout, driver.device, owner)


def view(
    array: DeviceArray,
    offset: int,
    shape: Sequence[int],
    dtype: str = "float32",
    layout: str = "NCHW",
) -> DeviceArray:
    """`shape` of `dtype` at byte `offset` of a uint8 array. Raises ValueError beyond its end."""
    end = offset + prod(shape) * ITEM_BYTES[dtype]
    if not 0 <= offset <= end <= array.nbytes:
        raise ValueError(f"bytes {offset} to {end} of an array of {array.nbytes}")
    pointer = array.pointer + offset
    return DeviceArray(pointer, tuple(shape), dtype, layout, array.device, array.owner)


def from_host_order(array: DeviceArray, host: NDArray[Any]) -> NDArray[Any]:
    """Values of the host for `array`, contiguous in the order of its memory."""
    values = np.broadcast_to(np.asarray(host, array.dtype), array.shape)
    return np.ascontiguousarray(np.moveaxis(values, 1, -1) if array.channels_last else values)


def to_host_order(array: DeviceArray, values: NDArray[Any]) -> NDArray[Any]:
    """The other way: values in the order of the memory as an array of the host."""
    if not array.channels_last:
        return values.reshape(array.shape)
    n, c, *plane = array.shape
    return np.ascontiguousarray(np.moveaxis(values.reshape(n, *plane, c), -1, 1))
