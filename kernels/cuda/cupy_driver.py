"""The driver of the product: CuPy loads our machine code, launches it and holds the memory.

Nothing else in kernels/cuda knows CuPy. RawModule is given a cubin that compile.py made, so CuPy
compiles nothing."""

from collections.abc import Callable
from contextlib import suppress
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

NO_MEMORY = 2  # cudaErrorMemoryAllocation
OLDEST = (7, 5)  # compute capability: Turing, the oldest that NVRTC 13 compiles for


def import_cupy() -> Any:
    """CuPy with a driver behind it. Raises DriverError."""
    try:
        import cupy
    except ImportError as error:
        words = " ".join(str(error.__cause__ or error).split())  # CuPy draws a box around them
        raise DriverError(
            f"CuPy cannot be loaded ({words}); install cvgg[cuda13], or cvgg[cuda12] for an older "
            "driver"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DriverError(f"no usable NVIDIA driver: {error}") from None
    if not count:
        raise DriverError("the NVIDIA driver sees no card")
    return cupy


class Faults:
    """`with` it, what CUDA says becomes a DriverError: a fault on the card comes up in whatever is
    called next."""

    def __init__(self, cupy: Any, device: int) -> None:
        self._kinds = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._device = device

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, self._kinds):
            raise DriverError(f"GPU {self._device}: {error}") from None


class CupyGraph:
    """A captured CUDA graph."""

    def __init__(self, graph: Any, stream: Any, faults: Faults) -> None:
        self._graph, self._stream, self._faults = graph, stream, faults

    def launch(self) -> None:
        with self._faults:
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
        self._faults = Faults(cupy, device)

    # ---- kernels
    def load(self, source: Source, name: str) -> Function:
        if source not in self._modules:
            path = cubin_file(source, self.properties.architecture)
            self._modules[source] = self._cupy.RawModule(path=str(path))
        with self._faults:
            return self._modules[source].get_function(name)

    def launch(self, call: Launch) -> None:
        with self._faults, self.compute:
            call.function(call.grid, (call.threads, 1, 1), call.arguments)

    # ---- memory
    def allocate(self, nbytes: int) -> tuple[int, Any]:
        if not nbytes:
            return 0, None
        with self._faults:
            try:
                memory = self._cupy.cuda.Memory(nbytes)
            except self._cupy.cuda.runtime.CUDARuntimeError as error:
                if error.status != NO_MEMORY:
                    raise
                raise OutOfMemoryError(nbytes, self.memory_free()) from None
        return int(memory.ptr), memory

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        with self._faults:
            memory = self._cupy.cuda.alloc_pinned_memory(nbytes)
        return np.frombuffer(memory, np.uint8, nbytes)

    def copy_in(self, pointer: int, host: NDArray[Any], stream: Stream) -> None:
        self._copy(pointer, host.ctypes.data, host.nbytes, "memcpyHostToDevice", stream)

    def zero(self, pointer: int, nbytes: int, stream: Stream) -> None:
        with self._faults:
            self._cupy.cuda.runtime.memsetAsync(pointer, 0, nbytes, stream.ptr)

    def copy(self, to: int, pointer: int, nbytes: int, stream: Stream) -> None:
        self._copy(to, pointer, nbytes, "memcpyDeviceToDevice", stream)

    def copy_out(self, host: NDArray[Any], pointer: int, stream: Stream) -> None:
        self._copy(host.ctypes.data, pointer, host.nbytes, "memcpyDeviceToHost", stream)

    def _copy(self, to: int, at: int, nbytes: int, kind: str, stream: Stream) -> None:
        runtime = self._cupy.cuda.runtime
        with self._faults:
            runtime.memcpyAsync(to, at, nbytes, getattr(runtime, kind), stream.ptr)

    def memory_free(self) -> int:
        with self._faults:
            free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free)

    # ---- order
    def record(self, stream: Stream) -> Event:
        with self._faults:
            event = self._cupy.cuda.Event()
            event.record(stream)
        return event

    def wait(self, stream: Stream, event: Event) -> None:
        with self._faults:
            stream.wait_event(event)

    def finish(self, event: Event) -> None:
        with self._faults:
            event.synchronize()

    def elapsed_ms(self, first: Event, last: Event) -> float:
        with self._faults:
            return float(self._cupy.cuda.get_elapsed_time(first, last))

    def synchronize(self, stream: Stream) -> None:
        with self._faults:
            stream.synchronize()

    def capture(self, work: Callable[[], None]) -> Graph:
        with self._faults, self.compute:
            self.compute.begin_capture()
            try:
                work()
            except BaseException:
                # The work may have broken the capture; its own error is the one to see.
                with suppress(self._cupy.cuda.runtime.CUDARuntimeError):
                    self.compute.end_capture()
                raise
            graph = self.compute.end_capture()
        return CupyGraph(graph, self.compute, self._faults)
