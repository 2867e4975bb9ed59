"""What transform_param says of images: where they are cut out, mirrored, their mean and scale.

The cut is done where images are decoded, the rest by the kernel transform_forward. Draws depend on
the seed, the layer's name and the image's position in training alone. Source: Caffe's
data_transformer.cpp.
"""

import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvgg.data.images import Colour
from cvgg.errors import DataError, LayerError
from cvgg.kernels.philox import Purpose, hash_name, philox
from cvgg.netdef.caffe_pb2 import TRAIN, TransformationParameter
from cvgg.netdef.caffemodel import read_blob
from cvgg.netdef.shapes import describe

Place: TypeAlias = tuple[int, int, int]  # row and column of the crop, mirrored 0 or 1
Words: TypeAlias = NDArray[np.uint32]

FIELDS = frozenset(
    {"scale", "mirror", "crop_size", "mean_file", "mean_value", "force_color", "force_gray"}
)


@dataclass(frozen=True)
class Cropper:
    """Where each image is cut and whether it is mirrored; `crop` pixels square, 0: all of it."""

    crop: int
    mirror: bool  # Caffe's rule: drawn in TEST as well
    random: bool  # the crop is drawn (TRAIN), or in the centre (TEST)

    @classmethod
    def of(cls, param: TransformationParameter, phase: int) -> "Cropper":
        return cls(param.crop_size, param.mirror, phase == TRAIN)

    @property
    def draws(self) -> bool:
        """Does a place depend on random words?"""
        return self.mirror or (self.random and self.crop > 0)

    def place(self, height: int, width: int, words: Words) -> Place:
        """The place in an image of height x width pixels, at least as large as the crop.

        words: 4 random ones, see `draw`. Word 0 mirrors, word 1 gives the row, word 2 the column.
        """
        mirrored = int(words[0]) >> 31 if self.mirror else 0
        if not self.crop:
            return 0, 0, mirrored
        spare = (height - self.crop, width - self.crop)
        if not self.random:
            return spare[0] // 2, spare[1] // 2, mirrored
        row, column = (int(w) * (s + 1) >> 32 for w, s in zip(words[1:3], spare, strict=True))
        return row, column, mirrored


def draw(positions: NDArray[np.int64], *, layer: str, seed: int) -> Words:
    """Four random words (m,4) for each position of an image in training, counted from 0."""
    words = np.empty((len(positions), 4), np.uint32)
    low, high = positions & 0xFFFFFFFF, positions >> 32
    for part in np.unique(high):
        rows = high == part
        counter = (low[rows].astype(np.uint32), int(part), hash_name(layer), int(Purpose.AUGMENT))
        words[rows] = philox(counter, seed)
    return words


def colour_of(param: TransformationParameter, default: Colour) -> Colour:
    """How encoded images are decoded. Raises LayerError for force_color with force_gray."""
    if param.force_color and param.force_gray:
        raise LayerError("force_color and force_gray exclude each other", field="force_gray")
    if param.force_color:
        return Colour.COLOUR
    return Colour.GREY if param.force_gray else default


def check(param: TransformationParameter) -> None:
    """Raises LayerError for settings that exclude each other."""
    if param.HasField("mean_file") and param.mean_value:
        raise LayerError("mean_file and mean_value exclude each other", field="mean_value")


def read_mean(param: TransformationParameter, channels: int) -> NDArray[np.float32] | None:
    """What is taken off images: (c,H,W) from mean_file, (c,1,1) from mean_value, or None.

    None too if mean_file is not there; the layer's open() says so. Raises LayerError if the counts
    do not fit, DataError for a bad file.
    """
    values = list(param.mean_value)
    if values:
        if len(values) not in (1, channels):
            raise LayerError(
                f"mean_value must be given once or {channels} times (once a channel), "
                f"not {len(values)} times",
                field="mean_value",
            )
        return np.resize(np.array(values, np.float32), channels).reshape(channels, 1, 1)
    if not param.mean_file or not os.path.exists(param.mean_file):
        return None
    blob = read_blob(param.mean_file)
    axes = blob.shape
    shape = axes[1:] if len(axes) == 4 and axes[0] == 1 else axes
    mean = np.frombuffer(blob.data, "<f4").astype(np.float32)
    if len(shape) != 3:
        raise DataError(
            f"{param.mean_file}: a mean image has the shape 1 c h w, not {describe(axes)}"
        )
    if shape[0] != channels:
        raise LayerError(
            f"mean_file {param.mean_file} has {shape[0]} channels, the images have {channels}",
            field="mean_file",
        )
    return mean.reshape(shape)
