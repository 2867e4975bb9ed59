"""Images of a database to input of a net: mean, scale, mirror."""

from ..interface import Array
from . import _native
from .border import check, need


def transform_forward(
    x: Array, place: Array, mean: Array | None, y: Array, *, scale: float
) -> None:
    function = "transform_forward"
    check(function, mean=mean, y=y)
    check(function, dtype="int32", place=place)
    pixel = "uint8" if getattr(x, "dtype", None) == "uint8" else "float32"
    check(function, dtype=pixel, x=x)
    need(
        function,
        x.ndim == 4 and x.shape == y.shape and place.shape == (x.shape[0], 3),
        "x and y must be (n,c,h,w) and place (n,3)",
        x=x.shape,
        y=y.shape,
        place=place.shape,
    )
    n, c, h, w = x.shape
    size = (1, 1) if mean is None else mean.shape[1:]
    if mean is not None:
        need(
            function, mean.ndim == 3 and mean.shape[0] == c, "mean must be (c,H,W)", mean=mean.shape
        )
        if size != (1, 1):
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
