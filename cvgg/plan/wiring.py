"""Numbers the blobs and decides which share memory: in-place layers, and views such as Split's
tops."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cvgg.netdef.shapes import Shape
from cvgg.plan.fusion import Unit


@dataclass
class Wiring:
    """Blobs by number, and for each unit the numbers of its bottoms and tops.

    `data_root[b]` is the blob in whose memory b's data lies (b itself if it has its own),
    `diff_root` likewise."""

    names: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    data_root: list[int] = field(default_factory=list)
    diff_root: list[int] = field(default_factory=list)
    bottoms: list[tuple[int, ...]] = field(default_factory=list)
    tops: list[tuple[int, ...]] = field(default_factory=list)
    latest: dict[str, int] = field(
        default_factory=dict
    )  # name -> number; an in-place layer may make a new one

    def add(self, name: str, shape: Shape, layout: str) -> int:
        """A new blob with memory of its own."""
        number = len(self.names)
        self.names.append(name)
        self.shapes.append(shape)
        self.layouts.append(layout if len(shape) == 4 else "NCHW")
        self.data_root.append(number)
        self.diff_root.append(number)
        self.latest[name] = number
        return number


def wire(units: Sequence[Unit], *, backward: bool) -> Wiring:
    """Numbers the blobs of `units`.

    A top that has its bottom's name lies in the bottom's memory only where that is safe: the layer
    can work in place, nobody else sees the memory, and the layer that made it does not read it
    again on its way back (Caffe computes wrong gradients there: LRN followed by an in-place ReLU).
    Otherwise it gets memory of its own under the same name."""
    wires = Wiring()
    fixed: set[int] = set()  # data roots that may not be changed in place
    for unit in units:
        layer = unit.layer
        bottoms = tuple(wires.latest[name] for name in unit.bottoms)
        tops = []
        for i, (name, shape) in enumerate(zip(unit.tops, layer.tops, strict=True)):
            below = bottoms[i] if i < len(bottoms) else None
            in_place = below is not None and unit.bottoms[i] == name
            if (
                in_place
                and below is not None
                and layer.may_be_in_place
                and wires.data_root[below] not in fixed
                and wires.shapes[below] == shape
            ):
                tops.append(below)
                continue
            number = wires.add(name, shape, unit.layout)
            tops.append(number)
            if layer.shares_data:
                wires.data_root[number] = wires.data_root[bottoms[0]]
                fixed.add(wires.data_root[number])
            if layer.shares_diff:
                wires.diff_root[number] = wires.diff_root[bottoms[0]]
        if backward and layer.reads_top:
            fixed.update(wires.data_root[top] for top in tops)
        wires.bottoms.append(bottoms)
        wires.tops.append(tuple(tops))
    return wires
