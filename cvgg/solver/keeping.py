"""Which snapshots of a training stay: all, or the newest ones and the best."""

import logging
import os

from cvgg import snapshot

log = logging.getLogger("cvgg")


class Keeper:
    """Removes older snapshots once a newer one is there.

    newest: so many stay; 0: all. Only snapshots of the training itself are removed: those that it
    wrote, and after a resume those up to the one it went on from. The best one stays as well, if
    `judge` is told values: larger is better, and a snapshot's value is that of the test at its
    iteration, which comes after it.
    """

    def __init__(self, prefix: str, newest: int = 0) -> None:
        self._prefix, self._newest = prefix, newest
        self._own: set[int] = set()
        self.best: tuple[float, int] | None = None  # value, iteration

    def resumed(self, path: str, iter: int) -> None:
        """Training goes on from the state `path`."""
        own = snapshot.paths(self._prefix, iter)[1]
        if os.path.realpath(path) == os.path.realpath(own):
            self._own = {each for each in snapshot.iterations(self._prefix) if each <= iter}

    def judge(self, iter: int, value: float) -> None:
        """The test at `iter` gave `value`; a NaN is never the best."""
        if iter in self._own and (self.best is None or value > self.best[0]):
            self.best = (value, iter)

    def wrote(self, iter: int) -> None:
        """A snapshot is there, whole: older ones go. Those that cannot be removed are told."""
        self._own.add(iter)
        if not self._newest:
            return
        best = -1 if self.best is None else self.best[1]
        for old in sorted(self._own)[: -self._newest]:
            if old == best:
                continue
            try:
                snapshot.remove(self._prefix, old)
            except OSError as fault:
                log.warning("Snapshot %d cannot be removed: %s", old, fault.strerror)
            else:
                self._own.discard(old)
