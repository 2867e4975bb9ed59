"""Which layers go backward and which bottoms get a diff: Caffe's rules (net.cpp, Init).

A layer goes backward if something below it learns (or the net says force_backward) and a loss lies
above it."""

from collections.abc import Sequence
from dataclasses import dataclass

from cvgg.errors import GraphError
from cvgg.plan.fusion import Unit


@dataclass(frozen=True)
class Flow:
    """For each unit: does it go backward, and to which bottoms; for each blob name with a weight:
    the weight."""

    backward: list[bool]
    propagate_down: list[tuple[bool, ...]]
    loss_weights: dict[str, float]


def gradient_flow(units: Sequence[Unit], *, force_backward: bool) -> Flow:
    """The flow of gradients through `units`."""
    weights = loss_weights(units)
    wanted: dict[str, bool] = {}
    propagate, active = [], []
    for unit in units:
        down = tuple(
            _wanted(unit, i, wanted, force=force_backward) for i in range(len(unit.bottoms))
        )
        learns = any(param.lr_mult for param in unit.layer.params)
        wanted.update(dict.fromkeys(unit.tops, force_backward or learns or any(down)))
        propagate.append(down)
        active.append(learns or any(down))
    under = set(weights)  # blobs that a loss depends on
    backward = [False] * len(units)
    for i in reversed(range(len(units))):
        unit, layer = units[i], units[i].layer
        reached = force_backward or not under.isdisjoint(unit.tops)
        if not (reached and active[i]):
            propagate[i] = (False,) * len(unit.bottoms)
            continue
        if not layer.has_backward:
            if not force_backward:
                raise GraphError(
                    f"{unit.nodes[0].origin}: layer {unit.nodes[0].name!r} ({layer.type}) has no "
                    "backward, but a loss above it asks for one"
                )
            propagate[i] = (False,) * len(unit.bottoms)
            continue
        backward[i] = True
        under.update(name for name, down in zip(unit.bottoms, propagate[i], strict=True) if down)
    return Flow(backward, propagate, weights)


def loss_weights(units: Sequence[Unit]) -> dict[str, float]:
    """The blobs that are summed into the loss, with their weights."""
    return {
        top: weight
        for unit in units
        for top, weight in zip(unit.tops, _loss_weights(unit), strict=False)
        if weight
    }


def _loss_weights(unit: Unit) -> list[float]:
    """loss_weight of each top: as written, else 1 for the first top of a loss."""
    written = list(unit.nodes[-1].spec.loss_weight)
    if written:
        return written + [0.0] * (len(unit.tops) - len(written))
    return [1.0 if unit.layer.loss and i == 0 else 0.0 for i in range(len(unit.tops))]


def _wanted(unit: Unit, bottom: int, wanted: dict[str, bool], *, force: bool) -> bool:
    """Does bottom number `bottom` want a diff? The spec's propagate_down decides where it is
    written."""
    node, below = unit.nodes[0], wanted[unit.bottoms[bottom]]
    written = list(node.spec.propagate_down)
    if written and len(written) != len(unit.bottoms):
        raise GraphError(
            f"{node.origin.at('propagate_down')}: layer {node.name!r} has "
            f"{len(unit.bottoms)} bottoms but {len(written)} propagate_down; write one for "
            "each bottom or none"
        )
    answer = written[bottom] if written else below
    if bottom in unit.layer.labels:
        if answer and not force:
            raise GraphError(
                f"{node.origin}: layer {node.name!r} ({unit.layer.type}) cannot send "
                f"a gradient to its bottom {unit.bottoms[bottom]!r}: labels have none; set "
                "propagate_down false or cut it off"
            )
        return False
    return answer
