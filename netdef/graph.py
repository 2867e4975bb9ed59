"""The graph of a net for one state: which layers, in which order, joined by which names.

It knows no shapes and no layer types but Input, whose tops are the net's inputs.
Source: Caffe net.cpp, Init, AppendBottom and AppendTop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import GraphError
from .caffe_pb2 import LayerParameter, NetState
from .names import check_names
from .origin import Origin
from .prototxt import NetDef
from .rules import belongs, describe_state
from .splits import Placed, insert_splits

MOST_LAYERS = 10_000  # the deepest nets have a thousand; beyond it is a mistake


@dataclass(frozen=True)
class Node:
    """A layer's place in the net. `spec` is a copy; bottoms and tops are the names in it."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    spec: LayerParameter
    origin: Origin


@dataclass(frozen=True)
class Graph:
    """The layers of a net in an order that can run.

    inputs: tops of the Input layers. outputs: blobs that no layer reads, in alphabetical order.
    """

    name: str
    phase: int
    nodes: tuple[Node, ...]
    force_backward: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    origin: Origin


def build(net: NetDef, *, phase: int, level: int = 0, stages: Sequence[str] = ()) -> Graph:
    """The graph of the net in that phase, with splits.

    `level` and `stages` go over what the net's own `state` says: the level unless it is 0, the
    stages in addition. Raises GraphError where names do not connect.
    """
    state = _state(net, phase, level, stages)
    if net.message.debug_info:
        raise GraphError(
            net.origin.at("debug_info").message(
                "debug_info is not done by cvgg; look at net.blobs in Python instead"
            )
        )
    if len(net.layers) > MOST_LAYERS:
        raise GraphError(
            net.layers[MOST_LAYERS].message(f"{len(net.layers)} layers; the most is {MOST_LAYERS}")
        )
    inside: list[Placed] = []
    outside: list[Placed] = []
    for layer, origin in zip(net.message.layer, net.layers, strict=True):
        (inside if belongs(layer, state, origin) else outside).append((layer, origin))
    words = describe_state(state)
    if not inside:
        raise GraphError(net.origin.message(f"this net has no layers for {words}"))
    check_names(inside, outside, words)
    layers = insert_splits(inside)
    check_names(layers, outside, words)  # the name of a split may be taken
    return _graph(net, phase, layers)


def _state(net: NetDef, phase: int, level: int, stages: Sequence[str]) -> NetState:
    state = NetState()
    state.CopyFrom(net.message.state)
    state.phase = phase  # type: ignore[assignment]
    if level:
        state.level = level
    state.stage.extend(stages)
    return state


def _graph(net: NetDef, phase: int, layers: list[Placed]) -> Graph:
    nodes = tuple(
        Node(spec.name, spec.type, tuple(spec.bottom), tuple(spec.top), spec, origin)
        for spec, origin in layers
    )
    unread: set[str] = set()
    for node in nodes:
        unread -= set(node.bottoms)
        unread |= set(node.tops)
    return Graph(
        net.message.name,
        phase,
        nodes,
        net.message.force_backward,
        tuple(top for node in nodes if node.type == "Input" for top in node.tops),
        tuple(sorted(unread)),
        net.origin,
    )
