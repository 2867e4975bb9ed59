"""The scanner: goes through prototxt once and tells where each field, value and block stands.

It knows strings, comments, braces and lists, but no message: what a field means is schema.py's
matter, and what a value is, text_format's. It refuses text whose brackets or strings do not close.
Source: the text format's specification, protobuf.dev/reference/protobuf/textformat-spec.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, NoReturn

from ..errors import PrototxtError
from .origin import Origin, Position

TOKEN = re.compile(
    r"""(?P<space>(?:\s+|\#[^\n]*)+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>[0-9A-Za-z_.+-]+)
    |(?P<mark>[{}<>\[\]:;,])""",
    re.VERBOSE,
)
CLOSERS = {"{": "}", "<": ">"}


class Kind(Enum):
    """What an event is."""

    OPEN = 1  # a block begins
    CLOSE = 2
    VALUE = 3
    NAME = 4  # of a field that turns out to be malformed: whether it exists matters more


class Event(NamedTuple):
    """One field, or the end of a block. Each element of a list is an event with the list's name."""

    kind: Kind
    name: str
    position: Position  # of the field's name; in a list, of the element behind the first
    value: str = ""  # as written, with its quotes
    value_position: Position = (0, 0)


@dataclass
class _Block:
    name: str
    position: Position
    opener: str
    listed: bool  # an element of a [ ] list


def scan(text: str, origin: Origin) -> Iterator[Event]:
    """Events in the order of the text. Raises PrototxtError; `origin` holds path and lines."""
    tokens = _Tokens(text, origin)
    blocks: list[_Block] = []
    while True:
        if tokens.kind == "end":
            if blocks:
                open_ = blocks[-1]
                closer = CLOSERS[open_.opener]
                tokens.fail(f"{open_.name!r} is not closed: {closer} is missing", open_.position)
            return
        if tokens.text in ("}", ">"):
            yield from _close(tokens, blocks)
        elif tokens.kind == "word":
            yield from _field(tokens, blocks)
        else:
            tokens.fail(f"expected the name of a field, not {tokens.text}")


def _field(tokens: "_Tokens", blocks: list[_Block]) -> Iterator[Event]:
    """The events of a field up to its value or its opening brace."""
    name, position = tokens.text, tokens.position
    tokens.advance()
    colon = tokens.accept(":")
    if tokens.text in CLOSERS:
        yield _open(tokens, blocks, name, position, listed=False)
        return
    listed = tokens.accept("[")
    if listed and tokens.text in CLOSERS:
        yield _open(tokens, blocks, name, position, listed=True)
        return
    if not colon:
        yield Event(Kind.NAME, name, position)
        tokens.fail(f"{name!r} needs a colon and a value, or a block in braces", position)
    if listed:
        while not tokens.accept("]"):
            yield _value(tokens, name, position)
            if tokens.text != "]" and not tokens.accept(","):
                tokens.fail("expected , or ] in the list")
            position = tokens.position
    else:
        yield _value(tokens, name, position)
    tokens.separator()


def _open(
    tokens: "_Tokens", blocks: list[_Block], name: str, position: Position, *, listed: bool
) -> Event:
    blocks.append(_Block(name, position, tokens.text, listed))
    tokens.advance()
    return Event(Kind.OPEN, name, position)


def _close(tokens: "_Tokens", blocks: list[_Block]) -> Iterator[Event]:
    """The end of the innermost block, and in a list the beginning of the next one."""
    if not blocks:
        tokens.fail(f"{tokens.text} closes nothing: no block is open here")
    block = blocks.pop()
    if tokens.text != CLOSERS[block.opener]:
        line, column = block.position
        tokens.fail(
            f"{tokens.text} cannot close {block.name!r}, opened with {block.opener} "
            f"at {line}:{column}"
        )
    yield Event(Kind.CLOSE, block.name, tokens.position)
    tokens.advance()
    if block.listed and not tokens.accept("]"):
        if not tokens.accept(",") or tokens.text not in CLOSERS:
            tokens.fail("expected , and a block, or ], in the list")
        yield _open(tokens, blocks, block.name, tokens.position, listed=True)
    else:
        tokens.separator()


def _value(tokens: "_Tokens", name: str, position: Position) -> Event:
    start, value = tokens.position, tokens.text
    if tokens.kind == "string":
        # Strings behind each other are one, as in C.
        tokens.advance()
        while tokens.kind == "string":
            value += " " + tokens.text
            tokens.advance()
    elif tokens.kind == "word":
        tokens.advance()
    else:
        tokens.fail(f"the value of {name!r} is missing")
    return Event(Kind.VALUE, name, position, value, start)


class _Tokens:
    """The token at hand: kind ("string", "word", "mark", "end"), text and position."""

    def __init__(self, text: str, origin: Origin) -> None:
        self._source, self._origin = text, origin
        self._offset, self._line, self._line_start = 0, 1, 0
        self.kind, self.text, self.position = "end", "", (1, 1)
        self.advance()

    def advance(self) -> None:
        source = self._source
        while True:
            self.position = (self._line, self._offset - self._line_start + 1)
            if self._offset == len(source):
                self.kind, self.text = "end", ""
                return
            match = TOKEN.match(source, self._offset)
            if match is None:
                self._refuse(source[self._offset])
            self._offset = match.end()
            if match.lastgroup != "space":
                self.kind, self.text = match.lastgroup or "", match.group()
                return
            newlines = source.count("\n", match.start(), match.end())
            if newlines:
                self._line += newlines
                self._line_start = source.rindex("\n", match.start(), match.end()) + 1

    def accept(self, mark: str) -> bool:
        """Steps over `mark` if it is the token at hand."""
        if self.kind != "mark" or self.text != mark:
            return False
        self.advance()
        return True

    def separator(self) -> None:
        """A field may end with one comma or semicolon."""
        if not self.accept(","):
            self.accept(";")

    def fail(self, rule: str, position: Position | None = None) -> NoReturn:
        raise PrototxtError(self._origin.to(*(position or self.position)).message(rule))

    def _refuse(self, letter: str) -> NoReturn:
        if letter in "\"'":
            self.fail(f"the string that begins here has no closing {letter} on its line")
        self.fail(f"unexpected character {letter!r}")
