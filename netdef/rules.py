"""Which layers belong to the net: include and exclude rules by phase, level and stage.

Source: Caffe net.cpp, FilterNet and StateMeetsRule.
"""

from ..errors import GraphError
from .caffe_pb2 import LayerParameter, NetState, NetStateRule, Phase
from .origin import Origin


def belongs(layer: LayerParameter, state: NetState, origin: Origin) -> bool:
    """Whether the layer is part of a net in that state.

    With `include` any of its rules must hold, with `exclude` none may; without either it belongs.
    Raises GraphError if the layer has both.
    """
    if layer.include and layer.exclude:
        raise GraphError(
            origin.at("exclude").message(
                f"layer {layer.name!r} has include and exclude; write only one of them"
            )
        )
    if layer.include:
        return any(holds(rule, state) for rule in layer.include)
    return not any(holds(rule, state) for rule in layer.exclude)


def holds(rule: NetStateRule, state: NetState) -> bool:
    """Whether all that the rule says is true; an empty rule always holds."""
    present = set(state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or rule.min_level <= state.level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and present.issuperset(rule.stage)
        and present.isdisjoint(rule.not_stage)
    )


def describe_state(state: NetState) -> str:
    """ "phase TEST, level 2, stages deploy fast"; level and stages only if there are any."""
    words = [f"phase {Phase.Name(state.phase)}"]
    if state.level:
        words.append(f"level {state.level}")
    if state.stage:
        words.append(f"stages {' '.join(state.stage)}")
    return ", ".join(words)
