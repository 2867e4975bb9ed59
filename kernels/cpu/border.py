"""Checks at the border of the backend: numpy would broadcast or copy where a caller is mistaken."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import rules
from ..interface import Array
from ..rules import need

__all__ = ["check", "has_shape", "need", "same", "unwarned"]

F = TypeVar("F", bound=Callable[..., Any])


def unwarned(function: F) -> F:
    """numpy says nothing of infinities and NaN inside: a net that diverges is found by its loss."""
    quiet: Callable[[F], F] = np.errstate(all="ignore")
    return quiet(function)


def check(function: str, /, *, dtype: str = "float32", **arrays: Array | None) -> None:
    """Every array is a C-contiguous numpy array of `dtype`; None passes. Raises ValueError."""
    for name, array in arrays.items():
        if array is None:
            continue
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            kind = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{function}: {name} must be a {dtype} array, is {kind}")
        if not array.flags.c_contiguous:
            raise ValueError(
                f"{function}: {name} must be C-contiguous, has strides {array.strides} for shape "
                f"{array.shape}"
            )


def same(function: str, /, **arrays: Array) -> None:
    """All have one shape, and each passes `check`. Raises ValueError."""
    check(function, **arrays)
    rules.equal(function, **arrays)


def has_shape(function: str, shape: tuple[int, ...], /, **arrays: Any) -> None:
    """Every array passes `check` and has this shape; None passes. Raises ValueError."""
    check(function, **arrays)
    rules.shaped(function, shape, **arrays)
