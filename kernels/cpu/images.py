"""Images of a database to input of a net: mean, scale, mirror."""

from .. import rules
from ..interface import Array
from ..rules import need
from . import _native
from .border import check


def transform_forward(
    x: Array, place: Array, mean: Array | None, y: Array, *, scale: float
) -> None:
    function = "transform_forward"
    check(function, mean=mean, y=y)
    check(function, dtype="int32", place=place)
    pixel = "uint8" if getattr(x, "dtype", None) == "uint8" else "float32"
    check(function, dtype=pixel, x=x)
    rules.transform(function, x, place, mean, y)
    n, c, h, w = x.shape
    size = (1, 1) if mean is None else mean.shape[1:]
    if mean is not None and size != (1, 1):
        rows, columns = place[:, 0], place[:, 1]
        need(
            function,
            n == 0
            or (
                min(rows.min(), columns.min()) >= 0
                and rows.max() + h <= size[0]
                and columns.max() + w <= size[1]
            ),
            "crops must lie inside the mean image",
            mean=mean.shape,
            crop=(h, w),
        )
    images = _native.Images(n, c, h, w, *size)
    transform = _native.transform_bytes if pixel == "uint8" else _native.transform_floats
    transform(x, place, mean, y, images, scale)
