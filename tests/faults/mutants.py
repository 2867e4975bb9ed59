"""Inputs made from good ones by chance: bytes changed, cut, doubled and moved, and prototxt from a
small grammar. A number gives the same mutant everywhere."""

import random

from faults.places import NET, SOLVER

BOUNDS = (0, 1, 0x7F, 0x80, 0xFF)  # bytes at which lengths and numbers change their form
WORDS = (
    "layer", "name", "type", "bottom", "top", "include", "phase", "TRAIN", "TEST", "param",
    "convolution_param", "num_output", "kernel_size", "pad", "stride", "group", "dilation",
    "pooling_param", "pool", "MAX", "input_param", "shape", "dim", "data", "label", "fc", "lr_mult",
    "loss_weight", "transform_param", "crop_size", "mean_value", "inner_product_param", "axis",
    "weight_filler", "std", "net_param", "base_lr", "stepvalue", "dropout_param", "dropout_ratio",
)  # fmt: skip
TYPES = (
    "Input", "Convolution", "Pooling", "ReLU", "InnerProduct", "Dropout", "LRN", "Concat",
    "Eltwise", "Split", "Softmax", "SoftmaxWithLoss", "Accuracy", "BatchNorm", "Scale", "Flatten",
)  # fmt: skip
NUMBERS = ("0", "1", "-1", "3", "224", "1e9", "nan", "4294967295", "-2147483648", "1e400", "0.5")
MARKS = ("{", "}", ":", "[", "]", ",", ";", "<", ">", '"', "'", "#", "\n", "\\", "\0", "é")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to six changes; a change of one byte is the most frequent."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(content) + 1)
        length = chance.choice((1, 2, 4, 16, 100))
        piece = content[at : at + length]
        match chance.randrange(8):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = piece
            case 3:
                content[at:at] = chance.randbytes(length)
            case 4:
                other = chance.randrange(len(content) + 1)
                content[other:other] = piece
            case _ if at < len(content):
                content[at] = chance.choice((*BOUNDS, content[at] ^ 1 << chance.randrange(8)))
    return bytes(content)


def grammar(chance: random.Random) -> bytes:
    """Prototxt of known words in any order, mostly with braces that close."""
    if chance.random() < 0.3:
        text = chance.choice((NET, SOLVER))
        words = text.split(" ")
        for _ in range(chance.randint(1, 5)):
            pool = chance.choice((WORDS, TYPES, NUMBERS, MARKS))
            words[chance.randrange(len(words))] = chance.choice(pool)
        return " ".join(words).encode()
    return "".join(_layer(chance) for _ in range(chance.randint(1, 6))).encode()


def _layer(chance: random.Random) -> str:
    blobs = ("data", "label", "a", "b")
    fields = [
        f'name: "{chance.choice((*blobs, "c", "d", "e"))}"',
        f'type: "{chance.choice(TYPES)}"',
    ]
    for word in ("bottom", "top"):
        fields += [f'{word}: "{chance.choice(blobs)}"' for _ in range(chance.randint(0, 2))]
    fields += [_field(chance, 3) for _ in range(chance.randint(0, 3))]
    return "layer { " + " ".join(fields) + " }\n"


def _field(chance: random.Random, depth: int) -> str:
    name = chance.choice(WORDS)
    if depth and chance.random() < 0.5:
        inside = " ".join(_field(chance, depth - 1) for _ in range(chance.randint(0, 3)))
        return f"{name} {{ {inside} }}"
    kind = chance.randrange(4)
    value = chance.choice((NUMBERS, WORDS, MARKS, [f'"{word}"' for word in TYPES])[kind])
    return f"{name}: {value}"
