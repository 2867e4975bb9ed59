"""The only caller of a kernel: arguments are checked and converted by the kernel's own declaration.

The declaration in the .cu file is the signature: a `const float* x` takes a float32 array and reads
it, `float*` writes it, `int`, `unsigned`, `long long` and `float` take a number that must fit."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .choice import SCRATCH, ceil_div
from .compile import Source, read_source
from .driver import Argument, DeviceArray, Driver, Launch, empty, view
from .table import KERNELS, Kernel

Given: TypeAlias = DeviceArray | float | None

_DTYPES = {
    "float": "float32",
    "int": "int32",
    "long long": "int64",
    "unsigned char": "uint8",
}
_NUMBERS: dict[str, type[np.generic]] = {
    "float": np.float32,
    "int": np.int32,
    "unsigned": np.uint32,
    "long long": np.int64,
}
_DECLARATION = re.compile(
    r'extern "C" __global__ void __launch_bounds__\((\d+)(?:, \d+)?\)\s+(\w+)\(([^)]*)\)', re.DOTALL
)
_PARAMETER = re.compile(r"(OPTIONAL )?(const )?(unsigned char|long long|\w+)(\*)? (\w+)")
_MOST = 2**31 - 1, 65535, 65535  # blocks along each axis of a grid


@dataclass(frozen=True)
class Parameter:
    """One parameter as the .cu file declares it."""

    name: str
    type: str  # of the number, or of the elements
    pointer: bool
    written: bool  # a pointer without const
    optional: bool  # a pointer that may be null


@dataclass(frozen=True)
class Declaration:
    """What a .cu file says of one of its kernels."""

    name: str
    threads: int
    parameters: tuple[Parameter, ...]


def declarations(text: str) -> dict[str, Declaration]:
    """Every kernel that a source declares."""
    found = {}
    for threads, name, inside in _DECLARATION.findall(re.sub(r"//.*", "", text)):
        said = [_parameter(name, " ".join(each.split())) for each in inside.split(",")]
        found[name] = Declaration(name, int(threads), tuple(said))
    return found


def _parameter(kernel: str, text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise ValueError(f"{kernel}: the parameter {text!r} is not of a known form")
    optional, const, kind, pointer, name = match.groups()
    if kind not in (_DTYPES if pointer else _NUMBERS):
        raise ValueError(f"{kernel}: {name} is of the unknown type {kind!r}")
    return Parameter(name, kind, bool(pointer), bool(pointer and not const), bool(optional))


class Launcher:
    """Finds, checks and launches kernels on one driver."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._scratch: DeviceArray | None = None
        self._ready: dict[str, tuple[Any, Declaration]] = {}
        self._sources: dict[str, Source] = {}

    def launch(self, name: str, blocks: int | Sequence[int], *given: Given) -> None:
        """Puts the kernel `name` with this many blocks on the compute stream. Raises ValueError for
        an argument that its declaration does not allow."""
        kernel = KERNELS[name]
        function, declared = self._ready.get(name) or self._load(kernel)
        grid = _grid(name, blocks)
        if len(given) != len(declared.parameters):
            raise ValueError(f"{name} takes {len(declared.parameters)} arguments, not {len(given)}")
        arguments: list[Argument] = []
        arrays: list[DeviceArray | None] = []
        for parameter, value in zip(declared.parameters, given, strict=True):
            if parameter.pointer:
                arguments.append(self._pointer(name, parameter, value))
                arrays.append(value if isinstance(value, DeviceArray) else None)
            else:
                arguments.append(_number(name, parameter, value))
        self.driver.launch(
            Launch(function, name, grid, kernel.threads, tuple(arguments), tuple(arrays))
        )

    def piece(self, offset: int, shape: Sequence[int], dtype: str = "float32") -> DeviceArray:
        """`shape` of `dtype` at byte `offset` of SCRATCH bytes that hold small partial sums between
        the kernels of one function; nothing survives the function."""
        if self._scratch is None:
            self._scratch = empty(self.driver, (SCRATCH,), "uint8")
        return view(self._scratch, offset, shape, dtype)

    def blocks(self, size: int) -> int:
        """Blocks of 256 threads that share `size` elements: enough to fill the card, and results
        do not depend on it."""
        return max(1, min(ceil_div(size, 256), 32 * self.driver.properties.multiprocessors))

    def last(self, function: str, **arrays: DeviceArray) -> None:
        """Channels must lie last. Raises ValueError."""
        for name, array in arrays.items():
            if array.channels_first:
                raise ValueError(f"{function}: {name} must be NHWC, is {array.layout}")

    def _load(self, kernel: Kernel) -> tuple[Any, Declaration]:
        if kernel.file not in self._sources:
            self._sources[kernel.file] = read_source(kernel.file)
        source = self._sources[kernel.file]
        declared = declarations(source.text)[kernel.name]
        self._ready[kernel.name] = self.driver.load(source, kernel.name), declared
        return self._ready[kernel.name]

    def _pointer(self, kernel: str, parameter: Parameter, value: Given) -> Argument:
        where = f"{kernel}: {parameter.name}"
        if value is None and parameter.optional:
            return np.uint64(0)
        if not isinstance(value, DeviceArray):
            raise ValueError(f"{where} must be an array on a device, is {type(value).__name__}")
        if value.dtype != _DTYPES[parameter.type]:
            raise ValueError(f"{where} must be {_DTYPES[parameter.type]}, is {value.dtype}")
        if value.device != self.driver.device:
            raise ValueError(
                f"{where} lies on device {value.device}, the kernel runs on {self.driver.device}"
            )
        return np.uint64(value.pointer)


def _number(kernel: str, parameter: Parameter, value: Given) -> Argument:
    where, kind = f"{kernel}: {parameter.name}", _NUMBERS[parameter.type]
    if value is None or isinstance(value, DeviceArray):
        raise ValueError(f"{where} must be a number, is {type(value).__name__}")
    if kind is np.float32:
        if math.isfinite(value) and abs(value) > float(np.finfo(np.float32).max):
            raise ValueError(f"{where} must fit float, is {value}")
        return np.float32(value)
    limits = np.iinfo(kind)  # type: ignore[type-var]
    if not (limits.min <= value <= limits.max and value == int(value)):
        raise ValueError(f"{where} must be a whole number that fits {parameter.type}, is {value}")
    return kind(int(value))


def _grid(kernel: str, blocks: int | Sequence[int]) -> tuple[int, int, int]:
    given = (blocks,) if isinstance(blocks, int) else tuple(blocks)
    if len(given) > 3:
        raise ValueError(f"{kernel}: a grid has at most 3 axes, not {given}")
    x, y, z = (*given, 1, 1)[:3]
    if not all(1 <= n <= most for n, most in zip((x, y, z), _MOST, strict=True)):
        raise ValueError(f"{kernel}: a grid of {x} x {y} x {z} blocks cannot be launched")
    return x, y, z
