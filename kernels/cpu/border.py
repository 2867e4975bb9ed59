"""Checks at the border of the backend: numpy would broadcast or copy where a caller is mistaken."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..interface import Array

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
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{function}: shapes must be equal: {_list(shapes)}")


def has_shape(function: str, shape: tuple[int, ...], /, **arrays: Any) -> None:
    """Every array passes `check` and has this shape; None passes. Raises ValueError."""
    for name, array in arrays.items():
        check(function, **{name: array})
        if array is not None:
            need(function, array.shape == shape, f"{name} must be {shape}", **{name: array.shape})


def need(function: str, holds: object, rule: str, **values: Any) -> None:
    """Raises ValueError with the rule and the values unless it holds."""
    if not holds:
        raise ValueError(f"{function}: {rule}: {_list(values)}")


def _list(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
