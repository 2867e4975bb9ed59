"""Params from and to .caffemodel files."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath

import numpy as np
from numpy.typing import NDArray

from cvgg.blob import Blob
from cvgg.data.files import write_whole
from cvgg.engine.base import Engine
from cvgg.errors import DataError, ShapeError
from cvgg.netdef.caffe_pb2 import NetParameter
from cvgg.netdef.caffemodel import ModelBlob, ModelLayer, model_bytes, read_model
from cvgg.netdef.graph import Graph
from cvgg.netdef.shapes import describe

log = logging.getLogger("cvgg")


def to_array(blob: ModelBlob) -> NDArray[np.float32]:
    """The values of a blob from a file, flat; a view of the file where that is possible."""
    return np.frombuffer(blob.data, dtype="<f4")


def to_blob(values: NDArray[np.float32], shape: Sequence[int]) -> ModelBlob:
    """A blob for a file; its memory is that of `values` where the machine is little-endian."""
    data = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
    return ModelBlob(tuple(shape), data.view(np.uint8).data, legacy=False)


def load(path: str | PathLike[str], params: Mapping[str, Sequence[Blob]], engine: Engine) -> None:
    """Copies what `path` holds for layers of these names; says which layers found nothing.

    Raises DataError if no layer matches and ShapeError, before anything is changed, if a layer's
    blobs do not fit."""
    stored = {layer.name: layer for layer in read_model(path) if layer.blobs}
    known = {name: stored[name] for name in params if name in stored}
    if not known:
        raise DataError(
            f"{fspath(path)}: no layer of the net is in it; its layers are "
            f"{', '.join(list(stored)[:5]) or 'none with params'}"
        )
    for name, layer in known.items():
        _check(fspath(path), layer, params[name])
        for i, values in enumerate(layer.blobs):
            if not np.isfinite(to_array(values)).all():
                log.warning("%s: layer %r: blob %d has NaN or infinity", fspath(path), name, i)
    for name, layer in known.items():
        for blob, values in zip(params[name], layer.blobs, strict=True):
            engine.copy_in(blob.data, to_array(values).reshape(blob.shape))
    if missing := [name for name in params if name not in stored]:
        log.warning(
            "%s has nothing for %s: they keep their values", fspath(path), ", ".join(missing)
        )
    if unused := [name for name in stored if name not in params]:
        log.info("Ignoring %s of %s: the net has no such layer", ", ".join(unused), fspath(path))
    log.info("Copied the params of %d layers from %s", len(known), fspath(path))


def _check(path: str, layer: ModelLayer, blobs: Sequence[Blob]) -> None:
    if len(layer.blobs) != len(blobs):
        raise ShapeError(
            f"{path}: layer {layer.name!r} has {len(layer.blobs)} blobs, the net's has {len(blobs)}"
        )
    for i, (stored, blob) in enumerate(zip(layer.blobs, blobs, strict=True)):
        if not stored.matches(blob.shape):
            raise ShapeError(
                f"{path}: layer {layer.name!r}: blob {i} has shape {describe(stored.shape)}, the "
                "net's has "
                f"{describe(blob.shape)}; to learn it from scratch rename the layer"
            )


def save(
    path: str | PathLike[str], graph: Graph, params: Mapping[str, Sequence[Blob]], engine: Engine
) -> None:
    """Writes the layers of `graph` with their params to `path`."""
    write_whole(path, chunks(graph, params, engine))


def chunks(
    graph: Graph, params: Mapping[str, Sequence[Blob]], engine: Engine
) -> Iterator[bytes | bytearray | memoryview]:
    """The bytes of a .caffemodel, piece by piece."""
    message = NetParameter(name=graph.name, layer=[node.spec for node in graph.nodes])
    for layer in message.layer:
        layer.ClearField("blobs")
        layer.phase = graph.phase  # type: ignore[assignment]
    blobs = {
        name: [to_blob(engine.copy_out(blob.data), blob.shape) for blob in each]
        for name, each in params.items()
    }
    return model_bytes(message, blobs)
