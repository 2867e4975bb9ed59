"""How an image file becomes the input of a net: resized, its centre cut out, less a mean, scaled.

The order is Caffe's: (pixels - mean) * scale, channels B G R. Source: data_transformer.cpp.
"""

import argparse
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvgg.data.convert import short_side
from cvgg.data.images import Colour, Scratch, decode_part
from cvgg.data.transform import read_mean
from cvgg.errors import DataError, LayerError, MissingInputError, UsageError
from cvgg.netdef.caffe_pb2 import TransformationParameter

if TYPE_CHECKING:
    from cvgg.net import Net

log = logging.getLogger("cvgg")


@dataclass(frozen=True)
class Preparation:
    """shape: (c,h,w) of the net's input. short_side: pixels of the shorter side before the cut;
    None: the image is made as small as fills the input. mean: (c,h,w) or (c,1,1)."""

    shape: tuple[int, int, int]
    short_side: int | None
    mean: NDArray[np.float32] | None
    scale: float

    def fill(
        self, out: NDArray[np.float32], data: bytes | memoryview, source: str, scratch: Scratch
    ) -> None:
        """Makes `out`, the input (c,h,w), from an image file's content. Raises DataError that
        starts with `source`."""
        c, h, w = self.shape
        colour = Colour.GREY if c == 1 else Colour.COLOUR

        def where(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
            size = self.size(height, width)
            return size, _middle(size, (h, w))

        pixels = decode_part(data, source, colour, where=where, part=(h, w), scratch=scratch)
        np.subtract(pixels, 0.0 if self.mean is None else self.mean, out=out)
        if self.scale != 1.0:
            out *= np.float32(self.scale)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the cut, for an image of this height and width."""
        _, h, w = self.shape
        if self.short_side is not None:
            return short_side(self.short_side)(height, width)
        if h * width > w * height:  # the height decides
            return h, max(w, width * h // height)
        return max(h, height * w // width), w


def _middle(whole: tuple[int, int], part: tuple[int, int]) -> tuple[int, int]:
    """Row and column where the middle `part` of `whole` begins, as Caffe's TEST phase cuts."""
    return (whole[0] - part[0]) // 2, (whole[1] - part[1]) // 2


def prepare_for(net: "Net", args: argparse.Namespace) -> Preparation:
    """What --mean, --mean-file, --scale and --short-side ask for. Raises UsageError, DataError or
    MissingInputError if they do not fit the net."""
    if len(net.inputs) != 1:
        raise UsageError(
            f"{args.model}: predict needs a deploy net with one Input blob; this one has "
            f"{', '.join(net.inputs) or 'none'}"
        )
    shape = net.plan.blobs[net.plan.names[net.inputs[0]]].shape
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UsageError(
            f"{args.model}: predict needs an input of images with 1 or 3 channels; "
            f"{net.inputs[0]!r} has the shape {' '.join(map(str, shape))}"
        )
    _, c, h, w = shape
    if args.short_side is not None and args.short_side < max(h, w):
        raise UsageError(f"--short-side {args.short_side}: the net's input has {h} x {w} pixels")
    if args.mean is None and args.mean_file is None:
        log.warning(
            "No --mean and no --mean-file: pixels from 0 to 255 go in as they are. A net that was "
            "trained with a mean goes wrong without it (VGG: --mean 103.939,116.779,123.68)"
        )
    return Preparation((c, h, w), args.short_side, _mean(args, (c, h, w)), args.scale)


def _mean(args: argparse.Namespace, shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
    """What is taken off: (c,1,1), or the centre (c,h,w) of a mean image."""
    c, h, w = shape
    if args.mean is not None:
        if len(args.mean) not in (1, c):
            raise UsageError(f"--mean: {len(args.mean)} numbers for {c} channels; give 1 or {c}")
        return np.resize(np.array(args.mean, np.float32), c).reshape(c, 1, 1)
    if args.mean_file is None:
        return None
    try:
        mean = read_mean(TransformationParameter(mean_file=args.mean_file), c)
    except LayerError as fault:
        raise DataError(str(fault)) from fault
    if mean is None:
        raise MissingInputError(f"--mean-file {args.mean_file}: no such file")
    if mean.shape[1] < h or mean.shape[2] < w:
        raise DataError(
            f"{args.mean_file}: a mean image of {mean.shape[1]} x {mean.shape[2]} pixels is "
            f"smaller than the net's input, {h} x {w}"
        )
    row, column = _middle((mean.shape[1], mean.shape[2]), (h, w))
    return mean[:, row : row + h, column : column + w]
