"""Where a kernel file can be broken, and which tests must notice."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "kernels" / "cuda"

TESTS = {
    "conv_simt.cu": ("kernels/test_conv*.py", "layers/test_convolution_relu_pooling.py"),
    "conv_weights_simt.cu": ("kernels/test_conv*.py", "layers/test_convolution_relu_pooling.py"),
    "fc_simt.cu": ("kernels/test_fc*.py",),
    "images.cu": ("kernels/test_images*.py",),
    "loss.cu": ("kernels/test_loss*.py",),
    "lrn.cu": ("kernels/test_lrn*.py",),
    "norm.cu": ("kernels/test_norm*.py",),
    "pointwise.cu": (
        "kernels/test_pointwise*.py",
        "kernels/test_update*.py",
        "kernels/test_convert.py",
    ),
    "pool.cu": ("kernels/test_pool*.py",),
    "update.cu": ("kernels/test_update*.py",),
}  # a header is tested by the tests of every file that includes it
SYNCHRONISATION, COMPARISON, CONSTANT = "synchronisation", "comparison", "constant"
FLIPPED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}

# What is skipped comes first: comments, strings, the preprocessor's lines, launch bounds, sizes of
# arrays in their declarations, names and floating numbers. clang-format puts spaces around a
# comparison and none inside template brackets.
_TOKEN = re.compile(
    r"""//[^\n]* | "[^"\n]*" | ^[ \t]*\#(?:[^\n]*\\\n)*[^\n]* | __launch_bounds__\([^)]*\)
    | ^[ \t]*(?:__shared__[ ])?(?:float|double|int64|typename[ ]\w+::\w+)[ ]\w+(?:\[\w+\])+;
    | \(\*to\)\[68\] | __align__\(\w+\)
    | (?P<sync>(?:__syncthreads|__syncwarp|\w*_wait\w*)\([^;{]*\);)
    | [A-Za-z_]\w* | \d+\.\d*(?:[eE][+-]?\d+)?f?
    | (?P<number>0[xX][0-9a-fA-F]+|\d+)(?P<suffix>[uUlL]*)
    | (?<=[ ])(?P<comparison><=|>=|==|!=|<|>)(?=[ ])""",
    re.VERBOSE | re.MULTILINE,
)


@dataclass(frozen=True)
class Mutant:
    """`old` at `start` of a file's text becomes `new`."""

    name: str  # file and number in it
    file: str
    line: int
    kind: str
    start: int
    old: str
    new: str

    def of(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.start + len(self.old) :]

    def __str__(self) -> str:
        return f"{self.name}  {self.file}:{self.line}  {self.old} -> {self.new or '(nothing)'}"


def mutants(file: Path) -> Iterator[Mutant]:
    """Every mutant of a file, in the order of its text."""
    text = file.read_text(encoding="utf-8")
    number = 0
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        start, old = found.start(), found.group()
        if found["sync"]:
            kind, new = SYNCHRONISATION, ";"
        elif found["comparison"]:
            kind, new = COMPARISON, FLIPPED[old]
        elif found["number"]:
            base = 16 if old[:2].lower() == "0x" else 10
            more = int(found["number"], base) + 1
            kind, new = CONSTANT, (hex(more) if base == 16 else str(more)) + found["suffix"]
        else:
            continue
        number += 1
        line = text.count("\n", 0, start) + 1
        yield Mutant(f"{file.name}-{number:03}", file.name, line, kind, start, old, new)


def sources_of(file: str) -> list[str]:
    """The .cu files that are, or include, `file`."""
    return [name for name in TESTS if file in _included(name)]


def _included(name: str) -> set[str]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return {name}.union(*map(_included, re.findall(r'^#include "(.+)"', text, re.MULTILINE)))
