"""A blob seen around some of its axes: what lies before, the axes themselves, what lies behind."""

from typing import TypeAlias

from cvgg.kernels.interface import Array
from cvgg.netdef.shapes import Shape, count

Around: TypeAlias = tuple[int, int, int]  # elements (before, of the axes, behind)


def around(shape: Shape, start: int, stop: int | None = None) -> Around:
    """`shape` as three axes; the middle one is start .. stop - 1, by default `start` alone."""
    stop = start + 1 if stop is None else stop
    return count(shape[:start]), count(shape[start:stop]), count(shape[stop:])


def by_axis(axis: int) -> str:
    """The layout (Layer.layout) of a layer that works along one axis: with channels last in memory
    a blob can be seen around axis 1, and around no other."""
    return "any" if axis == 1 else "rows"


def shaped(array: Array, *form: int) -> Array:
    """The same memory in another shape."""
    return array.reshape(form)
