"""One arena for all blobs: arrays that are never needed at the same time may lie at the same
place."""

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64  # bytes


@dataclass(frozen=True)
class Life:
    """An array of `bytes` that must be whole from time `birth` to time `death`, both included."""

    bytes: int
    birth: int
    death: int


def pack(lives: Sequence[Life]) -> tuple[list[int], int]:
    """Offsets for `lives` and the bytes of the whole arena: the largest first, each at the lowest
    free place."""
    offsets = [0] * len(lives)
    placed: list[int] = []
    end = 0
    for i in sorted(range(len(lives)), key=lambda i: (-lives[i].bytes, lives[i].birth, i)):
        life = lives[i]
        size = -(-life.bytes // ALIGNMENT) * ALIGNMENT
        offset = 0
        for other in placed:  # in the order of their offsets
            neighbour = lives[other]
            if neighbour.death < life.birth or life.death < neighbour.birth:
                continue
            if offset + size <= offsets[other]:
                break
            offset = max(offset, offsets[other] + -(-neighbour.bytes // ALIGNMENT) * ALIGNMENT)
        offsets[i] = offset
        end = max(end, offset + size)
        placed.append(i)
        placed.sort(key=offsets.__getitem__)
    return offsets, end
