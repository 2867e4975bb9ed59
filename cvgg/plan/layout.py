"""Decides in which order each blob's axes lie, and puts a conversion where two layers disagree.

Convolution-like layers want the engine's order for images (NHWC on a GPU), layers that look at a
blob as rows want NCHW, elementwise ones take what comes. Only blobs of 4 axes have a choice."""

from collections.abc import Sequence
from dataclasses import replace

from cvgg.engine.base import Traits
from cvgg.layers.layout import Layout
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.graph import Node
from cvgg.netdef.shapes import Shape
from cvgg.plan.fusion import Unit

PLAIN = "NCHW"


def lay(units: Sequence[Unit], traits: Traits) -> list[Unit]:
    """`units` with their layout said, and conversions between them."""
    if traits.layout == PLAIN:
        return list(units)
    result: list[Unit] = []
    shapes: dict[str, Shape] = {}
    layouts: dict[str, str] = {}
    for unit in units:
        wanted = _wanted(unit, shapes, layouts, traits.layout)
        names = list(unit.bottoms)
        for i, name in enumerate(unit.bottoms):
            target = PLAIN if i in unit.layer.labels else wanted
            if len(shapes[name]) == 4 and layouts[name] != target:
                names[i] = f"{name}:{target}"
                result.append(_conversion(unit.nodes[0], name, names[i], shapes[name], target))
        result.append(replace(unit, bottoms=tuple(names), layout=wanted))
        for name, shape in zip(unit.tops, unit.layer.tops, strict=True):
            shapes[name] = shape
            layouts[name] = wanted if len(shape) == 4 else PLAIN
    return result


def _wanted(unit: Unit, shapes: dict[str, Shape], layouts: dict[str, str], images: str) -> str:
    """The layout that a unit works in."""
    word = unit.layer.layout
    if word == "images":
        return images
    if word == "rows":
        return PLAIN
    bottoms = (
        layouts[name]
        for i, name in enumerate(unit.bottoms)
        if i not in unit.layer.labels and len(shapes[name]) == 4
    )
    return next(bottoms, images if not unit.bottoms else PLAIN)


def _conversion(user: Node, name: str, converted: str, shape: Shape, layout: str) -> Unit:
    spec = LayerParameter(name=converted, type=Layout.type, bottom=[name], top=[converted])
    node = Node(converted, Layout.type, (name,), (converted,), spec, user.origin)
    return Unit((node,), Layout(shape), (name,), layout)
