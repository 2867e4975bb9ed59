"""The CUDA engine: a device's memory and our kernels on it, through a Driver."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.engine.base import Inbox, Traits
from cvgg.engine.inbox import CudaInbox
from cvgg.kernels.cuda import Backend, DeviceArray, Driver
from cvgg.kernels.cuda.driver import empty, from_host_order, to_host_order, view
from cvgg.kernels.interface import Array, Kernels
from cvgg.netdef.shapes import Shape

FUSIONS = frozenset({("Convolution", "ReLU"), ("Convolution", "ReLU", "Pooling")})
WARM = object()  # in the place of a recording: the work was done once


def cuda_traits(backend: Backend) -> Traits:
    """What the plan has to know of a card; the backend's driver may be one that only describes."""
    card = backend.driver.properties
    return Traits(
        name="cuda",
        kernels=backend,
        fusions=FUSIONS,
        layout="NHWC",
        architecture=card.architecture,
        compute_units=card.multiprocessors,
        copies=2,
    )


class CudaEngine:
    """Runs on one device. Hosts see NCHW: copies turn the axes."""

    on_host = False

    def __init__(self, driver: Driver, *, threads: int | None = None) -> None:
        """threads: host threads, for decoding."""
        self.name, self.driver = f"cuda:{driver.device}", driver
        self.threads = threads or len(os.sched_getaffinity(0))
        backend = Backend(driver)
        self.kernels: Kernels = backend
        self.traits = cuda_traits(backend)

    def empty(self, shape: Shape, dtype: str = "float32", layout: str = "NCHW") -> Array:
        """Zeros: a diff that nothing writes must not be garbage."""
        array = empty(self.driver, shape, dtype, layout)
        if array.size:
            self.driver.zero(array.pointer, array.nbytes, self.driver.compute)
        return array

    def view(
        self, arena: Array, offset: int, shape: Shape, dtype: str, layout: str = "NCHW"
    ) -> Array:
        return view(arena, offset, shape, dtype, layout)

    def copy_in(self, dst: Array, host: NDArray[Any]) -> None:
        array: DeviceArray = dst
        if array.size:
            values = from_host_order(array, host)
            self.driver.copy_in(array.pointer, values, self.driver.compute)
            self.driver.synchronize(self.driver.compute)

    def copy_out(self, src: Array) -> NDArray[Any]:
        array: DeviceArray = src
        host = np.empty(array.size, array.dtype)
        if array.size:
            self.driver.copy_out(host, array.pointer, self.driver.compute)
            self.driver.synchronize(self.driver.compute)
        return to_host_order(array, host)

    def inbox(self) -> Inbox:
        return CudaInbox(self.driver)

    def run(self, work: Callable[[], None], recordings: dict[str, Any], key: str) -> None:
        """The first time as it comes, which compiles kernels; then from a CUDA graph."""
        state = recordings.get(key)
        if state is None:
            work()
            recordings[key] = WARM
            return
        if state is WARM:
            recordings[key] = state = self.driver.capture(work)
        state.launch()

    def mark(self) -> Any:
        return self.driver.record(self.driver.compute)

    def seconds(self, first: Any, last: Any) -> float:
        self.driver.synchronize(self.driver.compute)
        return self.driver.elapsed_ms(first, last) / 1000

    def memory_free(self) -> int:
        return self.driver.memory_free()

    def synchronize(self) -> None:
        self.driver.synchronize(self.driver.compute)
