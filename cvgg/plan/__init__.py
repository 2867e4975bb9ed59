"""The plan: graph and layers to every decision about memory, order and gradients, before any array
is made."""

from collections.abc import Sequence

from cvgg.engine.base import Traits
from cvgg.errors import UnavailableError
from cvgg.layers.base import Layer, Setting, SourceLayer
from cvgg.layers.layout import Layout
from cvgg.netdef.graph import Graph
from cvgg.plan.description import (
    BlobPlan,
    Bucket,
    Memory,
    ParamPlan,
    Plan,
    Slot,
    Step,
    mebibytes,
)
from cvgg.plan.fusion import Unit, fuse
from cvgg.plan.gradients import Flow, gradient_flow, loss_weights
from cvgg.plan.layout import lay
from cvgg.plan.lives import find_diffs, place
from cvgg.plan.parameters import lay_out
from cvgg.plan.wiring import Wiring, wire

__all__ = ["BlobPlan", "Bucket", "Memory", "ParamPlan", "Plan", "Slot", "Step", "mebibytes", "plan"]

FLOAT = 4  # bytes


def plan(
    graph: Graph,
    layers: Sequence[Layer],
    traits: Traits,
    setting: Setting,
    *,
    backward: bool,
    keep: bool,
    histories: int = 0,
) -> Plan:
    """Decides everything about a net; pure, needs neither memory nor a device.

    backward: gradients are wanted. keep: every named blob is there after the pass (nets made in
    Python); otherwise memory is reused as soon as nobody needs it. histories: arrays as large as
    the gradient that an update keeps. Raises UnavailableError if the backend lacks what a layer
    calls.
    """
    units = lay(fuse(graph, layers, traits, setting, keep=keep), traits)
    _check_kernels(units, traits)
    flow = gradient_flow(units, force_backward=graph.force_backward) if backward else _still(units)
    wires = wire(units, backward=backward)
    diffs = find_diffs(units, wires, flow)
    read = {*graph.outputs, *flow.loss_weights}
    places = place(units, wires, flow, diffs, sorted(read), keep=keep)
    params = lay_out(units)
    converted = {unit.tops[0] for unit in units if unit.layer.type == Layout.type}
    steps = tuple(
        Step(
            unit.nodes,
            unit.layer,
            wires.bottoms[i],
            wires.tops[i],
            params.of_unit[i],
            flow.propagate_down[i],
            flow.backward[i],
            places.buffers[i],
        )
        for i, unit in enumerate(units)
    )
    blobs = tuple(
        BlobPlan(name, shape, data, diff, keep or name in read)
        for name, shape, data, diff in zip(
            wires.names, wires.shapes, places.data, places.diff, strict=True
        )
    )
    workspace = max((unit.layer.workspace(traits.kernels) for unit in units), default=0)
    memory = Memory(
        params=params.flat * FLOAT,
        gradients=params.learned * FLOAT if backward else 0,
        blobs=places.arena,
        lasting=places.lasting * (1 + traits.copies),
        workspace=workspace * FLOAT,
        history=histories * params.learned * FLOAT,
    )
    return Plan(
        graph,
        steps,
        blobs,
        params.params,
        params.segments,
        params.buckets,
        params.learned,
        params.flat,
        diffs.constant,
        {name: number for name, number in wires.latest.items() if name not in converted},
        flow.loss_weights,
        _label_sources(units, wires),
        memory,
    )


def _still(units: Sequence[Unit]) -> Flow:
    """No unit goes backward."""
    weights = loss_weights(units)
    return Flow([False] * len(units), [(False,) * len(unit.bottoms) for unit in units], weights)


def _check_kernels(units: Sequence[Unit], traits: Traits) -> None:
    for unit in units:
        missing = [name for name in unit.layer.kernels if not hasattr(traits.kernels, name)]
        if missing:
            node = unit.nodes[0]
            raise UnavailableError(
                f"{node.origin}: layer {node.name!r} ({node.type}) needs {', '.join(missing)}, "
                f"which the engine {traits.name!r} does not have"
            )


def _label_sources(units: Sequence[Unit], wires: Wiring) -> dict[int, tuple[int, int]]:
    """For each unit with labels that come straight from a source layer: that unit and which of its
    tops."""
    made_by: dict[int, tuple[int, int]] = {}
    sources: dict[int, tuple[int, int]] = {}
    for i, unit in enumerate(units):
        for number, top in enumerate(wires.tops[i]):
            if isinstance(unit.layer, SourceLayer):
                made_by[top] = (i, number)
            elif unit.layer.type in ("Split", Layout.type) and wires.bottoms[i][0] in made_by:
                made_by[top] = made_by[wires.bottoms[i][0]]
            else:
                made_by.pop(top, None)
        for bottom in unit.layer.labels:
            if wires.bottoms[i][bottom] in made_by:
                sources[i] = made_by[wires.bottoms[i][bottom]]
    return sources
