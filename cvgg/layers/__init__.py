"""The layer types, and what each layer of a graph is: infer(graph, setting)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol, TypeAlias

from cvgg.errors import GraphError, LayerError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Layer, Setting
from cvgg.layers.convolution_relu import ConvolutionReLU
from cvgg.layers.convolution_relu_pooling import ConvolutionReLUPooling
from cvgg.layers.layout import Layout
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.graph import Graph, Node
from cvgg.netdef.origin import Origin, did_you_mean
from cvgg.netdef.shapes import Shape, count

Fields: TypeAlias = Mapping[str, frozenset[str]]


class Fused(Protocol):
    """Makes one layer out of the specs of several."""

    def __call__(
        self, specs: Sequence[LayerParameter], bottoms: Sequence[Shape], setting: Setting
    ) -> Layer: ...

    def fits(
        self, specs: Sequence[LayerParameter], layers: Sequence[Layer], kernels: Kernels
    ) -> bool:
        """Whether it does what `layers`, made from `specs`, do one by one, on this backend."""
        ...


FUSED: Mapping[tuple[str, ...], Fused] = {
    ("Convolution", "ReLU"): ConvolutionReLU,
    ("Convolution", "ReLU", "Pooling"): ConvolutionReLUPooling,
}
"""What the plan puts in the place of several layers where the backend does them in one call."""

KNOWN = frozenset(
    {
        "AbsVal", "Accuracy", "ArgMax", "BatchNorm", "BatchReindex", "Bias", "BNLL", "Clip",
        "Concat", "ContrastiveLoss", "Convolution", "Crop", "Data", "Deconvolution", "Dropout",
        "DummyData", "Eltwise", "ELU", "Embed", "EuclideanLoss", "Exp", "Filter", "Flatten",
        "HDF5Data", "HDF5Output", "HingeLoss", "Im2col", "ImageData", "InfogainLoss",
        "InnerProduct", "Input", "Log", "LRN", "LSTM", "LSTMUnit", "MemoryData",
        "MultinomialLogisticLoss", "MVN", "Parameter", "Pooling", "Power", "PReLU", "Python",
        "Reduction", "ReLU", "Reshape", "RNN", "Scale", "Sigmoid", "SigmoidCrossEntropyLoss",
        "Silence", "Slice", "Softmax", "SoftmaxWithLoss", "Split", "SPP", "Swish", "TanH",
        "Threshold", "Tile", "WindowData",
    }
)  # fmt: skip
"""Caffe's layer types, those that cvgg does not run included."""

COMMON = frozenset(
    {
        "name", "type", "bottom", "top", "phase", "loss_weight", "param", "propagate_down",
        "include", "exclude",
    }
)  # fmt: skip
"""Fields of LayerParameter that every layer obeys, or the graph has obeyed."""

HINTS = frozenset({"engine", "force_nd_im2col"})
"""Fields that choose between codes for one result: accepted, with no effect."""


def register(modules: Iterable[ModuleType]) -> dict[str, type[Layer]]:
    """{type: class} of the layers that `modules` define. Raises ImportError if a type is said
    twice."""
    types: dict[str, type[Layer]] = {}
    internal: frozenset[object] = frozenset([*FUSED.values(), Layout])
    for module in modules:
        for each in vars(module).values():
            if not (isinstance(each, type) and issubclass(each, Layer) and each.type):
                continue
            if each.__module__ != module.__name__ or each in internal:
                continue
            other = types.setdefault(each.type, each)
            if other is not each:
                raise ImportError(
                    f"layer type {each.type!r} is defined twice: in {other.__module__} and in "
                    f"{each.__module__}"
                )
    return types


TYPES: Mapping[str, type[Layer]] = register(
    import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__)
)


def infer(graph: Graph, setting: Setting) -> tuple[Layer, ...]:
    """The layers of `graph` in its order, each made for the shapes of its bottoms.

    Raises GraphError for a wrong number of bottoms or tops, LayerError (ShapeError) for a setting,
    with file, line and layer in front.
    """
    shapes: dict[str, Shape] = {}
    layers = []
    for node in graph.nodes:
        layer = create(node, [shapes[name] for name in node.bottoms], setting)
        shapes.update(zip(node.tops, layer.tops, strict=True))
        layers.append(layer)
    return tuple(layers)


def create(node: Node, bottoms: Sequence[Shape], setting: Setting) -> Layer:
    """The layer of one node. Raises as `infer` does."""
    spec = node.spec
    if spec.HasField("phase"):
        setting = replace(setting, phase=spec.phase)  # a layer may be of its own phase, as in Caffe
    fields: Fields = {}
    try:
        kind = find(node.type)
        fields = kind.fields
        _check_counts(node, kind)
        _check_fields(node, kind)
        layer = kind(spec, bottoms, setting)
        if len(spec.param) > len(layer.params):
            raise LayerError(
                f"{len(spec.param)} param blocks, but the layer has {len(layer.params)} params",
                field="param",
            )
        for shape in layer.tops:
            count(shape)
    except LayerError as error:
        where = _origin(node, fields, error.field)
        raise type(error)(_message(node, where, str(error)), field=error.field) from error
    return layer


def find(type: str) -> type[Layer]:
    """The class for the word after `type:`. Raises LayerError if there is none."""
    kind = TYPES.get(type)
    if kind is not None:
        return kind
    if type in KNOWN:
        rule = "is a layer of Caffe that cvgg does not run yet"
    else:
        rule = "is no layer type" + did_you_mean(type, [*TYPES, *KNOWN])
    raise LayerError(f"type {type!r} {rule}", field="type")


def _message(node: Node, where: Origin, rule: str) -> str:
    return where.message(f"layer {node.name!r} ({node.type}): {rule}")


def _origin(node: Node, fields: Fields, field: str) -> Origin:
    """Where a setting stands, or the innermost block around it that is written."""
    path = field.split(".")
    for group, names in fields.items():
        if path[0] in names:
            return node.origin.at(group, *path)
    return node.origin.at(*path)


def _check_counts(node: Node, kind: type[Layer]) -> None:
    """Bottoms and tops are as many as the layer takes, loss weights as many as tops."""
    for word, names, (least, most) in (
        ("bottom", node.bottoms, kind.bottom_count),
        ("top", node.tops, kind.top_count),
    ):
        if least <= len(names) and (most is None or len(names) <= most):
            continue
        takes = str(least) if least == most else f"{least} or more"
        if most is not None and least < most:
            takes = f"{least} to {most}" if most - least > 1 else f"{least} or {most}"
        rule = f"takes {takes} {word}{'' if takes == '1' else 's'}, has {len(names)}"
        if names:
            rule += ": " + ", ".join(names)
        raise GraphError(_message(node, node.origin.at(word), rule))
    weights = len(node.spec.loss_weight)
    if weights not in (0, len(node.tops)):
        raise LayerError(
            f"{weights} loss_weight for {len(node.tops)} tops; write one for each top or none",
            field="loss_weight",
        )


def _check_fields(node: Node, kind: type[Layer]) -> None:
    """The user wrote nothing that the layer does not obey."""
    for group, value in node.spec.ListFields():
        if group.name in COMMON:
            continue
        obeyed = kind.fields.get(group.name)
        if obeyed is None:
            raise LayerError(
                f"the layer does not obey {group.name}; {_settings(kind)}; remove it",
                field=group.name,
            )
        for field, _ in value.ListFields():
            if field.name not in obeyed | HINTS:
                path = f"{group.name}.{field.name}"
                raise LayerError(f"{path} is not supported by cvgg; remove it", field=path)


def _settings(kind: type[Layer]) -> str:
    return f"its settings are in {', '.join(kind.fields)}" if kind.fields else "it has no settings"
