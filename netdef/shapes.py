"""Shapes, and the one place with the arithmetic of sliding windows: convolution rounds down,
pooling up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import ShapeError
from .caffe_pb2 import ConvolutionParameter, PoolingParameter

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]  # (height, width)

LARGEST = 2**31 - 1  # elements of one blob: kernels index with 32 bits


def count(shape: Sequence[int]) -> int:
    """Number of elements; 1 for a scalar. Raises ShapeError above 2**31 - 1."""
    product = 1
    for length in shape:
        product *= length
    if product > LARGEST:
        raise ShapeError(
            f"a blob of shape {describe(shape)} has {product} elements; the most is {LARGEST}"
        )
    return product


def describe(shape: Sequence[int]) -> str:
    """ "64 3 32 32", or "scalar"."""
    return " ".join(map(str, shape)) or "scalar"


def canonical_axis(axis: int, ndim: int, *, field: str = "axis") -> int:
    """The axis counted from the front; negative ones count from the end."""
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{field} {axis} is outside a blob of {ndim} axes", field=field)
    return axis % ndim


@dataclass(frozen=True)
class Window:
    """A window that slides over the plane: pixels, (height, width)."""

    size: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @classmethod
    def of_convolution(cls, param: ConvolutionParameter) -> "Window":
        """The window of a 2-D convolution, from the short (kernel_size) or the long (kernel_h,
        kernel_w) form."""
        size = _pair(param, "kernel_size", "kernel_h", "kernel_w", default=None)
        stride = _pair(param, "stride", "stride_h", "stride_w", default=1)
        pad = _pair(param, "pad", "pad_h", "pad_w", default=0)
        dilation = _repeated(list(param.dilation), "dilation", default=1)
        return cls._checked(size, stride, pad, dilation)

    @classmethod
    def of_pooling(cls, param: PoolingParameter, plane: Pair) -> "Window":
        """The window of a pooling layer over a `plane` of (height, width); global_pooling takes all
        of it."""
        if param.global_pooling:
            for field in ("kernel_size", "kernel_h", "kernel_w"):
                if param.HasField(field):
                    raise ShapeError(
                        f"global_pooling takes the whole plane; remove {field}", field=field
                    )
            window = cls._checked(
                plane,
                _pair(param, "stride", "stride_h", "stride_w", default=1),
                _pair(param, "pad", "pad_h", "pad_w", default=0),
            )
            if window.stride != (1, 1) or window.pad != (0, 0):
                raise ShapeError(
                    f"global_pooling needs pad 0 and stride 1, has pad {describe(window.pad)} and "
                    f"stride {describe(window.stride)}",
                    field="global_pooling",
                )
            return window
        window = cls._checked(
            _pair(param, "kernel_size", "kernel_h", "kernel_w", default=None),
            _pair(param, "stride", "stride_h", "stride_w", default=1),
            _pair(param, "pad", "pad_h", "pad_w", default=0),
        )
        for pad, size in zip(window.pad, window.size, strict=True):
            if pad >= size:
                raise ShapeError(f"pad {pad} must be less than kernel_size {size}", field="pad")
        return window

    @classmethod
    def _checked(cls, size: Pair, stride: Pair, pad: Pair, dilation: Pair = (1, 1)) -> "Window":
        named = {"kernel_size": size, "stride": stride, "dilation": dilation}
        for field, pair in named.items():
            if min(pair) < 1:
                raise ShapeError(f"{field} must be above 0, is {describe(pair)}", field=field)
        return cls(size, stride, pad, dilation)

    @property
    def extent(self) -> Pair:
        """Pixels from the first to the last cell of the window, both included."""
        h, w = (d * (s - 1) + 1 for d, s in zip(self.dilation, self.size, strict=True))
        return h, w

    def conv_out(self, plane: Pair) -> Pair:
        """(height, width) of a convolution's output: rounded down."""
        h, w = (
            (length + 2 * pad - extent) // stride + 1
            for length, pad, extent, stride in zip(
                plane, self.pad, self.extent, self.stride, strict=True
            )
        )
        self._check_fits(plane, (h, w))
        return h, w

    def pool_out(self, plane: Pair, *, round_mode: int = PoolingParameter.CEIL) -> Pair:
        """(height, width) of a pooling's output: rounded up, and a padded window that starts behind
        the image is dropped. Source: Caffe pooling_layer.cpp."""
        lengths = []
        for length, pad, extent, stride in zip(
            plane, self.pad, self.extent, self.stride, strict=True
        ):
            span = length + 2 * pad - extent
            steps = span // stride if round_mode == PoolingParameter.FLOOR else -(-span // stride)
            if pad and steps * stride >= length + pad:
                steps -= 1
            lengths.append(steps + 1 if span >= 0 else 0)
        h, w = lengths
        self._check_fits(plane, (h, w))
        return h, w

    def _check_fits(self, plane: Pair, out: Pair) -> None:
        if min(out) < 1:
            raise ShapeError(
                f"a window of {describe(self.extent)} does not fit a plane of "
                f"{describe(plane)} with pad {describe(self.pad)}; make the image "
                "larger or the window smaller",
                field="kernel_size",
            )


def _pair(
    param: ConvolutionParameter | PoolingParameter,
    both: str,
    high: str,
    wide: str,
    *,
    default: int | None,
) -> Pair:
    """One of the two forms: `both` (once, or for convolution once an axis), or `high` and
    `wide`."""
    written = getattr(param, both)
    short = list(written) if not isinstance(written, int) else [written] * param.HasField(both)  # type: ignore[arg-type]
    long = [param.HasField(field) for field in (high, wide)]  # type: ignore[arg-type]
    if any(long):
        if short:
            raise ShapeError(f"write {both} or {high} and {wide}, not both", field=both)
        if default is None and not all(long):
            raise ShapeError(f"write both {high} and {wide}", field=high if long[0] else wide)
        fallback = default or 0
        return (
            getattr(param, high) if long[0] else fallback,
            getattr(param, wide) if long[1] else fallback,
        )
    return _repeated(short, both, default=default)


def _repeated(values: list[int], field: str, *, default: int | None) -> Pair:
    if not values and default is None:
        raise ShapeError(f"{field} is missing", field=field)
    if len(values) > 2:
        raise ShapeError(
            f"{field} has {len(values)} values; a 2-D window takes 1 or 2", field=field
        )
    values = values or [default or 0]
    return values[0], values[-1]
