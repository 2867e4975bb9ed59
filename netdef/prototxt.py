"""Reads nets and solvers: prototxt of every age to messages of today, with the place of each layer.

Values come from protobuf's text_format; positions and most errors from schema.py. Errors are
PrototxtError: "FILE:LINE:COLUMN: rule", then the source line and a caret on lines of their own.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias, TypeVar

from google.protobuf import text_format

from ..errors import PrototxtError
from .caffe_pb2 import NetParameter, SolverParameter
from .origin import Origin
from .regular import open_regular
from .schema import positions, value_rule
from .upgrade import SOLVER_TYPES, upgrade

__all__ = ["NetDef", "SolverDef", "net_def", "read_net", "read_solver"]

LARGEST = 16 * 2**20  # bytes of a prototxt; the largest nets have less than one megabyte

NetSource: TypeAlias = str | PathLike[str] | NetParameter
SolverSource: TypeAlias = str | PathLike[str] | SolverParameter
M = TypeVar("M", NetParameter, SolverParameter)


@dataclass(frozen=True)
class NetDef:
    """A net in the current format; layers[i] is where message.layer[i] was written."""

    message: NetParameter
    origin: Origin
    layers: tuple[Origin, ...]


@dataclass(frozen=True)
class SolverDef:
    """A solver's settings; a net inside it becomes a NetDef by
    net_def(message.net_param, origin.at("net_param"))."""

    message: SolverParameter
    origin: Origin


def read_net(source: NetSource) -> NetDef:
    """The net of a file, a text (it holds "{", a newline or ": ") or a message (which is copied).

    Raises PrototxtError, or MissingInputError if there is no such file.
    """
    if isinstance(source, NetParameter):
        _check_required(source, Origin("<message>"))
        return net_def(source, Origin("<message>"))
    message, origin = _parse(source, NetParameter())
    return net_def(message, origin)


def net_def(message: NetParameter, origin: Origin) -> NetDef:
    """A NetDef of a message that stands at `origin`, which knows its fields' positions."""
    upgraded, layers = upgrade(message, origin)
    return NetDef(upgraded, origin, layers)


def read_solver(source: SolverSource) -> SolverDef:
    """The solver of a file, a text or a message: solver_type as type, snapshot_prefix by Caffe's
    rule.

    Without a snapshot_prefix it is the file's path without its extension; a prefix that is a folder
    gets the file's stem. A text or message has no name to lend, so there it stays as it is.
    """
    if isinstance(source, SolverParameter):
        message, origin = SolverParameter(), Origin("<message>")
        message.CopyFrom(source)
        _check_required(message, origin)
    else:
        message, origin = _parse(source, SolverParameter())
    _upgrade_type(message, origin)
    if not origin.path.startswith("<"):
        base, _ = os.path.splitext(origin.path)
        if not message.HasField("snapshot_prefix"):
            message.snapshot_prefix = base
        elif os.path.isdir(message.snapshot_prefix):
            message.snapshot_prefix = os.path.join(message.snapshot_prefix, os.path.basename(base))
    return SolverDef(message, origin)


def _upgrade_type(message: SolverParameter, origin: Origin) -> None:
    """Field solver_type, an enum of before 2015, becomes the word in `type`."""
    if not message.HasField("solver_type"):
        return
    word = SOLVER_TYPES[message.solver_type]
    if message.HasField("type"):
        rule = f'solver_type is the old form of type; remove it, and keep type: "{message.type}"'
        raise PrototxtError(origin.at("solver_type").message(rule))
    message.type = word
    message.ClearField("solver_type")


def _parse(source: str | PathLike[str], message: M) -> tuple[M, Origin]:
    """Fills the message from a file or a text."""
    path, text = _read(source)
    place = Origin(path, lines=text.split("\n"))
    fields = positions(text, message.DESCRIPTOR, place)
    origin = Origin(path, fields=fields, lines=place.lines)
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as fault:
        at = (fault.GetLine() or 1, fault.GetColumn() or 1)
        raise value_rule(text, message.DESCRIPTOR, place, at) from fault
    _check_required(message, origin)
    return message, origin


def _read(source: str | PathLike[str]) -> tuple[str, str]:
    """(path, text) with line ends as "\\n" and without a byte order mark."""
    if isinstance(source, str) and ("{" in source or "\n" in source or ": " in source):
        path = "<text>"
        # Lone surrogates, which are no characters, become bytes that UTF-8 does not have.
        raw = source.encode("utf-8", "surrogatepass")
    else:
        path = os.fspath(source)
        raw = _bytes_of(path)
    if len(raw) > LARGEST:
        raise PrototxtError(f"{path}: larger than {LARGEST // 2**20} MiB: this is not a prototxt")
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if b"\0" in raw:
        line, column = _place(text[: text.index("\0")])
        hint = f"; {_binary_hint(path)}" if _binary_hint(path) else ""
        raise PrototxtError(
            f"{path}:{line}:{column}: a NUL byte: this is a binary file, not a prototxt{hint}"
        )
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        before = raw[: fault.start].decode("utf-8").removeprefix("\ufeff")
        where = Origin(path, *_place(before.replace("\r\n", "\n")), lines=text.split("\n"))
        rule = f"not UTF-8 at byte {fault.start}; save the file as UTF-8"
        raise PrototxtError(where.message(rule)) from fault
    return path, text


def _bytes_of(path: str) -> bytes:
    """At most LARGEST + 1 bytes of the file."""
    with open_regular(path, what="cannot read this prototxt: ") as file:
        # read() allocates all that it is asked for, so it is asked for what is there.
        return file.read(min(LARGEST, os.fstat(file.fileno()).st_size) + 1)


def _place(before: str) -> tuple[int, int]:
    """Line and column of what follows `before`."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _binary_hint(path: str) -> str:
    """What to do with a file of that name instead."""
    hints = {
        ".caffemodel": "weights go with --weights",
        ".solverstate": "a snapshot goes with --snapshot",
        ".binaryproto": "a mean image goes into mean_file",
    }
    return hints.get(os.path.splitext(path)[1], "")


def _check_required(message: NetParameter | SolverParameter, origin: Origin) -> None:
    """A field that the schema requires must be there (clip_param: min and max)."""
    for missing in message.FindInitializationErrors():  # type: ignore[union-attr]
        names: list[str | int] = []
        for part in missing.split("."):
            name, _, index = part.partition("[")
            names += [name, int(index.rstrip("]"))] if index else [name]
        block = _last_name(names[:-1])
        raise PrototxtError(origin.at(*names[:-1]).message(f"{block} needs {names[-1]}"))


def _last_name(names: Iterable[str | int]) -> str:
    return [name for name in names if isinstance(name, str)][-1]
