"""The card as checks and timings see it: arrays with their channels last, graphs, a clock."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.engine.cuda import CudaEngine
from cvgg.kernels.cuda import DeviceArray, Driver
from cvgg.kernels.cuda.driver import Launch, empty, from_host_order
from cvgg.kernels.interface import State

Host = NDArray[Any]


class Card:
    """A driver with our kernels on it. Arrays of 3 or 4 axes have their channels last, on the
    card and in the host's memory; their shapes are (n, c, ...) on both."""

    def __init__(self, driver: Driver, seed: int = 1) -> None:
        self.engine = CudaEngine(driver, threads=1)
        self.kernels: Any = self.engine.kernels
        self.random = np.random.default_rng(seed)
        self.launched: set[str] = set()  # kernels
        self.driver: Any = driver
        launch = driver.launch

        def watch(call: Launch) -> None:
            self.launched.add(call.name)
            launch(call)

        self.driver.launch = watch

    # ---- the host's side
    def draw(self, *shape: int) -> Host:
        """Normal numbers."""
        return self._last(self.random.standard_normal(_in_memory(shape), np.float32))

    def draw_whole(self, below: int, *shape: int, dtype: str = "float32") -> Host:
        """Whole numbers from 0."""
        return self._last(self.random.integers(0, below, _in_memory(shape)).astype(dtype))

    @staticmethod
    def _last(values: Host) -> Host:
        return np.moveaxis(values, -1, 1) if values.ndim > 2 else values

    # ---- the card's side
    def put(self, host: Host) -> DeviceArray:
        layout = "NHWC" if host.ndim > 2 else "NCHW"
        array = empty(self.driver, host.shape, host.dtype.name, layout)
        self.write(array, host)
        return array

    def put_plain(self, host: Host) -> DeviceArray:
        """With its elements in the order of the shape: weights."""
        array = empty(self.driver, host.shape, host.dtype.name)
        self.write(array, host)
        return array

    def blank(self, shape: Sequence[int], dtype: str = "float32", layout: str = "") -> DeviceArray:
        """Memory that holds no result yet."""
        layout = layout or ("NHWC" if len(shape) > 2 else "NCHW")
        return empty(self.driver, shape, dtype, layout)

    def write(self, array: DeviceArray, host: Host) -> None:
        values = from_host_order(array, host)
        if array.size:
            self.driver.copy_in(array.pointer, values, self.driver.compute)
            self.driver.synchronize(self.driver.compute)

    def poison(self, array: DeviceArray) -> None:
        """Fills with what no result is: NaN, or bytes of 255."""
        if array.dtype == "float32":
            self.kernels.fill(array, value=float("nan"))
        else:
            stale = np.full(array.nbytes, 0xFF, np.uint8).view(array.dtype)
            self.write(array, stale.reshape(array.shape))

    def read(self, array: DeviceArray) -> Host:
        """The values, lying as on the card."""
        host = np.empty(array.size, array.dtype)
        if array.size:
            self.driver.copy_out(host, array.pointer, self.driver.compute)
            self.driver.synchronize(self.driver.compute)
        if not array.channels_last:
            return host.reshape(array.shape)
        n, c, *plane = array.shape
        return np.moveaxis(host.reshape(n, *plane, c), -1, 1)

    def state(self) -> DeviceArray:
        """What dropout's numbers depend on."""
        values = np.zeros(State.SLOTS, np.int64)
        values[[State.SEED, State.DRAW, State.FIRST_IMAGE]] = 1, 5, 3
        return self.put(values)

    # ---- time
    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        """The work as one launch, so that the host's time is not in it. Runs it once."""
        work()
        self.driver.synchronize(self.driver.compute)
        launch: Callable[[], None] = self.driver.capture(work).launch
        return launch

    def timer(self, work: Callable[[], None], flush: DeviceArray) -> Callable[[], float]:
        """A function that runs the work once, with nothing of it in the card's caches, and gives
        the milliseconds."""
        driver, launch = self.driver, self.graph(work)

        def once() -> float:
            driver.zero(flush.pointer, flush.nbytes, driver.compute)
            first = driver.record(driver.compute)
            launch()
            last = driver.record(driver.compute)
            driver.synchronize(driver.compute)
            return float(driver.elapsed_ms(first, last))

        return once

    def facts(self) -> dict[str, Any]:
        """What a result depends on."""
        card = self.driver.properties
        return {
            "card": card.name,
            "architecture": card.architecture,
            "multiprocessors": card.multiprocessors,
            "memory": card.memory,
        }


def _in_memory(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with its channels last."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else tuple(shape)
