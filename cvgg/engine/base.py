"""An engine: the memory and the kernels of one device."""

from collections.abc import Callable
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
    copies: int = 0  # of what the host brings, that the engine keeps beside the arrays themselves


class Inbox(Protocol):
    """Values for arrays that the next pass reads, on their way to the device."""

    early: bool
    """Whether values may be put while a pass is still running, and gain by it."""

    def put(self, dst: Array, host: NDArray[Any]) -> None:
        """`dst` holds these values from the next deliver() on, perhaps from now on; `host` may
        change afterwards."""
        ...

    def deliver(self) -> None:
        """Everything that was put is there for the work that follows."""
        ...

    def clear(self) -> None:
        """Forgets what was put and not delivered."""
        ...


class Engine(Protocol):
    """Memory and kernels of one device. Arrays are the engine's own; hosts see numpy through
    copy_in and copy_out."""

    name: str  # "cpu", "cuda:1"
    traits: Traits
    kernels: Kernels
    threads: int  # host threads that kernels and decoding may use
    on_host: bool  # arrays are numpy's, in the host's memory

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

    def inbox(self) -> Inbox:
        """A new one, for the arrays of one net."""
        ...

    def run(self, work: Callable[[], None], recordings: dict[str, Any], key: str) -> None:
        """Does `work`, which calls kernels on the same arrays each time. An engine may record it,
        keep the recording in `recordings` under `key`, and play that from then on."""
        ...

    def mark(self) -> Any:
        """A moment in the order of the engine's work."""
        ...

    def seconds(self, first: Any, last: Any) -> float:
        """Time between two moments; waits for the last."""
        ...

    def memory_free(self) -> int:
        """Bytes that can still be allocated."""
        ...

    def synchronize(self) -> None: ...
