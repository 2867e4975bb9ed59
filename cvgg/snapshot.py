"""Snapshots: PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate, as Caffe names them.

The model is written first and the state last: a state that is there names a model that is whole.
The state holds size and checksum of the model and ends with a checksum of itself, in fields that
Caffe skips: what a disk or a copy has changed since is found when the state is read.
"""

import fcntl
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvgg.data.files import TEMPORARY, Part, checksum, write_whole
from cvgg.errors import DataError, Error, MissingInputError
from cvgg.net import Net
from cvgg.netdef.caffe_pb2 import ExactState, SolverState
from cvgg.netdef.caffemodel import read_state, state_bytes
from cvgg.netdef.shapes import Shape, count, describe
from cvgg.weights import to_array, to_blob

log = logging.getLogger("cvgg")

VERSION = 1  # of ExactState
_MARK = b"\x95\xf1\x04"  # tag of SolverState's checksum, field 10002 of 4 bytes
_TAIL = len(_MARK) + 4


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
    model, path = paths(prefix, state.iter)
    net.save(model)
    state.learned_net = model
    state.cvgg.model_size, state.cvgg.model_checksum = checksum(model)
    blobs = [to_blob(values, shape) for values, shape in history]
    write_whole(path, _summed(state_bytes(state, blobs)))
    return model, path


def paths(prefix: str, iter: int) -> tuple[str, str]:
    """Model and state of one iteration."""
    stem = f"{prefix}_iter_{iter}"
    return f"{stem}.caffemodel", f"{stem}.solverstate"


def iterations(prefix: str) -> list[int]:
    """Those with a state of this prefix, rising."""
    folder, stem = os.path.split(f"{prefix}_iter_")
    pattern = re.compile(re.escape(stem) + r"([0-9]+)\.solverstate")
    matches = (pattern.fullmatch(name) for name in os.listdir(folder or "."))
    return sorted(int(match[1]) for match in matches if match)


def latest(prefix: str) -> str | None:
    """The state of the highest iter with this prefix; None if there is none."""
    found = iterations(prefix)
    return paths(prefix, found[-1])[1] if found else None


def latest_whole(prefix: str) -> str | None:
    """As latest(), but passes over snapshots that are damaged or have lost their model, and warns.

    Raises what is wrong with the last one if there are some and none is whole."""
    faults: list[Error] = []
    for number in reversed(iterations(prefix)):
        path = paths(prefix, number)[1]
        try:
            _check(path, read_state(path)[0])
        except Error as fault:
            log.warning("Passed over: %s", fault)
            faults.append(fault)
        else:
            return path
    if faults:
        raise faults[0]
    return None


def remove(prefix: str, iter: int) -> None:
    """Removes a snapshot, the state first: one without its model never stands there."""
    model, path = paths(prefix, iter)
    for each in (path, model):
        with suppress(FileNotFoundError):
            os.unlink(each)


def sweep(prefix: str) -> list[str]:
    """Removes what processes that were killed while they wrote a snapshot have left; returns the
    names. A file that is being written is locked and stays."""
    folder, stem = os.path.split(f"{prefix}_iter_")
    pattern = re.compile(r"\." + re.escape(stem) + r"[0-9]+\.(caffemodel|solverstate)" + TEMPORARY)
    swept = []
    for name in filter(pattern.fullmatch, os.listdir(folder or ".")):
        with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(file.name)
            swept.append(name)
    return swept


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
    model = _check(shown, state)
    exact = state.cvgg if state.HasField("cvgg") else None
    if exact is not None and exact.version > VERSION:
        raise DataError(
            f"{shown}: written by a later cvgg (state version {exact.version}, this one knows "
            f"{VERSION}); use that cvgg"
        )
    arrays = tuple(
        to_array(blob)[: count(shape)] for blob, shape in zip(history, shapes, strict=True)
    )
    return Restored(shown, state.iter, model, arrays, state.current_step, exact)


def _summed(parts: Iterable[Part]) -> Iterator[Part]:
    """`parts`, and behind them the field with their checksum."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, total)
        yield part
    yield _MARK + struct.pack("<I", total)


def _check(shown: str, state: SolverState) -> str:
    """The state's model. Raises DataError if the state or the model is not as it was written;
    without checksums (Caffe's states) nothing is compared."""
    if not state.cvgg.HasField("model_checksum"):
        return _model(shown, state)
    size = os.stat(shown).st_size
    with open(shown, "rb") as file:
        file.seek(size - _TAIL)
        tail = file.read()
    if tail[: len(_MARK)] != _MARK or struct.unpack("<I", tail[len(_MARK) :])[0] != state.checksum:
        raise DataError(f"{shown}: damaged: it does not end with its checksum; take another one")
    if checksum(shown, size - _TAIL)[1] != state.checksum:
        raise DataError(f"{shown}: damaged: its checksum does not fit; take another one")
    model = _model(shown, state)
    if checksum(model) != (state.cvgg.model_size, state.cvgg.model_checksum):
        raise DataError(
            f"{model}: not as it was written with {shown}: damaged, cut off or replaced; take "
            "another snapshot, or train on from this model by --weights"
        )
    return model


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
