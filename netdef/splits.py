"""Split layers: a blob that several layers read gets a copy for each, so that diffs add up.

The names are Caffe's, since users see them in net.blobs: layer "{blob}_{layer}_{top}_split" with
the tops "{blob}_{layer}_{top}_split_{k}". Source: Caffe util/insert_splits.cpp.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from .caffe_pb2 import LayerParameter
from .origin import Origin

Placed: TypeAlias = tuple[LayerParameter, Origin]
Top: TypeAlias = tuple[int, int]  # (number of the layer, number of the top)


def insert_splits(layers: Sequence[Placed]) -> list[Placed]:
    """Copies of the layers, with a Split behind each layer whose top has more than one use.

    A use is a bottom of another layer or, as in Caffe, a loss_weight that is written and not 0: it
    moves to the split's top 0, and its own top gets 0. Every bottom must have been made before.
    """
    sources, uses = _uses(layers)
    taken: Counter[Top] = Counter()
    split: list[Placed] = []
    for number, (layer, origin) in enumerate(layers):
        new = LayerParameter()
        new.CopyFrom(layer)
        for index, bottom in enumerate(layer.bottom):
            top = sources[number, index]
            if uses[top] > 1:
                maker, _ = layers[top[0]]
                new.bottom[index] = f"{split_name(bottom, maker.name, top[1])}_{taken[top]}"
                taken[top] += 1
        split.append((new, origin))
        for index, blob in enumerate(layer.top):
            top = number, index
            if uses[top] > 1:
                weight = loss_weight(layer, index)
                if weight:
                    new.loss_weight[index] = 0
                    taken[top] = 1
                name = split_name(blob, layer.name, index)
                split.append((_split(name, blob, uses[top], weight), origin))
    return split


def split_name(blob: str, layer: str, top: int) -> str:
    """The name of the Split layer behind top number `top` of `layer`."""
    return f"{blob}_{layer}_{top}_split"


def loss_weight(layer: LayerParameter, top: int) -> float:
    """The loss_weight written for a top; 0 if there is none."""
    return layer.loss_weight[top] if top < len(layer.loss_weight) else 0.0


def _uses(layers: Sequence[Placed]) -> tuple[dict[tuple[int, int], Top], Counter[Top]]:
    """Which top each bottom (layer, index) reads, and how often each top is used.

    An in-place layer makes the blob anew: later readers read its top.
    """
    made: dict[str, Top] = {}
    sources: dict[tuple[int, int], Top] = {}
    uses: Counter[Top] = Counter()
    for number, (layer, _) in enumerate(layers):
        for index, bottom in enumerate(layer.bottom):
            sources[number, index] = made[bottom]
            uses[made[bottom]] += 1
        for index, blob in enumerate(layer.top):
            made[blob] = number, index
            uses[number, index] += loss_weight(layer, index) != 0
    return sources, uses


def _split(name: str, blob: str, tops: int, weight: float) -> LayerParameter:
    layer = LayerParameter(name=name, type="Split", bottom=[blob])
    layer.top.extend(f"{name}_{k}" for k in range(tops))
    if weight:
        layer.loss_weight.extend([weight] + [0.0] * (tops - 1))
    return layer
