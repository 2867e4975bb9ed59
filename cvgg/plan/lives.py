"""When each array is needed: outside those times its memory may be another's.

Time runs over one pass: step i goes forward at time i and backward at time 2 S - 1 - i, S steps in
all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvgg.layers.base import SourceLayer
from cvgg.netdef.shapes import Shape, count
from cvgg.plan.arena import ALIGNMENT, Life, pack
from cvgg.plan.description import ITEM_BYTES, Slot
from cvgg.plan.fusion import Unit
from cvgg.plan.gradients import Flow
from cvgg.plan.wiring import Wiring

Key = tuple[str, int, str]  # kind, number of the blob or the unit, name of the buffer


@dataclass(frozen=True)
class Places:
    """A slot for the data of each blob, the diff of each blob (None: none) and each unit's
    buffers."""

    data: list[Slot]
    diff: list[Slot | None]
    buffers: list[dict[str, Slot]]
    arena: int  # bytes
    lasting: int  # bytes


@dataclass(frozen=True)
class Diffs:
    """Which blobs have a diff, and what those are filled with that no layer above writes."""

    present: frozenset[int]
    constant: Mapping[int, float]


def find_diffs(units: Sequence[Unit], wires: Wiring, flow: Flow) -> Diffs:
    """The blobs whose diff somebody reads.

    A top of a layer that goes backward may get no gradient from above: its diff is the loss weight,
    or 0. Split sums only what arrives, so its other tops have no diff at all."""
    writer = {top: i for i, tops in enumerate(wires.tops) for top in tops}  # the last one
    arrives = {
        bottom
        for i, down in enumerate(flow.propagate_down)
        for bottom, wanted in zip(wires.bottoms[i], down, strict=True)
        if wanted and i > writer[bottom]
    }
    constant = {
        top: flow.loss_weights.get(wires.names[top], 0.0)
        for top, i in writer.items()
        if flow.backward[i]
        and top not in arrives
        and (units[i].layer.type != "Split" or wires.names[top] in flow.loss_weights)
    }
    return Diffs(frozenset(arrives.union(constant)), constant)


def place(
    units: Sequence[Unit],
    wires: Wiring,
    flow: Flow,
    diffs: Diffs,
    outputs: Sequence[str],
    *,
    keep: bool,
) -> Places:
    """Gives every array its place; with `keep`, none shares its place with another."""
    spans = _spans(units, wires, flow, diffs, outputs)
    if keep:
        spans = dict.fromkeys(spans, (0, 2 * len(units) - 1))
    sizes = {key: _bytes(*_form(key, units, wires)) for key in spans}
    offsets, arena = pack([Life(sizes[key], *span) for key, span in spans.items()])
    at = dict(zip(spans, offsets, strict=True))
    blobs = range(len(wires.names))
    data = [
        Slot(wires.shapes[b], "float32", at["data", wires.data_root[b], ""], wires.layouts[b])
        for b in blobs
    ]
    diff = [
        Slot(wires.shapes[b], "float32", at["diff", wires.diff_root[b], ""], wires.layouts[b])
        if b in diffs.present
        else None
        for b in blobs
    ]
    buffers = [
        {
            buffer.name: Slot(
                buffer.shape,
                buffer.dtype,
                at.get(("buffer", i, buffer.name)),
                unit.layout if buffer.follows else "NCHW",
            )
            for buffer in unit.layer.buffers
            if flow.backward[i] or not buffer.backward
        }
        for i, unit in enumerate(units)
    ]
    lasting = sum(
        -(-slot.bytes // ALIGNMENT) * ALIGNMENT
        for slots in buffers
        for slot in slots.values()
        if slot.offset is None
    )
    return Places(data, diff, buffers, arena, lasting)


def _spans(
    units: Sequence[Unit], wires: Wiring, flow: Flow, diffs: Diffs, outputs: Sequence[str]
) -> dict[Key, tuple[int, int]]:
    """First and last time each array is touched."""
    steps = len(units)
    spans: dict[Key, tuple[int, int]] = {}

    def use(key: Key, *times: int) -> None:
        known = spans.get(key, ())
        spans[key] = (min(*known, *times), max(*known, *times))

    for i, unit in enumerate(units):
        back = 2 * steps - 1 - i
        source = (
            (0, 0) if isinstance(unit.layer, SourceLayer) else ()
        )  # filled before the first step
        times = (i, back, *source) if flow.backward[i] else (i, i, *source)
        for blob in (*wires.bottoms[i], *wires.tops[i]):
            use(("data", wires.data_root[blob], ""), *times)
        for buffer in unit.layer.buffers:
            if buffer.backward:
                if flow.backward[i]:
                    use(("buffer", i, buffer.name), back, back)
            elif not buffer.lasting:
                use(("buffer", i, buffer.name), *times)
        if flow.backward[i]:
            below = (
                b for b, down in zip(wires.bottoms[i], flow.propagate_down[i], strict=True) if down
            )
            for blob in (*wires.tops[i], *below):
                if blob in diffs.present:
                    use(("diff", wires.diff_root[blob], ""), back, back)
    for blob in diffs.constant:
        use(("diff", wires.diff_root[blob], ""), steps, steps)  # filled before the first goes back
    for name in outputs:
        # Read after the last step: forward and backward run as one.
        use(("data", wires.data_root[wires.latest[name]], ""), 2 * steps - 1, 2 * steps - 1)
    return spans


def _form(key: Key, units: Sequence[Unit], wires: Wiring) -> tuple[Shape, str]:
    kind, number, name = key
    if kind != "buffer":
        return wires.shapes[number], "float32"
    (buffer,) = (each for each in units[number].layer.buffers if each.name == name)
    return buffer.shape, buffer.dtype


def _bytes(shape: Shape, dtype: str) -> int:
    return count(shape) * ITEM_BYTES[dtype]
