"""Shape rules that every backend checks, each with its one message. All raise ValueError: function,
rule, values.

A rule takes the function's name and its arrays: anything with `shape`. That they are arrays of the
backend, of the right dtype, is checked before, by the backend."""

from collections.abc import Sequence
from typing import Any

from .interface import Array, Pair, Segment, State


def need(function: str, holds: object, rule: str, **values: Any) -> None:
    """Raises ValueError with the rule and the values unless it holds."""
    if not holds:
        raise ValueError(f"{function}: {rule}: {_list(values)}")


def equal(function: str, /, **arrays: Array) -> None:
    """All have one shape."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{function}: shapes must be equal: {_list(shapes)}")


def shaped(function: str, shape: tuple[int, ...], /, **arrays: Array | None) -> None:
    """Every array has this shape; None passes."""
    for name, array in arrays.items():
        if array is not None:
            need(function, array.shape == shape, f"{name} must be {shape}", **{name: array.shape})


def argmax(function: str, given: Array, /, **like: Array) -> None:
    """argmax has the shape of y, or of dy."""
    ((name, array),) = like.items()
    rule = f"argmax must have {name}'s shape"
    need(function, given.shape == array.shape, rule, argmax=given.shape)


# ---- pointwise
def dropout(function: str, state: Array, ratio: float) -> None:
    need(function, state.shape == (State.SLOTS,), "state must have its slots", state=state.shape)
    need(function, 0 <= ratio < 1, "ratio must be at least 0 and below 1", ratio=ratio)


def concat(function: str, part: Array, whole: Array, at: int) -> None:
    """part (outer, c, inner)  whole (outer, total, inner)."""
    need(
        function,
        part.ndim == whole.ndim == 3
        and part.shape[::2] == whole.shape[::2]
        and 0 <= at <= at + part.shape[1] <= whole.shape[1],
        "the part must lie inside the whole",
        part=part.shape,
        whole=whole.shape,
        at=at,
    )


def inputs(function: str, xs: Sequence[Array]) -> None:
    need(function, len(xs) > 0, "at least one input", inputs=len(xs))


def coefficients(function: str, xs: Sequence[Array], coeff: Sequence[float]) -> None:
    need(function, len(coeff) == len(xs), "one coeff for each x", coeff=coeff)


def input_index(function: str, xs: Sequence[Array], index: int) -> None:
    need(function, 0 <= index < len(xs), "index must be an input", index=index)


def eltwise_max(function: str, xs: Sequence[Array], y: Array, given: Array) -> None:
    need(function, len(xs) > 1, "at least two inputs", inputs=len(xs))
    need(function, given.shape == y.shape, "argmax must have y's shape", y=y.shape)


# ---- by channel
def by_channel(function: str, x: Array, /, **of_channels: Array | None) -> None:
    """x (n, c, inner), the others (c) or None."""
    for name, array in of_channels.items():
        need(
            function,
            x.ndim == 3 and (array is None or array.shape == (x.shape[1],)),
            f"x must be (n, c, inner) and {name} (c,)",
            x=x.shape,
            **{name: array is not None and array.shape},
        )


# ---- softmax and what follows it
def softmax(function: str, /, **x: Array) -> None:
    """The one array is (outer, c, inner)."""
    ((name, array),) = x.items()
    rule = f"{name} must be (outer, c, inner)"
    need(function, array.ndim == 3, rule, **{name: array.shape})


def labelled(function: str, x: Array, label: Array) -> None:
    need(
        function,
        x.ndim == 3 and label.shape == (x.shape[0], x.shape[2]),
        "x must be (outer, c, inner) and label (outer, inner)",
        x=x.shape,
        label=label.shape,
    )


def top_k(function: str, x: Array, given: int) -> None:
    need(function, 1 <= given <= x.shape[1], "top_k must be 1 to c", top_k=given, c=x.shape[1])


def per_class(function: str, x: Array, y: Array) -> None:
    need(function, y.shape == (x.shape[1],), "y must be (c,)", y=y.shape)


# ---- images and the update
def transform(function: str, x: Array, place: Array, mean: Array | None, y: Array) -> None:
    need(
        function,
        x.ndim == 4 and x.shape == y.shape and place.shape == (x.shape[0], 3),
        "x and y must be (n,c,h,w) and place (n,3)",
        x=x.shape,
        y=y.shape,
        place=place.shape,
    )
    if mean is not None:
        fits = mean.ndim == 3 and mean.shape[0] == x.shape[1]
        need(function, fits, "mean must be (c,H,W)", mean=mean.shape)


def segments(function: str, w: Array, given: Sequence[Segment]) -> None:
    for each in given:
        need(function, 0 <= each.start <= each.stop <= w.size, "outside w", segment=each)


# ---- windows
def pooling(function: str, window: Pair, stride: Pair, /, **planes: Array) -> None:
    """Two arrays: (n, c, h, w), and (n, c, p, q) of its windows."""
    (name, x), (pooled, y) = planes.items()
    need(
        function,
        x.ndim == y.ndim == 4 and x.shape[:2] == y.shape[:2],
        f"{name} and {pooled} must be (n, c, h, w) and (n, c, p, q)",
        **{name: x.shape, pooled: y.shape},
    )
    need(function, min(*window, *stride) > 0, "window and stride must be above 0", window=window)


def lrn(function: str, x: Array, size: int) -> None:
    need(function, x.ndim == 4, "x must be (n, c, h, w)", x=x.shape)
    need(function, size > 0 and size % 2, "size must be odd", size=size)


def _list(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
