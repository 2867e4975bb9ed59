"""Philox4x32-10: random numbers as a function of where they are used, the same on every engine.

A number depends on the seed, the place (element, pass, layer, purpose) and nothing else, so a
resumed run, another number of workers, micro-batches or threads draws the same. Source: Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; known answers of Random123 in
tests/kernels/test_philox.py."""

import zlib
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)


class Purpose(IntEnum):
    """The last word of the counter: keeps the draws of different users apart."""

    DROPOUT = 1
    AUGMENT = 2
    SHUFFLE = 3
    DUMMY_DATA = 4
    FILLER = 16  # + the param's place in its layer


def hash_name(name: str) -> int:
    """The word that stands for a layer in the counter."""
    return zlib.crc32(name.encode())


def philox(
    counter: tuple[NDArray[np.uint32] | int, int, int, int], seed: int
) -> NDArray[np.uint32]:
    """Four words for each counter; `counter[0]` may be an array (m,): the result is (m, 4) uint32.

    `seed` is the 64-bit key, low word first.
    """
    first = np.atleast_1d(np.asarray(counter[0], dtype=np.uint32))
    x = [first, *(np.full_like(first, word & 0xFFFFFFFF) for word in counter[1:])]
    key = [np.uint32(seed & 0xFFFFFFFF), np.uint32((seed >> 32) & 0xFFFFFFFF)]
    with np.errstate(over="ignore"):  # the key's additions wrap by design
        for _ in range(10):
            product = [x[0].astype(np.uint64) * _MULTIPLY[0], x[2].astype(np.uint64) * _MULTIPLY[1]]
            high = [(p >> np.uint64(32)).astype(np.uint32) for p in product]
            low = [(p & _LOW).astype(np.uint32) for p in product]
            x = [high[1] ^ x[1] ^ key[0], low[1], high[0] ^ x[3] ^ key[1], low[0]]
            key = [key[0] + _WEYL[0], key[1] + _WEYL[1]]
    return np.stack(x, axis=1)


def uniform(count: int, *, draw: int, layer: int, purpose: int, seed: int) -> NDArray[np.float64]:
    """`count` numbers in (0, 1): (word + 1/2) / 2**32."""
    words = philox((np.arange((count + 3) // 4, dtype=np.uint32), draw, layer, purpose), seed)
    return (words.reshape(-1)[:count].astype(np.float64) + 0.5) / 2.0**32


def normal(count: int, *, draw: int, layer: int, purpose: int, seed: int) -> NDArray[np.float64]:
    """`count` numbers of mean 0 and deviation 1 (Box-Muller, both of each pair used)."""
    u = uniform(2 * ((count + 1) // 2), draw=draw, layer=layer, purpose=purpose, seed=seed)
    radius, angle = np.sqrt(-2.0 * np.log(u[0::2])), 2.0 * np.pi * u[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]
