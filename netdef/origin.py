"""Where a thing stands in its prototxt, so that an error can show it: FILE:LINE:COLUMN, the line
and a caret."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

Position = tuple[int, int]  # (line, column), both from 1; columns count characters
Key = tuple[str, ...]  # names of nested fields; behind a name "1" is its second occurrence, ...

SHOWN = 100  # characters of a source line that an excerpt shows


@dataclass(frozen=True)
class Origin:
    """A block of a prototxt. Line 0: the position is unknown, or it is the file itself.

    path: the file, "<text>", or "<message>" for a net made in Python.
    fields: the position of each field inside the block; the first occurrence has a key of names
    only ("pooling_param", "kernel_size"), later ones carry their index ("bottom", "1").
    """

    path: str
    line: int = 0
    column: int = 0
    fields: Mapping[Key, Position] = field(default_factory=dict, repr=False, compare=False)
    lines: Sequence[str] = field(default=(), repr=False, compare=False)

    def at(self, *names: str | int) -> "Origin":
        """The field of that path, a number behind a name being its index: at("bottom", 1).

        What is not written falls back to the innermost block that is, in the end to this one.
        """
        key = tuple(str(name) for name in names if name != 0)
        while key and key not in self.fields:
            key = key[:-1]
        if not key:
            return self
        depth = len(key)
        inside = {
            path[depth:]: position
            for path, position in self.fields.items()
            if len(path) > depth and path[:depth] == key and not path[depth].isdigit()
        }
        return replace(self.to(*self.fields[key]), fields=inside)

    def blocks(self, name: str) -> tuple["Origin", ...]:
        """The origins of all fields `name` directly inside this block, in order."""
        starts: list[Position] = []
        inside: list[dict[Key, Position]] = []
        for key, position in self.fields.items():
            if key[0] != name:
                continue
            later = len(key) > 1 and key[1].isdigit()
            path = key[2:] if later else key[1:]
            if path:
                inside[int(key[1]) if later else 0][path] = position
            else:
                starts.append(position)
                inside.append({})
        return tuple(
            replace(self.to(*start), fields=fields)
            for start, fields in zip(starts, inside, strict=True)
        )

    def to(self, line: int, column: int) -> "Origin":
        """Another place in the same file."""
        return replace(self, line=line, column=column, fields={})

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path

    def excerpt(self) -> str:
        """The source line with a caret line below it, or "" if it is unknown."""
        if not 0 < self.line <= len(self.lines):
            return ""
        text = self.lines[self.line - 1]
        start = max(0, self.column - 1 - SHOWN * 6 // 10)
        shown = text[start : start + SHOWN].rstrip()
        before = text[start : self.column - 1]
        caret = "".join("\t" if letter == "\t" else " " for letter in before) + "^"
        # What a terminal would obey, not show, must not reach it.
        safe = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
        return f"{safe}\n{caret}"

    def message(self, rule: str) -> str:
        """An error's text: "FILE:LINE:COLUMN: rule", then the excerpt on two lines of its own."""
        excerpt = self.excerpt()
        return f"{self}: {rule}" + (f"\n{excerpt}" if excerpt else "")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """'; did you mean "conv1"?', or "" if no choice is near. Upper and lower case are the same."""
    spelled = {choice.lower(): choice for choice in choices}
    near = get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f'; did you mean "{spelled[near[0]]}"?' if near else ""
