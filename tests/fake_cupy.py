"""A module that stands in for CuPy: it has the names that CuPy 14 has, takes what they take, keeps
what it is asked for, and can be told to fail."""

import types
from collections.abc import Callable
from typing import Any

FREE, TOTAL = 5_000_000, 80_000_000_000


class CUDARuntimeError(RuntimeError):
    """As CuPy's: a status and CUDA's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class CUDADriverError(RuntimeError):
    """The same of the driver's interface."""


class PoolOutOfMemoryError(MemoryError):
    """What CuPy's memory pool raises, and a plain Memory never does."""


NO_MEMORY = CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory")
BAD_ADDRESS = CUDARuntimeError(700, "cudaErrorIllegalAddress: an illegal memory access")
NO_IMAGE = CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available")


class FakeCupy(types.ModuleType):
    """`calls`: what was asked for, in order. `fail[name]`: what a call raises from now on."""

    def __init__(self, *capabilities: tuple[int, int]) -> None:
        """One card for each compute capability."""
        super().__init__("cupy")
        self.capabilities = capabilities
        self.calls: list[tuple[Any, ...]] = []
        self.fail: dict[str, Exception] = {}
        self.current: list[Stream] = []  # innermost last
        self.streams: list[Stream] = []
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                memcpyHostToDevice=1,
                memcpyDeviceToHost=2,
                memcpyDeviceToDevice=3,
                getDeviceCount=lambda: self.does("getDeviceCount", len(self.capabilities)),
                getDeviceProperties=self._properties,
                memcpyAsync=self._takes("memcpyAsync", 5),
                memsetAsync=self._takes("memsetAsync", 4),
                memGetInfo=lambda: self.does("memGetInfo", (FREE, TOTAL)),
            ),
            driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
            memory=types.SimpleNamespace(OutOfMemoryError=PoolOutOfMemoryError),
            Device=lambda number: Device(self, number),
            Stream=lambda *, non_blocking=False: Stream(self, non_blocking=non_blocking),
            Event=lambda: Event(self),
            Memory=lambda size: Memory(self, size),
            alloc_pinned_memory=lambda size: self.does("alloc_pinned_memory", bytearray(4096)),
            get_elapsed_time=lambda first, last: self.does("elapsed", 2.5, first, last),
        )

    def does(self, name: str, result: Any, *arguments: Any) -> Any:
        """Keeps the call and gives the result, or fails."""
        if arguments:
            self.calls.append((name, *arguments))
        if name in self.fail:
            raise self.fail[name]
        return result

    def _takes(self, name: str, count: int) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            assert len(arguments) == count
            assert all(type(each) is int for each in arguments)
            self.does(name, None, *arguments)

        return call

    def _properties(self, device: int) -> dict[str, Any]:
        major, minor = self.capabilities[device]
        return {
            "name": b"Card %d" % device,
            "major": major,
            "minor": minor,
            "multiProcessorCount": 132,
            "totalGlobalMem": TOTAL,
        }

    def RawModule(self, *, path: str) -> "RawModule":  # noqa: N802
        return RawModule(self, path)


class Device:
    """A card."""

    def __init__(self, cupy: FakeCupy, number: int) -> None:
        self.cupy, self.number = cupy, number

    def use(self) -> None:
        self.cupy.does("use", None, self.number)


class Stream:
    """Made on the device in use; current inside `with`."""

    def __init__(self, cupy: FakeCupy, *, non_blocking: bool) -> None:
        self.cupy, self.non_blocking = cupy, non_blocking
        cupy.streams.append(self)
        self.ptr = 0x51 + len(cupy.streams)
        self.made_after = list(cupy.calls)
        self.capturing = False

    def __enter__(self) -> "Stream":
        self.cupy.current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.cupy.current.pop() is self

    def wait_event(self, event: "Event") -> None:
        self.cupy.does("wait_event", None, self, event)

    def synchronize(self) -> None:
        self.cupy.does("synchronize", None, self)

    def begin_capture(self) -> None:
        assert self.cupy.current[-1] is self
        self.capturing = True
        self.cupy.does("begin_capture", None, self)

    def end_capture(self) -> "Graph":
        assert self.capturing
        self.capturing = False
        graph: Graph = self.cupy.does("end_capture", Graph(self.cupy), self)
        return graph


class Event:
    """A point on a stream."""

    def __init__(self, cupy: FakeCupy) -> None:
        self.cupy = cupy

    def record(self, stream: Stream) -> None:
        self.cupy.does("record", None, self, stream)

    def synchronize(self) -> None:
        self.cupy.does("finish", None, self)


class Graph:
    """Captured work."""

    def __init__(self, cupy: FakeCupy) -> None:
        self.cupy = cupy

    def launch(self, stream: Stream) -> None:
        self.cupy.does("launch graph", None, self, stream)


class Memory:
    """Memory of the device."""

    def __init__(self, cupy: FakeCupy, size: int) -> None:
        cupy.does("Memory", None, size)
        self.ptr = 0x7F00_0000_0000


class RawModule:
    """A cubin that is loaded when the first function is asked for, as in CuPy."""

    def __init__(self, cupy: FakeCupy, path: str) -> None:
        self.cupy = cupy
        cupy.does("RawModule", None, path)

    def get_function(self, name: str) -> Callable[..., None]:
        self.cupy.does("get_function", None, name)

        def function(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            assert [type(each) for each in (grid, block, args)] == [tuple] * 3
            stream = self.cupy.current[-1] if self.cupy.current else None
            self.cupy.does("launch", None, stream, name, grid, block, args)

        return function
