"""Which record comes when: as they are stored, or in a new order each epoch."""

from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cvgg.kernels.philox import Purpose, hash_name, philox

_SKIP_DRAW = 0xFFFFFFFF  # the counter word of rand_skip's draw: no epoch has this number
_KEPT = 3  # permutations: batches that are prefetched may be an epoch ahead

Numbers = NDArray[np.int64]


class Order(Protocol):
    """Maps positions in training, counted from 0, to numbers of records."""

    def records(self, positions: Numbers) -> Numbers: ...


class Stored:
    """The records one after the other, again and again; the first `skip` are left out once."""

    def __init__(self, count: int, *, skip: int = 0) -> None:
        self._count, self._skip = count, skip

    def records(self, positions: Numbers) -> Numbers:
        return (positions + self._skip) % self._count


class Shuffled:
    """Every record once an epoch, each epoch in another order.

    An epoch's order depends on seed, layer and epoch alone, so training goes on from any position.
    """

    def __init__(self, count: int, *, layer: str, seed: int, skip: int = 0) -> None:
        self._count, self._skip = count, skip
        self._layer, self._seed = hash_name(layer), seed
        self._lock = Lock()
        self._permutations: dict[int, NDArray[np.int64]] = {}

    def records(self, positions: Numbers) -> Numbers:
        epochs, places = np.divmod(positions + self._skip, self._count)
        numbers = np.empty_like(places)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            numbers[rows] = self._permutation(int(epoch))[places[rows]]
        return numbers

    def _permutation(self, epoch: int) -> Numbers:
        with self._lock:
            found = self._permutations.get(epoch)
            if found is None:
                if len(self._permutations) >= _KEPT:
                    del self._permutations[next(iter(self._permutations))]
                found = self._permutations[epoch] = self._draw(epoch)
            return found

    def _draw(self, epoch: int) -> Numbers:
        """Sorts the records by 64 random bits each."""
        counter = (
            np.arange(self._count, dtype=np.uint32),
            epoch,
            self._layer,
            int(Purpose.SHUFFLE),
        )
        words = philox(counter, self._seed)[:, :2].astype(np.uint64)
        keys = words[:, 0] << np.uint64(32) | words[:, 1]
        return np.argsort(keys, kind="stable").astype(np.int64)


def draw_skip(most: int, *, layer: str, seed: int) -> int:
    """Caffe's rand_skip: how many records are left out at the start, 0 <= skip < most."""
    if most < 1:
        return 0
    word = philox((0, _SKIP_DRAW, hash_name(layer), int(Purpose.SHUFFLE)), seed)[0, 0]
    return int(word) * most >> 32
