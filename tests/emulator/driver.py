"""A device for tests: the CUDA kernels compiled by g++ and run on this processor.

What a card leaves open is drawn from the seed: the order of threads, blocks and streams, and when
asynchronous copies land. EmulatorDriver satisfies cvgg.kernels.cuda.driver.Driver."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.errors import OutOfMemoryError
from cvgg.kernels.cuda.compile import Source
from cvgg.kernels.cuda.driver import DriverError, Launch, Properties
from cvgg.kernels.cuda.launch import Declaration

from .build import Mode, Module
from .calls import run
from .memory import Memory, Owner
from .streams import Event, Operation, Queues, Stream


@dataclass(frozen=True)
class Function:
    """A kernel that can be launched."""

    module: Module
    declared: Declaration
    dynamic: int = 0  # bytes of dynamic shared memory


class Graph:
    """Recorded launches."""

    def __init__(self, driver: "EmulatorDriver", calls: list[Launch]) -> None:
        self._driver, self._calls = driver, calls

    def launch(self) -> None:
        for call in self._calls:
            self._driver.launch(call)


class EmulatorDriver:
    """The emulated device. Seed 0 runs everything in order, 1 backwards, others as drawn.

    mode "fast": as quick as it goes. "race": every access of a kernel is checked."""

    def __init__(
        self,
        seed: int = 0,
        mode: Mode = "fast",
        architecture: str = "sm_90",
        multiprocessors: int = 4,
        memory: int = 2 << 30,
    ) -> None:
        self.seed, self.mode, self.device = seed, mode, 0
        self.properties = Properties("emulator", architecture, multiprocessors, memory)
        self._queues = Queues(seed, "compute", "upload")
        self.compute, self.upload = self._queues.streams
        self._memory = Memory(memory)
        self._modules: dict[Source, Module] = {}
        self._recorded: list[Launch] | None = None
        self._launches = 0

    # ---- kernels
    def load(self, source: Source, name: str) -> Function:
        """Compiles the file for this processor. Raises DriverError with g++'s words."""
        if source not in self._modules:
            self._modules[source] = Module(source, self.mode)
        module = self._modules[source]
        if name not in module.declared:
            raise DriverError(f"{source.file} declares no kernel {name}")
        return Function(module, module.declared[name])

    def launch(self, call: Launch) -> None:
        most = call.function.declared.threads
        if not 1 <= call.threads <= most:
            raise DriverError(f"{call.name} is made for {most} threads, not {call.threads}")
        wanted = len(call.function.declared.parameters)
        if len(call.arguments) != wanted:
            raise DriverError(f"{call.name} takes {wanted} arguments, not {len(call.arguments)}")
        if self._recorded is not None:
            self._recorded.append(call)
            return
        self._queues.put(self.compute, Operation(lambda: self._run(call)))

    def _run(self, call: Launch) -> None:
        self._launches += 1
        run(call, self.mode, self.seed, self._launches)
        damage = self._memory.damage()
        if damage is not None:
            at, size = damage
            raise DriverError(f"{call.name} wrote at {at:#x}, beside an array of {size:,} bytes")

    # ---- memory
    def allocate(self, nbytes: int) -> tuple[int, Owner]:
        self._refuse("an allocation")
        try:
            return self._memory.allocate(nbytes)
        except OutOfMemoryError:
            self._finish()
            return self._memory.allocate(nbytes)

    def memory_free(self) -> int:
        self._refuse("memory_free")
        self._finish()
        return self._memory.limit - self._memory.used

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        return np.full(nbytes, 0xFF, np.uint8)

    def copy_in(self, pointer: int, host: NDArray[Any], stream: Stream) -> None:
        """`host` is read when the stream comes to it, which may be much later."""
        self._check_copy(pointer, host)
        self._put_copy(stream, pointer, host.ctypes.data, host)

    def copy_out(self, host: NDArray[Any], pointer: int, stream: Stream) -> None:
        """`host` is written when the stream comes to it, which may be much later."""
        self._check_copy(pointer, host)
        if not host.flags.writeable:
            raise DriverError("a copy into an array that cannot be written")
        self._put_copy(stream, host.ctypes.data, pointer, host)

    def copy(self, to: int, pointer: int, nbytes: int, stream: Stream) -> None:
        self._refuse("a copy")
        for place in (to, pointer):
            self._memory.check(place, nbytes)
        self._queues.put(stream, Operation(lambda: ctypes.memmove(to, pointer, nbytes)))

    def zero(self, pointer: int, nbytes: int, stream: Stream) -> None:
        self._refuse("zero")
        self._memory.check(pointer, nbytes)
        self._queues.put(stream, Operation(lambda: ctypes.memset(pointer, 0, nbytes)))

    def _put_copy(self, stream: Stream, to: int, at: int, host: NDArray[Any]) -> None:
        def work() -> None:
            ctypes.memmove(to, at, host.nbytes)  # and so keeps `host`

        self._queues.put(stream, Operation(work))

    def _check_copy(self, pointer: int, host: NDArray[Any]) -> None:
        self._refuse("a copy")
        if not host.flags.c_contiguous:
            raise DriverError("a copy of a host array that is not contiguous")
        self._memory.check(pointer, host.nbytes)

    # ---- order
    def record(self, stream: Stream) -> Event:
        self._refuse("an event")
        event = Event()
        self._queues.put(stream, Operation(leaves=event))
        return event

    def wait(self, stream: Stream, event: Event) -> None:
        self._refuse("an event")
        self._queues.put(stream, Operation(after=event))

    def finish(self, event: Event) -> None:
        self._refuse("finish")
        self._queues.until(event)

    def elapsed_ms(self, first: Event, last: Event) -> float:
        self._refuse("elapsed_ms")
        self._finish()
        if first.time_s is None or last.time_s is None:
            raise DriverError("an event of another device")
        return (last.time_s - first.time_s) * 1000

    def synchronize(self, stream: Stream) -> None:
        self._refuse("synchronize")
        self._queues.advance(stream)
        if self._queues.empty():
            self._memory.reclaim()

    def capture(self, work: Callable[[], None]) -> Graph:
        self._refuse("a capture")
        self._recorded = []
        try:
            work()
            return Graph(self, self._recorded)
        finally:
            self._recorded = None

    def _finish(self) -> None:
        for stream in self._queues.streams:
            self._queues.advance(stream)
        self._memory.reclaim()

    def _refuse(self, what: str) -> None:
        if self._recorded is not None:
            raise DriverError(f"{what} during a capture, which records launches only")
