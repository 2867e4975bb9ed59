"""Inputs made from good ones by chance: bytes changed, cut, doubled and moved. A number gives the
same mutant everywhere."""

import random

ANY = bytes(range(256))
PRINTED = b"\n" + bytes(range(0x20, 0x7F))
BOUNDS = (0, 1, 0x7F, 0x80, 0xFF)  # bytes at which lengths and numbers change their form


def mutated(data: bytes, chance: random.Random, letters: bytes = ANY) -> bytes:
    """One to six changes; a change of one byte is the most frequent. letters: what may come in."""
    content = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(content) + 1)
        length = chance.choice((1, 1, 2, 4, 16, 100))
        piece = content[at : at + length]
        match chance.randrange(8):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = piece
            case 3:
                content[at:at] = bytes(chance.choices(letters, k=length))
            case 4:
                other = chance.randrange(len(content) + 1)
                content[other:other] = piece
            case _ if at < len(content):
                other = chance.choice((*BOUNDS, content[at] ^ 1 << chance.randrange(8)))
                content[at] = other if other in letters else chance.choice(letters)
    return bytes(content)
