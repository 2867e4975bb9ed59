"""Reads and writes .caffemodel, .solverstate and .binaryproto files at wire level.

The numbers of a model are never copied: a ModelBlob's data is a view of the mapped file. Of a layer
only name, type and blobs are read, as Caffe does, so models of forks with other settings load too.
Format: Caffe's caffe.proto, net.cpp and sgd_solver.cpp."""

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias

from google.protobuf.message import DecodeError

from ..errors import DataError
from . import blobproto, wire
from .blobproto import Data, ModelBlob
from .caffe_pb2 import LayerParameter, NetParameter, SolverState
from .regular import open_regular
from .shapes import describe
from .wire import Span

__all__ = [
    "ModelBlob", "ModelLayer", "blob_bytes", "model_bytes", "read_blob", "read_model",
    "read_state", "state_bytes",
]  # fmt: skip

Path: TypeAlias = str | PathLike[str]

V1_TYPES = {
    0: "None", 1: "Accuracy", 2: "BNLL", 3: "Concat", 4: "Convolution", 5: "Data", 6: "Dropout",
    7: "EuclideanLoss", 8: "Flatten", 9: "HDF5Data", 10: "HDF5Output", 11: "Im2col",
    12: "ImageData", 13: "InfogainLoss", 14: "InnerProduct", 15: "LRN",
    16: "MultinomialLogisticLoss", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax",
    21: "SoftmaxWithLoss", 22: "Split", 23: "TanH", 24: "WindowData", 25: "Eltwise", 26: "Power",
    27: "SigmoidCrossEntropyLoss", 28: "HingeLoss", 29: "MemoryData", 30: "ArgMax",
    31: "Threshold", 32: "DummyData", 33: "Slice", 34: "MVN", 35: "AbsVal", 36: "Silence",
    37: "ContrastiveLoss", 38: "Exp", 39: "Deconvolution",
}  # fmt: skip
"""Today's word for V1LayerParameter.LayerType."""

USES = {
    "model": ".caffemodel: use --weights",
    "state": ".solverstate: use --snapshot",
    "blob": "file of one blob: use it as mean_file",
}


@dataclass(frozen=True)
class ModelLayer:
    """A layer as a model file has it. `type` as written; a V1 number as today's word."""

    name: str
    type: str
    blobs: tuple[ModelBlob, ...]


@dataclass(frozen=True)
class _Fields:
    """Numbers of the fields that matter in one generation's layer message."""

    name: int
    type: int
    blobs: int


CURRENT, V1, V0 = _Fields(1, 2, 7), _Fields(4, 5, 6), _Fields(1, 2, 50)
LAYERS, LAYER = 2, 100  # NetParameter's fields: V0 and V1 share `layers`


def read_model(path: Path) -> tuple[ModelLayer, ...]:
    """The layers of a .caffemodel of any generation, those without blobs too.

    Raises MissingInputError if it cannot be opened, DataError if it is damaged or something else.
    """
    layers: list[ModelLayer] = []
    generations = set()
    for field in _open(path, "model").fields():
        if field.number in (LAYERS, LAYER) and field.wire == wire.BYTES:
            generations.add(field.number)
            layers.append(_layer(field.content, V1 if field.number == LAYERS else CURRENT))
    if not layers:
        raise DataError(f"{path}: holds no layers")
    if len(generations) > 1:
        raise DataError(f"{path}: has layers in the old form (`layers`) and in today's (`layer`)")
    return tuple(layers)


def read_state(path: Path) -> tuple[SolverState, tuple[ModelBlob, ...]]:
    """A .solverstate: the message without its history, and the history.

    Raises MissingInputError if it cannot be opened, DataError if it is damaged or something else.
    """
    history: list[ModelBlob] = []
    rest = bytearray()
    for field in _open(path, "state").fields():
        if field.number == 3 and field.wire == wire.BYTES:
            history.append(blobproto.read(field.content, f"history {len(history)}"))
        else:
            rest += field.whole.view
    try:
        return SolverState.FromString(bytes(rest)), tuple(history)
    except DecodeError as error:
        raise DataError(f"{path}: damaged: {error}") from error


def read_blob(path: Path) -> ModelBlob:
    """The one blob of a file such as mean.binaryproto.

    Raises MissingInputError if it cannot be opened, DataError if it is damaged or something else.
    """
    return blobproto.read(_open(path, "blob"), "the blob")


def model_bytes(net: NetParameter, blobs: Mapping[str, Sequence[ModelBlob]]) -> Iterator[Data]:
    """A .caffemodel in pieces, as Caffe writes it: `blobs` by layer name go into the layers of
    `net`.

    net: layers of today's form; blobs that it holds are left out. Caffe reads up to 2 GiB.
    """
    assert not net.layers, "upgrade the net first"
    assert blobs.keys() <= {layer.name for layer in net.layer}, "blobs of a layer that is not there"
    for field in _whole(net.SerializeToString()).fields():
        if field.number != LAYER:
            yield field.whole.view
    for layer in net.layer:
        before, after = _around(layer, CURRENT.blobs)
        pieces = [
            piece
            for blob in blobs.get(layer.name, ())
            for piece in blobproto.nested(CURRENT.blobs, blob)
        ]
        length = len(before) + sum(map(len, pieces)) + len(after)
        yield wire.prefix(LAYER, length) + before
        yield from pieces
        yield after


def state_bytes(state: SolverState, history: Sequence[ModelBlob]) -> Iterator[Data]:
    """A .solverstate in pieces, as Caffe writes it; a history inside `state` is left out."""
    before, after = _around(state, 3)
    yield before
    for blob in history:
        yield from blobproto.nested(3, blob)
    yield after


def blob_bytes(blob: ModelBlob, *, legacy: bool) -> Iterator[Data]:
    """A file of one blob in pieces. legacy: with num, channels, height and width, as Caffe's
    compute_image_mean still writes it.

    Raises DataError if a legacy blob would have more than 4 axes.
    """
    if legacy and len(blob.shape) > 4:
        raise DataError(f"a legacy blob has at most 4 axes, this one has {describe(blob.shape)}")
    yield from blobproto.write(ModelBlob(blob.shape, blob.data, legacy))


def _open(path: Path, wanted: str) -> Span:
    """The mapped file, after a look at what it is: a key of USES."""
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise DataError(f"{path}: the file is empty")
        # The views of its blobs keep the mapping alive after the file is closed.
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if bytes(data[:4]) == b"\x89HDF":
        raise DataError(f"{path}: this is an HDF5 file; cvgg reads Caffe's BINARYPROTO format")
    file_span = _whole(data, str(path))
    found = _kind(file_span)
    if found != wanted:
        raise DataError(f"{path}: this is a {USES[found]}")
    return file_span


def _kind(file: Span) -> str:
    """What the file's first fields tell. 1 and 2: a net's name and layers, a state's iter and
    learned_net, a blob's num and channels; 5 and 7: a blob's data and shape, a net's flags."""
    found = {(field.number, field.wire) for field in file.fields()}
    if found & {(2, wire.VARINT), (5, wire.BYTES), (7, wire.BYTES)}:
        return "blob"
    return "state" if (1, wire.VARINT) in found else "model"


def _layer(message: Span, numbers: _Fields) -> ModelLayer:
    name = word = ""
    blobs: list[Span] = []
    for field in message.fields():
        if numbers is V1 and field.number == 1 and field.wire == wire.BYTES:
            return _layer(field.content, V0)  # a V0 connection: the layer is inside
        if field.number == numbers.name:
            name = field.text
        elif field.number == numbers.type:
            word = V1_TYPES.get(field.value, str(field.value)) if numbers is V1 else field.text
        elif field.number == numbers.blobs and field.wire == wire.BYTES:
            blobs.append(field.content)
    read = (blobproto.read(each, f"layer {name!r} blob {i}") for i, each in enumerate(blobs))
    return ModelLayer(name, word, tuple(read))


def _around(message: LayerParameter | SolverState, number: int) -> tuple[bytes, bytes]:
    """The message's fields before and after field `number`, without it."""
    fields = list(_whole(message.SerializeToString()).fields())
    before = b"".join(field.whole.view for field in fields if field.number < number)
    return before, b"".join(field.whole.view for field in fields if field.number > number)


def _whole(data: Data, path: str = "<message>") -> Span:
    return Span(memoryview(data), 0, len(data), path)
