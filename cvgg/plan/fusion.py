"""Fusion as a rewrite: runs of layers that the backend does in one call become one unit."""

from collections.abc import Sequence
from dataclasses import dataclass

from cvgg.engine.base import Traits
from cvgg.layers import FUSED
from cvgg.layers.base import Layer, Setting
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.graph import Graph, Node
from cvgg.netdef.shapes import Shape


@dataclass(frozen=True)
class Unit:
    """What will be one step: one layer, or several fused into one."""

    nodes: tuple[Node, ...]
    layer: Layer
    bottoms: tuple[str, ...]  # those of the first node, or what stands for them in another layout
    layout: str = "NCHW"  # of its blobs of 4 axes, and of the buffers that follow them

    @property
    def tops(self) -> tuple[str, ...]:
        return self.nodes[-1].tops


def fuse(
    graph: Graph, layers: Sequence[Layer], traits: Traits, setting: Setting, *, keep: bool
) -> list[Unit]:
    """Units in running order. With `keep`, only in-place runs are fused: every named blob must be
    there afterwards."""
    shapes: dict[str, Shape] = {}
    units: list[Unit] = []
    taken: set[int] = set()
    for first, (node, layer) in enumerate(zip(graph.nodes, layers, strict=True)):
        bottoms = [shapes[name] for name in node.bottoms]
        shapes.update(zip(node.tops, layer.tops, strict=True))
        if first in taken:
            continue
        runs = (_run(graph, first, types, keep=keep) for types in traits.fusions)
        run = max((r for r in runs if _fits(graph, layers, traits, r)), key=len, default=[first])
        nodes = tuple(graph.nodes[i] for i in run)
        if len(run) > 1:
            taken.update(run[1:])
            layer = FUSED[_types(graph, run)](_specs(graph, run), bottoms, setting)
        units.append(Unit(nodes, layer, nodes[0].bottoms))
    return units


def _run(graph: Graph, first: int, types: tuple[str, ...], *, keep: bool) -> list[int]:
    """Numbers of the nodes that start at `first`, feed only each other and have these types; [] if
    there are none."""
    run = [first]
    for position, word in enumerate(types):
        node = graph.nodes[run[-1]]
        if node.type != word or len(node.bottoms) != 1 or len(node.tops) != 1:
            return []
        if position + 1 == len(types):
            break
        # After splits were inserted a blob has one reader, but an in-place chain has several of one
        # name: the next.
        after = _next_reader(graph, node.tops[0], run[-1])
        if after is None or (keep and graph.nodes[after].tops != node.tops):
            return []
        run.append(after)
    return run


def _fits(graph: Graph, layers: Sequence[Layer], traits: Traits, run: Sequence[int]) -> bool:
    """Whether the fused layer can do what the layers of this run do."""
    return bool(run) and FUSED[_types(graph, run)].fits(
        _specs(graph, run), [layers[i] for i in run], traits.kernels
    )


def _types(graph: Graph, run: Sequence[int]) -> tuple[str, ...]:
    return tuple(graph.nodes[i].type for i in run)


def _specs(graph: Graph, run: Sequence[int]) -> list[LayerParameter]:
    return [graph.nodes[i].spec for i in run]


def _next_reader(graph: Graph, blob: str, producer: int) -> int | None:
    """The first node behind `producer` that reads `blob`; a loss weight on the blob counts as a
    reader of its own."""
    if any(graph.nodes[producer].spec.loss_weight):
        return None
    for i in range(producer + 1, len(graph.nodes)):
        if blob in graph.nodes[i].bottoms:
            return i
    return None
