"""Lays the params out in one flat array: from the last layer to the first, in buckets, unlearned
ones at the end.

A bucket's sum over the workers can start while backward goes on, because its gradient is complete
once the first layer that uses one of its params has gone backward."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvgg.errors import ShapeError
from cvgg.kernels.interface import Segment
from cvgg.netdef.caffe_pb2 import ParamSpec
from cvgg.netdef.params import ParamDef
from cvgg.netdef.shapes import count
from cvgg.plan.description import Bucket, ParamPlan
from cvgg.plan.fusion import Unit

BUCKET_ELEMENTS = 4 << 20  # 16 MiB of float32: large enough for the link, small enough to overlap
ALIGNMENT = 16  # elements: every param starts on a cache line


@dataclass(frozen=True)
class Layout:
    """The params in the order of the layers, each with its place; for each unit the numbers of its
    params."""

    params: tuple[ParamPlan, ...]
    of_unit: tuple[tuple[int, ...], ...]
    segments: tuple[Segment, ...]
    buckets: tuple[Bucket, ...]
    learned: int
    flat: int


def lay_out(units: Sequence[Unit]) -> Layout:
    """Numbers, shares and places the params of `units`."""
    owners: list[ParamPlan] = []
    by_name: dict[str, int] = {}
    of_unit: list[tuple[int, ...]] = []
    for i, unit in enumerate(units):
        numbers = []
        for index, definition in enumerate(unit.layer.params):
            name = definition.share or f"{unit.nodes[0].name}[{index}]"
            number = by_name.setdefault(name, len(owners))
            if number == len(owners):
                owners.append(ParamPlan(name, unit.nodes[0].name, index, definition, 0, (i,)))
            else:
                owners[number] = _share(owners[number], unit, definition, i)
            numbers.append(number)
        of_unit.append(tuple(numbers))
    # The last layer first; the first user of a shared param is the last to add to its gradient.
    order = sorted(
        range(len(owners)),
        key=lambda p: (not owners[p].learned, -owners[p].users[0], owners[p].index),
    )
    position = learned = 0
    for number in order:
        owners[number] = replace(owners[number], offset=position)
        position += -(-owners[number].size // ALIGNMENT) * ALIGNMENT
        if owners[number].learned:
            learned = position
    placed = [owners[number] for number in order if owners[number].learned]
    return Layout(
        tuple(owners),
        tuple(of_unit),
        _segments(placed),
        _buckets(placed, learned),
        learned,
        position,
    )


def _share(owner: ParamPlan, unit: Unit, definition: ParamDef, user: int) -> ParamPlan:
    """`owner` with one more user, whose definition must agree."""
    node, first = unit.nodes[0], owner.definition
    where = (
        f"{node.origin}: layer {node.name!r} shares param {owner.name!r} with layer {owner.layer!r}"
    )
    same = first.shape == definition.shape
    if not same and not (definition.permissive and count(first.shape) == count(definition.shape)):
        raise ShapeError(f"{where}: shapes {first.shape} and {definition.shape} must be equal")
    for field in ("lr_mult", "decay_mult"):
        ours, theirs = getattr(definition, field), getattr(first, field)
        default = getattr(ParamSpec(), field)
        if ours not in (theirs, default):
            raise ShapeError(
                f"{where}: {field} {ours:g} and {theirs:g} must be equal; write it once"
            )
    return replace(owner, users=(*owner.users, user))


def _segments(placed: Sequence[ParamPlan]) -> tuple[Segment, ...]:
    """Neighbours with equal multipliers become one segment; the padding between them belongs to the
    first."""
    segments: list[Segment] = []
    for param in placed:
        pair = (param.definition.lr_mult, param.definition.decay_mult)
        stop = param.offset + param.size
        if segments and pair == (segments[-1].lr_mult, segments[-1].decay_mult):
            segments[-1] = replace(segments[-1], stop=stop)
        else:
            segments.append(Segment(param.offset, stop, *pair))
    return tuple(segments)


def _buckets(placed: Sequence[ParamPlan], learned: int) -> tuple[Bucket, ...]:
    """Cuts 0 .. learned into buckets of at least BUCKET_ELEMENTS (the last may be smaller)."""
    buckets: list[Bucket] = []
    start, after = 0, 0
    for i, param in enumerate(placed):
        stop = placed[i + 1].offset if i + 1 < len(placed) else learned
        after = param.users[0]
        if stop - start >= BUCKET_ELEMENTS or i + 1 == len(placed):
            buckets.append(Bucket(start, stop, after))
            start = stop
    return tuple(buckets)
