"""Snapshots: PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate, as Caffe names them.

The model is written first and the state last: a state that is there names a model that is whole.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvgg.data.files import write_whole
from cvgg.errors import DataError, MissingInputError
from cvgg.net import Net
from cvgg.netdef.caffe_pb2 import ExactState, SolverState
from cvgg.netdef.caffemodel import read_state, state_bytes
from cvgg.netdef.shapes import Shape, count, describe
from cvgg.weights import to_array, to_blob

VERSION = 1  # of ExactState


@dataclass(frozen=True)
class Restored:
    """A state as it was read. `exact` is None in a file that Caffe wrote."""

    path: str
    iter: int
    model: str
    history: tuple[NDArray[np.float32], ...]
    current_step: int
    exact: ExactState | None


def write(
    prefix: str,
    net: Net,
    state: SolverState,
    history: Sequence[tuple[NDArray[np.float32], Shape]],
) -> tuple[str, str]:
    """Writes both files; returns their paths. `state` has its iter, current_step and exact part."""
    stem = f"{prefix}_iter_{state.iter}"
    model, path = f"{stem}.caffemodel", f"{stem}.solverstate"
    net.save(model)
    state.learned_net = model
    write_whole(path, state_bytes(state, [to_blob(values, shape) for values, shape in history]))
    return model, path


def latest(prefix: str) -> str | None:
    """The state of the highest iter with this prefix; None if there is none."""
    folder, stem = os.path.split(f"{prefix}_iter_")
    found = {
        int(name[len(stem) : -len(".solverstate")]): name
        for name in os.listdir(folder or ".")
        if name.startswith(stem)
        and name.endswith(".solverstate")
        and name[len(stem) : -len(".solverstate")].isdecimal()
    }
    return os.path.join(folder, found[max(found)]) if found else None


def read(path: str | os.PathLike[str], shapes: Sequence[Shape]) -> Restored:
    """Reads a .solverstate whose history blobs must have `shapes`; finds its model, beside it if
    need be."""
    shown = os.fspath(path)
    state, history = read_state(path)
    if len(history) != len(shapes):
        raise DataError(
            f"{shown}: the history has {len(history)} blobs, this net has {len(shapes)} params; "
            "it was written for another net or another type of solver"
        )
    for i, (blob, shape) in enumerate(zip(history, shapes, strict=True)):
        if not blob.matches(shape):
            raise DataError(
                f"{shown}: history {i} has shape {describe(blob.shape)}, the net's param has "
                f"{describe(shape)}; it was written for another net"
            )
    exact = state.cvgg if state.HasField("cvgg") else None
    if exact is not None and exact.version > VERSION:
        raise DataError(
            f"{shown}: written by a later cvgg (state version {exact.version}, this one knows "
            f"{VERSION}); use that cvgg"
        )
    arrays = tuple(
        to_array(blob)[: count(shape)] for blob, shape in zip(history, shapes, strict=True)
    )
    return Restored(shown, state.iter, _model(shown, state), arrays, state.current_step, exact)


def _model(shown: str, state: SolverState) -> str:
    """The model that a state names; where it was written, or beside the state."""
    beside = os.path.join(os.path.dirname(shown), os.path.basename(state.learned_net))
    for candidate in (state.learned_net, beside):
        if candidate and os.path.isfile(candidate):
            return candidate
    raise MissingInputError(
        f"{shown}: its model {state.learned_net!r} is neither there nor beside the state; put it "
        "back, or train on from the state's model by --weights"
    )
