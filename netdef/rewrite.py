"""Moves fields from one message to another, and the positions along with them."""

from collections.abc import Callable
from dataclasses import replace

from google.protobuf.message import Message

from .origin import Key, Origin, Position


def assign(target: Message, name: str, value: object) -> None:
    """target.name = value, whatever kind of field it is; a repeated field is extended, by one
    element where the value is single."""
    field = getattr(target, name)
    if isinstance(value, Message):
        field.CopyFrom(value)
    elif hasattr(field, "extend"):
        field.extend(value if hasattr(value, "extend") else [value])
    else:
        setattr(target, name, value)


def renamed(origin: Origin, move: Callable[[Key], Key]) -> Origin:
    """The origin with each field's key replaced by move(key).

    A block that only the new form has stands where its first field does.
    """
    fields: dict[Key, Position] = {}
    for old, position in origin.fields.items():
        key = move(old)
        for depth in range(1, len(key)):
            fields.setdefault(key[:depth], position)
        fields.setdefault(key, position)
    return replace(origin, fields=fields)
