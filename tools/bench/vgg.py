"""The nets of the paper as numbers, for the programs that build them without cvgg."""

from collections.abc import Iterator

IMAGE = (3, 224, 224)
WIDTHS = (64, 128, 256, 512, 512)  # channels of a block; a pooling by 2 follows each
LAYERS = {  # convolutions in each block
    "A": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}
FULL = ((25088, 4096), (4096, 4096), (4096, 1000))  # inputs and outputs; a ReLU between them


def blocks(net: str) -> list[list[tuple[int, int, int]]]:
    """(input channels, output channels, window) of each convolution, by blocks. Net C's third of a
    block has a window of 1."""
    result = []
    channels = IMAGE[0]
    for width, count in zip(WIDTHS, LAYERS[net], strict=True):
        block = []
        for i in range(count):
            block.append((channels, width, 1 if net == "C" and i == 2 else 3))
            channels = width
        result.append(block)
    return result


def params(net: str) -> Iterator[tuple[int, ...]]:
    """Shapes of weights and biases in turn."""
    for block in blocks(net):
        for inside, outside, window in block:
            yield outside, inside, window, window
            yield (outside,)
    for inside, outside in FULL:
        yield outside, inside
        yield (outside,)
