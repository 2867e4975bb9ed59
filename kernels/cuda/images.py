"""Images of a database to input of a net: mean, scale, mirror, and the net's layout."""

from .. import rules
from ..interface import Array
from .border import channels_last, check, in_order
from .launch import Launcher


class ImageKernels(Launcher):
    """Images come as they are read, NCHW; place stays on the device, unread by the host."""

    def transform_forward(
        self, x: Array, place: Array, mean: Array | None, y: Array, *, scale: float
    ) -> None:
        """As in the interface; pixels of a crop that lies outside the mean image are NaN."""
        function = "transform_forward"
        check(function, mean=mean, y=y)
        check(function, dtype="int32", place=place)
        pixel = "uint8" if getattr(x, "dtype", None) == "uint8" else "float32"
        check(function, dtype=pixel, x=x)
        rules.transform(function, x, place, mean, y)
        in_order(function, x=x, mean=mean)
        size = (1, 1) if mean is None else mean.shape[1:]
        last = channels_last(function, y=y)
        self.launch(
            f"{function}_{pixel}", self.blocks(y.size),
            x, place, mean, y, *y.shape[1:], *size, int(last), scale, y.size,
        )  # fmt: skip
