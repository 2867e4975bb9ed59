"""A blob: a named pair of arrays, `data` and `diff`, of one shape."""

from dataclasses import dataclass

from cvgg.kernels.interface import Array
from cvgg.netdef.shapes import Shape


@dataclass(slots=True)
class Blob:
    """`data` holds the values, `diff` d(loss)/d(values), or None where nothing asks for it."""

    name: str
    shape: Shape
    data: Array
    diff: Array | None = None
