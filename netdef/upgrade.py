"""Nets of every age to the format of today, each layer's position along with it.

V0 (2013), V1 (2014), fields of transformation inside data layers, `input` fields, and the three
params that old BatchNorm layers gave learning rates. Source: Caffe upgrade_proto.cpp.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from ..errors import PrototxtError
from .caffe_pb2 import BlobShape, LayerParameter, NetParameter, SolverParameter, V1LayerParameter
from .caffemodel import V1_TYPES
from .origin import Key, Origin
from .rewrite import assign, renamed
from .v0 import from_v0

Placed: TypeAlias = tuple[LayerParameter, Origin]

SOLVER_TYPES = {
    SolverParameter.SGD: "SGD",
    SolverParameter.NESTEROV: "Nesterov",
    SolverParameter.ADAGRAD: "AdaGrad",
    SolverParameter.RMSPROP: "RMSProp",
    SolverParameter.ADADELTA: "AdaDelta",
    SolverParameter.ADAM: "Adam",
}
"""Today's word for the old solver_type."""

# V1's lists with one element a param, and the field of ParamSpec that each became
PARAM_FIELDS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
DATA_MESSAGES = {
    V1LayerParameter.DATA: "data_param",
    V1LayerParameter.IMAGE_DATA: "image_data_param",
    V1LayerParameter.WINDOW_DATA: "window_data_param",
}
TRANSFORMATION = ("scale", "mean_file", "crop_size", "mirror")


def upgrade(message: NetParameter, origin: Origin) -> tuple[NetParameter, tuple[Origin, ...]]:
    """A copy of the net in the current format, and the origin of each of its layers."""
    if message.layers and message.layer:
        raise PrototxtError(
            origin.at("layers").message(
                "a net has blocks `layer` (today's form) or `layers` (the old form), not both"
            )
        )
    layers: list[Placed]
    if message.layers:
        old = list(
            zip(message.layers, _origins(origin, "layers", len(message.layers)), strict=True)
        )
        if any(each.HasField("layer") for each, _ in old):
            old = from_v0(old)
        layers = [_from_v1(each, where) for each, where in old]
    else:
        layers = list(
            zip(message.layer, _origins(origin, "layer", len(message.layer)), strict=True)
        )
    if message.input or message.input_shape or message.input_dim:
        layers.insert(0, (_input_layer(message, origin), origin.at("input")))
    new = NetParameter()
    for field, value in message.ListFields():
        if field.name not in ("layer", "layers", "input", "input_shape", "input_dim"):
            assign(new, field.name, value)
    new.layer.extend(layer for layer, _ in layers)
    for layer in new.layer:
        _still_batch_norm(layer)
    return new, tuple(where for _, where in layers)


def upgrade_net(message: NetParameter) -> NetParameter:
    """The net of a binary file in the current format; nothing of it has a position."""
    return upgrade(message, Origin("<message>"))[0]


def _origins(origin: Origin, name: str, count: int) -> Sequence[Origin]:
    """Where the `count` blocks of that name stand; the net itself where nobody knows."""
    found = origin.blocks(name)
    return found if len(found) == count else [replace(origin, fields={})] * count


def _from_v1(old: V1LayerParameter, origin: Origin) -> Placed:
    new = LayerParameter()
    for field, value in old.ListFields():
        if field.name == "type":
            if old.type != V1LayerParameter.NONE:
                new.type = V1_TYPES[old.type]
        elif field.name in PARAM_FIELDS:
            for index, each in enumerate(value):
                while len(new.param) <= index:
                    new.param.add()
                setattr(new.param[index], PARAM_FIELDS[field.name], each)
        else:
            assign(new, field.name, value)
    moved = _move_transformation(new, DATA_MESSAGES.get(old.type, ""))

    def move(key: Key) -> Key:
        if key[0] in PARAM_FIELDS:
            return ("param", *key[1:], PARAM_FIELDS[key[0]])
        if key[:2] in moved:
            return ("transform_param", *key[1:])
        return key

    return new, renamed(origin, move)


def _move_transformation(new: LayerParameter, data: str) -> set[Key]:
    """Takes scale, mean_file, crop_size and mirror out of message `data` into transform_param.

    Only V1 data layers had them there; today's data_param still names them but obeys none.
    """
    moved: set[Key] = set()
    if not data or not new.HasField(data):  # type: ignore[arg-type]
        return moved
    message = getattr(new, data)
    for name in TRANSFORMATION:
        if message.HasField(name):
            setattr(new.transform_param, name, getattr(message, name))
            message.ClearField(name)
            moved.add((data, name))
    return moved


def _input_layer(message: NetParameter, origin: Origin) -> LayerParameter:
    """The Input layer that stands for the fields input, input_shape and input_dim."""
    names, shapes, lengths = message.input, list(message.input_shape), list(message.input_dim)
    rule = ""
    if shapes and lengths:
        rule = "write input_shape or input_dim, not both"
    elif shapes and len(shapes) != len(names):
        rule = f"{len(shapes)} input_shape for {len(names)} input; write one for each"
    elif not shapes and len(lengths) != 4 * len(names):
        rule = f"{len(lengths)} input_dim for {len(names)} input; write 4 for each, or input_shape"
    if rule:
        field = "input_shape" if shapes else "input_dim" if lengths else "input"
        raise PrototxtError(origin.at(field).message(rule))
    if not shapes:
        shapes = [BlobShape(dim=lengths[4 * i : 4 * i + 4]) for i in range(len(names))]
    layer = LayerParameter(name="input", type="Input", top=names)
    layer.input_param.shape.extend(shapes)
    return layer


def _still_batch_norm(layer: LayerParameter) -> None:
    """A BatchNorm layer's three params are statistics: no solver may change them."""
    if layer.type == "BatchNorm" and len(layer.param) == 3:
        for param in layer.param:
            param.lr_mult = 0
            param.decay_mult = 0
