"""The emulated device's memory: poisoned when it is handed out, guarded on both sides."""

import bisect
import mmap
import weakref

import numpy as np
from numpy.typing import NDArray

from cvgg.errors import OutOfMemoryError
from cvgg.kernels.cuda.driver import DriverError

ALIGNMENT, GAP = 256, 512  # bytes; a gap lies before and behind every array
POISON = 0xFF  # every float made of it is NaN
GUARD = 0x7FA5A5A5  # a NaN too, but another one than the poison


class Owner:
    """Memory that is given back when this goes."""


class Memory:
    """Allocations in one stretch of addresses, first fit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._space = 2 * limit + (1 << 24)  # addresses are free, so fragments do not matter soon
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._pages = mmap.mmap(-1, self._space, flags=kind)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._pages, np.uint8)
        self._origin = self._bytes.ctypes.data
        self._sizes: dict[int, int] = {}  # by offset: what was asked for
        self._offsets: list[int] = []  # sorted
        self._released: list[int] = []

    def allocate(self, nbytes: int) -> tuple[int, Owner]:
        """Raises OutOfMemoryError."""
        room = _rounded(nbytes)
        if self.used + room > self.limit:
            raise OutOfMemoryError(nbytes, self.limit - self.used)
        offset = self._place(room, nbytes)
        bisect.insort(self._offsets, offset)
        self._sizes[offset] = nbytes
        self.used += room
        self._bytes[offset : offset + nbytes] = POISON
        self._guard(offset - GAP, offset)
        self._guard(offset + nbytes, offset + room + GAP)
        owner = Owner()
        # The release waits for `reclaim`: work that is still queued may use the memory.
        weakref.finalize(owner, self._released.append, offset).atexit = False
        return self._origin + offset, owner

    def reclaim(self) -> None:
        """Takes back what owners have let go. To be called while no work is queued."""
        while self._released:
            offset = self._released.pop()
            self._offsets.remove(offset)
            self.used -= _rounded(self._sizes.pop(offset))

    def check(self, pointer: int, nbytes: int) -> None:
        """Raises DriverError unless the bytes lie in one allocation."""
        at = pointer - self._origin
        index = bisect.bisect_right(self._offsets, at) - 1
        if index >= 0:
            start = self._offsets[index]
            if at + nbytes <= start + self._sizes[start]:
                return
        raise DriverError(f"{nbytes:,} bytes at {pointer:#x} do not lie in one allocation")

    def damage(self) -> tuple[int, int] | None:
        """An address in a guard that something wrote to, and the size of the array beside it."""
        for offset in self._offsets:
            nbytes = self._sizes[offset]
            end = offset + nbytes, offset + _rounded(nbytes) + GAP
            for start, stop in ((offset - GAP, offset), end):
                first = -(-start // 4) * 4
                wrong = self._bytes[first:stop].view(np.uint32) != GUARD
                if wrong.any():
                    self._guard(start, stop)
                    return self._origin + first + 4 * int(wrong.argmax()), nbytes
        return None

    def _place(self, room: int, asked: int) -> int:
        """Where an array fits between two gaps of its own."""
        at = GAP
        for offset in self._offsets:
            if offset - GAP >= at + room + GAP:
                return at
            at = offset + _rounded(self._sizes[offset]) + 2 * GAP
        if at + room + GAP > self._space:
            raise OutOfMemoryError(asked, self.limit - self.used)
        return at

    def _guard(self, start: int, end: int) -> None:
        first = -(-start // 4) * 4
        self._bytes[start:first] = POISON
        self._bytes[first:end].view(np.uint32)[:] = GUARD


def _rounded(nbytes: int) -> int:
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT
