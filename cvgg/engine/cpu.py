"""The CPU engine: numpy memory, the kernels of cvgg.kernels.cpu."""

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cvgg.engine.base import Inbox, Traits
from cvgg.errors import OutOfMemoryError
from cvgg.kernels import cpu
from cvgg.kernels.interface import Array, Kernels
from cvgg.netdef.shapes import Shape

ALIGNMENT = 64  # bytes: a cache line, and enough for AVX-512


FUSIONS = frozenset({("Convolution", "ReLU"), ("Convolution", "ReLU", "Pooling")})


class CpuInbox:
    """Values go straight into their arrays."""

    early = False

    def put(self, dst: Array, host: NDArray[Any]) -> None:
        np.copyto(dst, host)

    def deliver(self) -> None:
        """All is there."""

    def clear(self) -> None:
        """Nothing waits."""


class CpuEngine:
    """Runs on `threads` threads: OpenMP's in our kernels, BLAS's, and decoding's."""

    name = "cpu"
    on_host = True

    def __init__(self, threads: int | None = None, *, direct: bool = False) -> None:
        """direct: convolution without Winograd, slower and more exact."""
        self.threads = threads or len(os.sched_getaffinity(0))
        self.kernels: Kernels = cpu.direct() if direct else cpu
        self.traits = Traits(
            name="cpu",
            kernels=self.kernels,
            fusions=FUSIONS,
            architecture=os.uname().machine,
            compute_units=self.threads,
        )
        cpu.set_threads(self.threads)
        # Our kernels share the work themselves: kernels/cpu/team.py.
        threadpool_limits(limits=1, user_api="blas")

    def empty(self, shape: Shape, dtype: str = "float32", layout: str = "NCHW") -> Array:
        """Zeros: a diff that nothing writes must not be garbage."""
        assert layout == self.traits.layout
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        try:
            raw = np.zeros(count + ALIGNMENT, dtype=np.uint8)
        except MemoryError:
            raise OutOfMemoryError(count, self.memory_free()) from None
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + count].view(dtype).reshape(shape)

    def view(
        self, arena: Array, offset: int, shape: Shape, dtype: str, layout: str = "NCHW"
    ) -> Array:
        assert layout == self.traits.layout
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return arena[offset : offset + size].view(dtype).reshape(shape)

    def copy_in(self, dst: Array, host: NDArray[Any]) -> None:
        np.copyto(dst, host)

    def copy_out(self, src: Array) -> NDArray[Any]:
        result: NDArray[Any] = src
        return result

    def inbox(self) -> Inbox:
        return CpuInbox()

    def run(self, work: Callable[[], None], recordings: dict[str, Any], key: str) -> None:
        work()

    def mark(self) -> float:
        return perf_counter()

    def seconds(self, first: float, last: float) -> float:
        return last - first

    def memory_free(self) -> int:
        """What the kernel says is available, or what is left of this process's cgroup if that is
        less."""
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _cgroup_free())
        return _cgroup_free()

    def synchronize(self) -> None:
        """Nothing to wait for: every call ends when its work is done."""


def _cgroup_free() -> int:
    """Bytes left under the memory limit of a container; very large without one."""
    unlimited = 1 << 62
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return unlimited
    return unlimited if limit == "max" else max(0, int(limit) - used)
