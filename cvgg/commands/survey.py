"""What `cvgg summary` counts of one phase of a net: layers, params, multiply-adds and memory.

Everything comes from the plan, so no array is made and no database is opened that a crop_size makes
unnecessary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvgg.engine import Traits
from cvgg.layers import infer
from cvgg.layers.base import Layer, Setting
from cvgg.netdef.graph import Graph, Node, build
from cvgg.netdef.prototxt import NetDef
from cvgg.netdef.shapes import Shape, count
from cvgg.plan import Memory, Plan, plan

PHASES = {"TRAIN": 0, "TEST": 1}


@dataclass(frozen=True)
class Choice:
    """A net to survey: its definition, and the state that its rules are matched against."""

    phase: str
    netdef: NetDef
    level: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One layer. params: elements of its own. macs: multiply-adds of one image's forward."""

    name: str
    type: str
    tops: Mapping[str, Shape]
    params: int
    shared: bool  # its params are another layer's
    macs: int
    key: tuple[object, ...]  # equal for a layer that two phases have alike


@dataclass(frozen=True)
class Survey:
    """One phase of a net. batch: images of a pass. params, learned: elements."""

    phase: str
    net: str
    batch: int
    rows: tuple[Row, ...]
    params: int
    learned: int
    trained: bool  # it has a loss
    memory: Memory

    @property
    def macs(self) -> int:
        """Multiply-adds of one image's forward."""
        return sum(row.macs for row in self.rows)


def survey(choice: Choice, traits: Traits, batch: int | None) -> Survey:
    """Plans the net as a solver does. batch: images of a pass, None: as the net says."""
    phase = PHASES[choice.phase]
    graph = build(choice.netdef, phase=phase, level=choice.level, stages=choice.stages)
    setting = Setting(phase, batch)
    layers = infer(graph, setting)
    if batch is not None:
        setting = replace(setting, inputs=_inputs(graph, layers, batch))
        layers = infer(graph, setting)
    train = choice.phase == "TRAIN"
    histories = 1 if train else 0
    planned = plan(graph, layers, traits, setting, backward=train, keep=False, histories=histories)
    return Survey(
        choice.phase,
        graph.name,
        _images(layers),
        _rows(choice.netdef, planned, layers),
        sum(param.size for param in planned.params),
        sum(param.size for param in planned.params if param.learned),
        bool(planned.loss_weights),
        planned.memory,
    )


def _inputs(graph: Graph, layers: Sequence[Layer], batch: int) -> dict[str, Shape]:
    """Shapes with `batch` images for the blobs that come from outside: Setting.images reaches data
    layers only."""
    return {
        name: (batch, *shape[1:])
        for node, layer in zip(graph.nodes, layers, strict=True)
        if not node.bottoms
        for name, shape in zip(node.tops, layer.tops, strict=True)
        if shape
    }


def _images(layers: Sequence[Layer]) -> int:
    """The first axis of the first blob that has one."""
    return next((layer.tops[0][0] for layer in layers if layer.tops[0]), 1)


def _rows(netdef: NetDef, planned: Plan, layers: Sequence[Layer]) -> tuple[Row, ...]:
    """The layers that the user wrote: without splits."""
    written = {layer.name for layer in netdef.message.layer}
    owned: dict[str, int] = {}
    for param in planned.params:
        owned[param.layer] = owned.get(param.layer, 0) + param.size
    return tuple(
        _row(node, layer, owned.get(node.name, 0))
        for node, layer in zip(planned.graph.nodes, layers, strict=True)
        if node.name in written
    )


def _row(node: Node, layer: Layer, params: int) -> Row:
    macs = MACS.get(node.type, _no_macs)(layer)
    shapes = [tuple(top) for top in layer.tops]
    spec = type(node.spec)()
    spec.CopyFrom(node.spec)
    for field in ("bottom", "top", "include", "exclude", "phase"):
        spec.ClearField(field)
    key = (spec.SerializeToString(deterministic=True), *(shape[1:] for shape in shapes))
    shared = bool(layer.params) and not params
    tops = dict(zip(node.tops, shapes, strict=True))
    return Row(node.name, node.type, tops, params, shared, macs, key)


def _convolution_macs(layer: Layer) -> int:
    """k c/group r s p q, for each bottom."""
    return sum(count(layer.params[0].shape) * top[2] * top[3] for top in layer.tops)


def _inner_product_macs(layer: Layer) -> int:
    """k c, for each row that an image has."""
    return count(layer.params[0].shape) * count(layer.tops[0][1:-1])


def _no_macs(layer: Layer) -> int:
    return 0


MACS: Mapping[str, Callable[[Layer], int]] = {
    "Convolution": _convolution_macs,
    "InnerProduct": _inner_product_macs,
}
"""By layer type; the others have none worth counting."""
