"""Do the names of a net connect? Every bottom made before it is read, every top made once.

In-place: a layer may write into its bottom, if top and bottom of the same index have one name and
nothing else reads that blob. Source: Caffe net.cpp, AppendTop and AppendBottom.
"""

from collections.abc import Sequence

from ..errors import GraphError
from .caffe_pb2 import LayerParameter
from .origin import did_you_mean
from .splits import Placed, Top, loss_weight


def check_names(layers: Sequence[Placed], outside: Sequence[Placed], state: str) -> None:
    """Raises GraphError at the first name that does not connect.

    outside: layers that the rules leave out; state: what for, in words.
    """
    named: dict[str, Placed] = {}
    made: dict[str, Top] = {}
    readers: dict[str, list[int]] = {}
    for number, (layer, origin) in enumerate(layers):
        _check_identity(layers[number], named)
        for index, bottom in enumerate(layer.bottom):
            if bottom not in made:
                rule = _why_unknown(bottom, number, layers, outside, state)
                where = origin.at("bottom", index)
                raise GraphError(where.message(f"layer {layer.name!r}: bottom {bottom!r} {rule}"))
            readers[bottom].append(number)
        for index, top in enumerate(layer.top):
            rule = ""
            if top in layer.top[:index]:
                rule = "is written twice in this layer"
            elif top in made and not in_place(layer, index):
                rule = _made_before(layer, top, layers[made[top][0]])
            elif top in made:
                rule = _shared(layers, made[top], readers[top])
            if rule:
                where = origin.at("top", index)
                raise GraphError(where.message(f"layer {layer.name!r}: top {top!r} {rule}"))
            made[top] = number, index
            readers[top] = []


def in_place(layer: LayerParameter, top: int) -> bool:
    """Whether the layer's top of that number lies in its bottom."""
    return top < len(layer.bottom) and layer.bottom[top] == layer.top[top]


def _check_identity(placed: Placed, named: dict[str, Placed]) -> None:
    """A layer has a type and a name that no other layer has."""
    layer, origin = placed
    for field, names in (("name", [layer.name]), ("bottom", layer.bottom), ("top", layer.top)):
        for index, name in enumerate(names):
            if not name.isprintable():  # a terminal or a log would obey it
                rule = f"{field} {name!r} holds a control character"
                raise GraphError(origin.at(field, index).message(rule))
    if not layer.name:
        raise GraphError(origin.message('a layer needs a name: write name: "..."'))
    if not layer.type:
        raise GraphError(origin.message(f"layer {layer.name!r} has no type"))
    if layer.name in named:
        _, other = named[layer.name]
        raise GraphError(
            origin.at("name").message(
                f"layer {layer.name!r}: another layer has that name, at {other}; rename one"
            )
        )
    named[layer.name] = placed


def _made_before(layer: LayerParameter, top: str, maker: Placed) -> str:
    rule = f"is made by layer {maker[0].name!r} ({maker[1]}) already; give it another name"
    if top in layer.bottom:
        rule += "; in place, it must be the bottom of the same index"
    return rule


def _shared(layers: Sequence[Placed], maker: Top, readers: Sequence[int]) -> str:
    """What forbids that the last of the readers overwrites the blob; "" if it is the only use."""
    source, where = layers[maker[0]]
    if loss_weight(source, maker[1]):
        return (
            f"would be overwritten in place, but it is a loss of layer {source.name!r} ({where}); "
            "give this top another name"
        )
    if len(readers) == 1:
        return ""
    other, where = layers[readers[0]]
    return (
        f"would be overwritten in place, but layer {other.name!r} ({where}) reads it too; "
        "give this top another name"
    )


def _why_unknown(
    bottom: str, number: int, layers: Sequence[Placed], outside: Sequence[Placed], state: str
) -> str:
    """What is wrong with a bottom that no layer before `number` makes."""
    makers = _makers(layers)
    if bottom in makers:
        maker, where = layers[makers[bottom]]
        path = _path(number, makers[bottom], layers, makers)
        if path:
            names = " -> ".join(layers[each][0].name for each in [*path, number])
            return f"is part of a cycle: {names}"
        return f"is made later, by layer {maker.name!r} ({where}); move that layer up"
    for layer, where in outside:
        if bottom in layer.top:
            return f"is made by layer {layer.name!r} ({where}), which is not in the net for {state}"
    for layer, _ in layers:
        if layer.name == bottom and layer.top:
            return f"is a layer, not a blob; that layer's top is {layer.top[0]!r}"
    return "is made by no layer" + did_you_mean(bottom, makers)


def _makers(layers: Sequence[Placed]) -> dict[str, int]:
    """The layer that makes each blob, not counting those that work in place."""
    makers: dict[str, int] = {}
    for number, (layer, _) in enumerate(layers):
        for index, top in enumerate(layer.top):
            if not in_place(layer, index):
                makers.setdefault(top, number)
    return makers


def _path(
    start: int, end: int, layers: Sequence[Placed], makers: dict[str, int]
) -> tuple[int, ...]:
    """The layers through which data gets from `start` to `end`, with both; () if it does not."""
    paths: dict[int, tuple[int, ...]] = {end: (end,)}
    waiting = [end]
    while waiting:
        at = waiting.pop(0)
        if at == start:
            return paths[at]
        for bottom in layers[at][0].bottom:
            source = makers.get(bottom)
            if source is not None and source not in paths:
                paths[source] = (source, *paths[at])
                waiting.append(source)
    return ()
