"""Text against the schema: every name must be a field of its block, every enum word one of its
values, and what is not repeated may be written once.

Gives the position of each field, which protobuf's text_format does not keep, and errors that say
what would be right, in the same words whichever protobuf is installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ..errors import PrototxtError
from .caffe_pb2 import NetParameter, SolverParameter
from .forks import fork_of
from .origin import Key, Origin, Position, did_you_mean
from .positions import Event, Kind, scan

KEPT = 64  # positions kept of a repeated number: a text blob may hold millions
REPEATED = 3  # FieldDescriptorProto.LABEL_REPEATED
LISTED = 8  # more enum values than these are not listed in an error

# What else a prototxt may hold: a net given for a solver, or the other way round
OTHER = {"NetParameter": SolverParameter.DESCRIPTOR, "SolverParameter": NetParameter.DESCRIPTOR}

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@dataclass
class _Frame:
    """A block that is open: its message, its path, and how often each field was seen."""

    message: Descriptor
    path: Key = ()
    seen: dict[str, int] = field(default_factory=dict)
    first: dict[str, Position] = field(default_factory=dict)


def positions(text: str, message: Descriptor, origin: Origin) -> dict[Key, Position]:
    """Where each field of `text`, which holds a `message`, stands; keys as in Origin.fields.

    Raises PrototxtError for a name, an enum word or a repetition that the schema does not allow,
    and for brackets and strings that do not close.
    """
    found: dict[Key, Position] = {}
    frames = [_Frame(message)]
    for event in scan(text, origin):
        if event.kind is Kind.CLOSE:
            frames.pop()
            continue
        frame = frames[-1]
        described = frame.message.fields_by_name.get(event.name)
        if described is None:
            _fail(origin, event.position, _unknown(event.name, frames))
        if event.kind is Kind.NAME:
            continue
        _check_form(described, event, origin)
        key = _count(frame, described, event, origin)
        if described.message_type is not None:
            found[key] = event.position
            frames.append(_Frame(described.message_type, key))
        elif frame.seen[event.name] <= KEPT or described.type == FieldDescriptor.TYPE_STRING:
            found[key] = event.position
    return found


def value_rule(text: str, message: Descriptor, origin: Origin, position: Position) -> PrototxtError:
    """The error for the value at `position`, where text_format refused one."""
    descriptors = [message]
    last: tuple[Event, FieldDescriptor] | None = None
    for event in scan(text, origin):
        if event.kind is Kind.CLOSE:
            descriptors.pop()
            continue
        described = descriptors[-1].fields_by_name[event.name]
        if described.message_type is not None:
            descriptors.append(described.message_type)
        elif event.value_position <= position:
            last = event, described
        else:
            break
    if last is None:
        return PrototxtError(origin.to(*position).message("this cannot be read"))
    event, described = last
    rule = f"{event.name} is {_expected(described)}, not {_shortened(event.value)}"
    if described.type == FieldDescriptor.TYPE_STRING and event.value[0] in "\"'":
        rule = f"{event.name} has an escape that gives no UTF-8 text: {_shortened(event.value)}"
    return PrototxtError(origin.to(*event.value_position).message(rule))


def is_repeated(described: FieldDescriptor) -> bool:
    """Whether the field may be written more than once; `label` went away in newer protobufs."""
    if hasattr(described, "is_repeated"):
        return bool(described.is_repeated)
    return bool(getattr(described, "label", 0) == REPEATED)


def _count(frame: _Frame, described: FieldDescriptor, event: Event, origin: Origin) -> Key:
    """The key of this occurrence of the field."""
    name = event.name
    before = frame.seen.get(name, 0)
    if before and not is_repeated(described):
        line, column = frame.first[name]
        _fail(origin, event.position, f"{name} may be written once; it was, at {line}:{column}")
    frame.seen[name] = before + 1
    frame.first.setdefault(name, event.position)
    return (*frame.path, name, str(before)) if before else (*frame.path, name)


def _check_form(described: FieldDescriptor, event: Event, origin: Origin) -> None:
    """A block where a block belongs, a value where a value, and an enum word that exists."""
    name, is_block = event.name, described.message_type is not None
    if event.kind is Kind.OPEN and not is_block:
        _fail(origin, event.position, f"{name} is {_expected(described)}, not a block")
    if event.kind is Kind.VALUE and is_block:
        _fail(origin, event.value_position, f"{name} is a block: write {name} {{ ... }}")
    if event.kind is Kind.VALUE and described.enum_type is not None:
        words = described.enum_type.values_by_name
        if event.value in words or _numbers(described.enum_type, event.value):
            return
        bare = event.value.strip("\"'")
        if bare in words:
            rule = f"{name} takes the word without quotes: {bare}"
        elif described.enum_type.name == "LayerType" and event.value != bare:
            rule = (
                f"a block `layers`, the old form, has types like CONVOLUTION; for {event.value} "
                "write `layer`"
            )
        else:
            rule = f"{name} is {_expected(described)}, not {_shortened(event.value)}"
            rule += did_you_mean(bare, words)
        _fail(origin, event.value_position, rule)


def _numbers(enum: EnumDescriptor, value: str) -> bool:
    """Whether `value` is the number of one of the enum's words."""
    return value.isdecimal() and len(value) < 6 and int(value) in enum.values_by_number


def _unknown(name: str, frames: list[_Frame]) -> str:
    """The rule that an unknown name breaks, and what may have been meant."""
    message = frames[-1].message
    block = next((part for part in reversed(frames[-1].path) if not part.isdigit()), "")
    where = f"{block!r} ({message.name})" if block else f"a {message.name}"
    rule = f"{where} has no field {name!r}"
    if len(frames) == 1 and name in OTHER[message.name].fields_by_name:
        return f"{rule}, but a {OTHER[message.name].name} has: is this the right file?"
    for frame in reversed(frames[:-1]):
        if name in frame.message.fields_by_name:
            return f"{rule}; {frame.message.name} has one: is a closing brace missing above?"
    homes = [
        f.name for f in message.fields if f.message_type and name in f.message_type.fields_by_name
    ]
    if homes:
        return f"{rule}; it belongs in {_alternatives(homes)}"
    fork = fork_of(message.name, name)
    if fork:
        return f"{rule}; it is a field of {fork}, which cvgg does not have"
    return rule + did_you_mean(name, message.fields_by_name)


def _alternatives(names: Sequence[str]) -> str:
    """Up to three of the names: "a, b or c"."""
    few = names[:3]
    return few[0] if len(few) == 1 else f"{', '.join(few[:-1])} or {few[-1]}"


def _expected(described: FieldDescriptor) -> str:
    """What the field takes, in words."""
    kind = described.cpp_type
    if kind in INTEGERS:
        least, most = INTEGERS[kind]
        return f"a whole number from {least} to {most}"
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return "text in quotes"
    if kind == FieldDescriptor.CPPTYPE_ENUM and described.enum_type is not None:
        words = list(described.enum_type.values_by_name)
        return f"one of {', '.join(words)}" if len(words) <= LISTED else "a word of a fixed list"
    return "a number"


def _shortened(value: str) -> str:
    return value if len(value) <= 40 else value[:37] + "..."


def _fail(origin: Origin, position: Position, rule: str) -> NoReturn:
    raise PrototxtError(origin.to(*position).message(rule))
