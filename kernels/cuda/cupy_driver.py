"""The driver of the product: CuPy loads our machine code, launches it and holds the memory.

Nothing else in kernels/cuda knows CuPy. RawModule is given a cubin that compile.py made, so CuPy
compiles nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import OutOfMemoryError
from .compile import Source, cubin_file
from .driver import (
    DriverError,
    Event,
    Function,
    Graph,
    Launch,
    Properties,
    Stream,
)

OLDEST = (7, 5)  # compute capability: Turing, the oldest that NVRTC 13 compiles for


def import_cupy() -> Any:
    """CuPy with a driver behind it. Raises DriverError."""
    try:
        import cupy
    except ImportError as error:
        raise DriverError(
            f"CuPy cannot be loaded ({error}); install cvgg[cuda13], or cvgg[cuda12] for an older "
            "driver"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DriverError(f"no usable NVIDIA driver: {error}") from None
    if not count:
        raise DriverError("the NVIDIA driver sees no card")
    return cupy


class CupyGraph:
    """A captured CUDA graph."""

    def __init__(self, graph: Any, stream: Any) -> None:
        self._graph, self._stream = graph, stream

    def launch(self) -> None:
        self._graph.launch(self._stream)


class CupyDriver:
    """Card number `device`. See driver.Driver for what each function promises."""

    def __init__(self, device: int = 0) -> None:
        self._cupy = cupy = import_cupy()
        runtime = cupy.cuda.runtime
        count = runtime.getDeviceCount()
        if device >= count:
            raise DriverError(f"there is no GPU {device}: GPUs here are numbered 0 to {count - 1}")
        said = runtime.getDeviceProperties(device)
        capability = said["major"], said["minor"]
        name = said["name"].decode()
        if capability < OLDEST:
            raise DriverError(
                f"GPU {device} ({name}) has compute capability {capability[0]}.{capability[1]}; "
                f"cvgg needs {OLDEST[0]}.{OLDEST[1]} or later"
            )
        self.device = device
        self.properties = Properties(
            name,
            f"sm_{capability[0]}{capability[1]}",
            said["multiProcessorCount"],
            said["totalGlobalMem"],
        )
        cupy.cuda.Device(device).use()
        self.compute: Stream = cupy.cuda.Stream(non_blocking=True)
        self.upload: Stream = cupy.cuda.Stream(non_blocking=True)
        self._modules: dict[Source, Any] = {}

    # ---- kernels
    def load(self, source: Source, name: str) -> Function:
        if source not in self._modules:
            path = cubin_file(source, self.properties.architecture)
            self._modules[source] = self._cupy.RawModule(path=str(path))
        return self._modules[source].get_function(name)

    def launch(self, call: Launch) -> None:
        with self.compute:
            call.function(call.grid, (call.threads, 1, 1), call.arguments)

    # ---- memory
    def allocate(self, nbytes: int) -> tuple[int, Any]:
        if not nbytes:
            return 0, None
        runtime = self._cupy.cuda.runtime
        try:
            memory = self._cupy.cuda.Memory(nbytes)
        except (runtime.CUDARuntimeError, self._cupy.cuda.memory.OutOfMemoryError):
            raise OutOfMemoryError(nbytes, self.memory_free()) from None
        return int(memory.ptr), memory

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._cupy.cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)

    def copy_in(self, pointer: int, host: NDArray[Any], stream: Stream) -> None:
        runtime = self._cupy.cuda.runtime
        to, kind = pointer, runtime.memcpyHostToDevice
        runtime.memcpyAsync(to, host.ctypes.data, host.nbytes, kind, stream.ptr)

    def zero(self, pointer: int, nbytes: int, stream: Stream) -> None:
        self._cupy.cuda.runtime.memsetAsync(pointer, 0, nbytes, stream.ptr)

    def copy(self, to: int, pointer: int, nbytes: int, stream: Stream) -> None:
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(to, pointer, nbytes, runtime.memcpyDeviceToDevice, stream.ptr)

    def copy_out(self, host: NDArray[Any], pointer: int, stream: Stream) -> None:
        runtime = self._cupy.cuda.runtime
        to, kind = host.ctypes.data, runtime.memcpyDeviceToHost
        runtime.memcpyAsync(to, pointer, host.nbytes, kind, stream.ptr)

    def memory_free(self) -> int:
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free)

    # ---- order
    def record(self, stream: Stream) -> Event:
        event = self._cupy.cuda.Event()
        event.record(stream)
        return event

    def wait(self, stream: Stream, event: Event) -> None:
        stream.wait_event(event)

    def finish(self, event: Event) -> None:
        try:
            event.synchronize()
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            raise DriverError(f"GPU {self.device}: {error}") from None

    def elapsed_ms(self, first: Event, last: Event) -> float:
        return float(self._cupy.cuda.get_elapsed_time(first, last))

    def synchronize(self, stream: Stream) -> None:
        try:
            stream.synchronize()
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            raise DriverError(f"GPU {self.device}: {error}") from None

    def capture(self, work: Callable[[], None]) -> Graph:
        with self.compute:
            self.compute.begin_capture()
            try:
                work()
            finally:
                graph = self.compute.end_capture()
        return CupyGraph(graph, self.compute)
