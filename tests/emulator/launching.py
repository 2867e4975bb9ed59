"""Short words for the emulator's own tests: a device, its arrays, calls of its kernels."""

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvgg.kernels.cuda.compile import FOLDER, read_source
from cvgg.kernels.cuda.driver import DeviceArray, Driver, Launch, empty

from .build import Mode
from .driver import EmulatorDriver

HERE = Path(__file__).parent
SEEDS = range(8)
MODES: tuple[Mode, ...] = ("fast", "race")
TYPES = {"int": "int32", "unsigned": "uint32", "long long": "int64", "float": "float32"}
RAMP = np.arange(1, 257, dtype=np.float32)

Argument: TypeAlias = DeviceArray | float | None


def device(seed: int = 0, mode: Mode = "fast") -> Driver:
    return EmulatorDriver(seed, mode)


def put(driver: Driver, host: NDArray[np.generic]) -> DeviceArray:
    array = empty(driver, host.shape, str(host.dtype))
    driver.copy_in(array.pointer, host, driver.compute)
    return array


def get(driver: Driver, array: DeviceArray) -> NDArray[np.generic]:
    host = np.empty(array.shape, array.dtype)
    driver.copy_out(host, array.pointer, driver.compute)
    driver.synchronize(driver.compute)
    return host


def call(
    driver: Driver, file: str, name: str, blocks: int, *given: Argument, dynamic: int = 0
) -> None:
    """Launches a kernel of this folder with all the threads it is made for."""
    source = read_source(f"{file}.cu", (HERE / "kernels", HERE, FOLDER))
    function = replace(driver.load(source, name), dynamic=dynamic)
    arguments: list[np.generic] = []
    arrays: list[DeviceArray | None] = []
    for parameter, value in zip(function.declared.parameters, given, strict=True):
        if parameter.pointer:
            assert value is None or isinstance(value, DeviceArray)
            arguments.append(np.uint64(value.pointer if value else 0))
            arrays.append(value)
        else:
            arguments.append(np.dtype(TYPES[parameter.type]).type(value))
    threads = function.declared.threads
    driver.launch(Launch(function, name, (blocks, 1, 1), threads, tuple(arguments), tuple(arrays)))
