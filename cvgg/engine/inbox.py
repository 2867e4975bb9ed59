"""How a batch comes to a GPU beside the one that is being computed.

Values go to pinned host memory, from there on the upload stream to a place of their own on the
device, and only deliver() copies them, on the compute stream, to where the kernels read them. Each
array has two such ways, used by turns, so that the copy of one batch waits for no kernel."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.kernels.cuda import DeviceArray, Driver
from cvgg.kernels.cuda.driver import Event, from_host_order
from cvgg.kernels.interface import Array


@dataclass
class _Way:
    """Pinned memory, the place on the device, and who used them last."""

    pinned: NDArray[np.uint8]
    pointer: int
    owner: Any
    uploaded: Event | None = None  # the copy that reads `pinned` is done
    delivered: Event | None = None  # the copy that reads the device's place is done


@dataclass
class _Ways:
    """The two ways of one array, and which comes next."""

    ways: list[_Way] = field(default_factory=list)
    turn: int = 0


class CudaInbox:
    """The inbox of one net on one device."""

    early = True

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._ways: dict[tuple[int, int], _Ways] = {}
        self._waiting: dict[int, tuple[DeviceArray, _Way]] = {}

    def put(self, dst: Array, host: NDArray[Any]) -> None:
        array: DeviceArray = dst
        if not array.size:
            return
        driver, way = self._driver, self._next(array)
        if way.uploaded is not None:
            driver.finish(way.uploaded)
        values = way.pinned[: array.nbytes].view(array.dtype)
        np.copyto(values, from_host_order(array, host).reshape(-1))
        if way.delivered is not None:
            driver.wait(driver.upload, way.delivered)
        driver.copy_in(way.pointer, values, driver.upload)
        way.uploaded = driver.record(driver.upload)
        self._waiting[array.pointer] = array, way

    def deliver(self) -> None:
        driver = self._driver
        for array, way in self._waiting.values():
            driver.wait(driver.compute, way.uploaded)
            driver.copy(array.pointer, way.pointer, array.nbytes, driver.compute)
            way.delivered = driver.record(driver.compute)
        self._waiting.clear()

    def clear(self) -> None:
        self._waiting.clear()

    def _next(self, array: DeviceArray) -> _Way:
        known = self._ways.setdefault((array.pointer, array.nbytes), _Ways())
        if len(known.ways) < 2:
            pointer, owner = self._driver.allocate(array.nbytes)
            known.ways.append(_Way(self._driver.pinned(array.nbytes), pointer, owner))
        known.turn = (known.turn + 1) % 2
        return known.ways[known.turn % len(known.ways)]
