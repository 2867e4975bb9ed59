"""An engine: the memory and the kernels of one device."""

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from cvgg.kernels.interface import Array, Kernels
from cvgg.netdef.shapes import Shape


@dataclass(frozen=True)
class Traits:
    """What the plan has to know of an engine; can be made without the device.

    `kernels` is there for its pure functions (conv_workspace). `fusions` are runs of layer types
    that the backend does in one call, longest first wins."""

    name: str  # "cpu", "cuda"
    kernels: Kernels
    fusions: frozenset[tuple[str, ...]] = frozenset()
    layout: str = "NCHW"
    dtypes: tuple[str, ...] = ("float32",)
    architecture: str = ""
    compute_units: int = 1


class Engine(Protocol):
    """Memory and kernels of one device. Arrays are the engine's own; hosts see numpy through
    copy_in and copy_out."""

    name: str  # "cpu", "cuda:1"
    traits: Traits
    kernels: Kernels
    threads: int  # host threads that kernels and decoding may use

    def empty(self, shape: Shape, dtype: str = "float32", layout: str = "NCHW") -> Array:
        """An array of zeros; contiguous, aligned to 64 bytes."""
        ...

    def view(
        self, arena: Array, offset: int, shape: Shape, dtype: str, layout: str = "NCHW"
    ) -> Array:
        """`shape` of `dtype` at byte `offset` of a uint8 arena; the memory is shared."""
        ...

    def copy_in(self, dst: Array, host: NDArray[Any]) -> None:
        """Fills an array from the host's, whose axes lie as its shape says."""
        ...

    def copy_out(self, src: Array) -> NDArray[Any]:
        """The array on the host, axes as its shape says; on the CPU engine the memory itself."""
        ...

    def memory_free(self) -> int:
        """Bytes that can still be allocated."""
        ...

    def synchronize(self) -> None: ...
