"""The CUDA engine: a device's memory and our kernels on it, through a Driver."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.engine.base import Traits
from cvgg.errors import UnavailableError
from cvgg.kernels.cuda import Backend, DeviceArray, Driver, OutOfMemoryError
from cvgg.kernels.cuda.driver import empty, view
from cvgg.kernels.interface import Array, Kernels
from cvgg.netdef.shapes import Shape, describe

FUSIONS = frozenset({("Convolution", "ReLU"), ("Convolution", "ReLU", "Pooling")})


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
    )


class CudaEngine:
    """Runs on one device. Hosts see NCHW: copies turn the axes."""

    def __init__(self, driver: Driver, *, name: str = "cuda:0", threads: int = 1) -> None:
        """threads: host threads for decoding."""
        self.name, self.threads, self.driver = name, threads, driver
        backend = Backend(driver)
        self.kernels: Kernels = backend
        self.traits = cuda_traits(backend)

    def empty(self, shape: Shape, dtype: str = "float32", layout: str = "NCHW") -> Array:
        """Zeros: a diff that nothing writes must not be garbage."""
        try:
            array = empty(self.driver, shape, dtype, layout)
        except OutOfMemoryError as error:
            raise UnavailableError(f"{self.name}: an array of {describe(shape)}: {error}") from None
        if array.size:
            zeros = np.zeros(array.nbytes, np.uint8)
            self.driver.copy_in(array.pointer, zeros, self.driver.compute)
            self.driver.synchronize(self.driver.compute)
        return array

    def view(
        self, arena: Array, offset: int, shape: Shape, dtype: str, layout: str = "NCHW"
    ) -> Array:
        return view(arena, offset, shape, dtype, layout)

    def copy_in(self, dst: Array, host: NDArray[Any]) -> None:
        array: DeviceArray = dst
        values = np.broadcast_to(np.asarray(host, array.dtype), array.shape)
        if array.channels_last:
            values = np.moveaxis(values, 1, -1)
        if array.size:
            self.driver.copy_in(array.pointer, np.ascontiguousarray(values), self.driver.compute)
            self.driver.synchronize(self.driver.compute)

    def copy_out(self, src: Array) -> NDArray[Any]:
        array: DeviceArray = src
        shape = array.shape
        if array.channels_last:
            shape = (shape[0], *shape[2:], shape[1])
        host = np.empty(shape, array.dtype)
        if array.size:
            self.driver.copy_out(host, array.pointer, self.driver.compute)
            self.driver.synchronize(self.driver.compute)
        return np.ascontiguousarray(np.moveaxis(host, -1, 1)) if array.channels_last else host

    def memory_free(self) -> int:
        return self.driver.memory_free()

    def synchronize(self) -> None:
        self.driver.synchronize(self.driver.compute)
