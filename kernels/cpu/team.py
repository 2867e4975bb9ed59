"""The threads of the CPU backend: one product per thread, instead of many threads in one product.

BLAS libraries share a small product among threads that spin while they wait: on a busy machine that
costs more than the product. So BLAS gets one thread (the engine sees to it) and whole images are
given to threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from . import _native
from .border import unwarned


class Team:
    """`size` threads that share the items of a loop."""

    def __init__(self) -> None:
        self.size = 1
        self._pool: ThreadPoolExecutor | None = None

    def resize(self, size: int) -> None:
        """From now on `size` threads, also for the loops of the C++ module."""
        if size != self.size:
            if self._pool is not None:
                self._pool.shutdown()
            self.size = size
            self._pool = ThreadPoolExecutor(size, "cvgg-kernels") if size > 1 else None
        _native.set_threads(size)

    def share(
        self, items: int, work: Callable[[int, int], None], *, most: int | None = None
    ) -> None:
        """Calls work(thread, item) for every item; which thread has which changes no result.

        `most`: as many threads can work at a time, numbered from 0; None: the whole team."""
        threads = min(self.size, items, self.size if most is None else most)
        if self._pool is None or threads < 2:
            for item in range(items):
                work(0, item)
            return

        @unwarned  # what numpy warns of is a thread's own affair
        def run(thread: int) -> None:
            for item in range(thread, items, threads):
                work(thread, item)

        for each in [self._pool.submit(run, thread) for thread in range(threads)]:
            each.result()


TEAM = Team()


def set_threads(count: int) -> None:
    """Threads of every kernel from now on."""
    TEAM.resize(count)
