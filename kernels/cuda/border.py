"""Checks at the border of the backend, and what an array's layout comes to.

In an array (outer, c, ...) whose channels or whose cells are one, both layouts are the same memory:
such an array goes with either."""

from math import prod
from typing import Any

from .. import rules
from ..interface import Array
from .driver import DeviceArray


def check(function: str, /, *, dtype: str = "float32", **arrays: Array | None) -> None:
    """Every array is a DeviceArray of `dtype`; None passes. Raises ValueError."""
    for name, array in arrays.items():
        if array is None:
            continue
        if not isinstance(array, DeviceArray) or array.dtype != dtype:
            kind = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{function}: {name} must be a {dtype} array, is {kind}")


def channels_last(function: str, /, **arrays: Array) -> bool:
    """The one layout of all arrays. Raises ValueError if there are two."""
    if any(each.channels_last for each in arrays.values()) and any(
        each.channels_first for each in arrays.values()
    ):
        said = ", ".join(f"{name} {array.layout}" for name, array in arrays.items())
        raise ValueError(f"{function}: layouts must be equal: {said}")
    return any(each.channels_last for each in arrays.values())


def same(function: str, /, **arrays: Array) -> bool:
    """All have one shape and one layout, and each passes `check`: whether channels lie last. Raises
    ValueError."""
    check(function, **arrays)
    rules.equal(function, **arrays)
    return channels_last(function, **arrays)


def has_shape(function: str, shape: tuple[int, ...], /, **arrays: Any) -> None:
    """Every array passes `check` and has this shape; None passes. Raises ValueError."""
    check(function, **arrays)
    rules.shaped(function, shape, **arrays)


def in_order(function: str, /, **arrays: Array | None) -> None:
    """Elements lie in the order of the shape; None passes. Raises ValueError."""
    for name, array in arrays.items():
        if array is not None and channels_last(function, **{name: array}):
            raise ValueError(f"{function}: {name} must be NCHW, is {array.layout}")


def form(x: DeviceArray, *, last: bool) -> tuple[int, int, int]:
    """c, inner and last, as the kernels' Form has them; an array of one axis has one channel."""
    return x.shape[1] if x.ndim > 1 else 1, prod(x.shape[2:]), int(last)
