"""Fillers: the first values of a param, the same on every machine for one seed.

Source of the distributions: Caffe filler.hpp; xavier: Glorot and Bengio 2010; msra: He et al. 2015.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvgg.errors import LayerError
from cvgg.kernels.philox import Purpose, hash_name, philox
from cvgg.netdef.caffe_pb2 import FillerParameter
from cvgg.netdef.origin import did_you_mean
from cvgg.netdef.shapes import Shape, count, describe

Floats: TypeAlias = NDArray[np.float32]

CHUNK = 1 << 14  # counters drawn at a time: their words stay in the cache
NOT_SPARSE = -1  # the default of `sparse`


@dataclass(frozen=True)
class Draws:
    """Random numbers of one param. Number i of one kind does not depend on how many are drawn."""

    seed: int
    layer: int  # hash_name of the layer's name
    purpose: int

    def uniform(self, values: Floats) -> None:
        """Numbers between 0 and 1 for all of `values`."""
        self._in_chunks(values, 0, lambda u: u)

    def normal(self, values: Floats) -> None:
        """Numbers of mean 0 and deviation 1, as kernels.philox.normal makes them."""
        self._in_chunks(values, 0, _box_muller)

    def keep(self, values: Floats, probability: float) -> None:
        """Zeros all but a part of `values`, independent of the numbers above."""
        chosen = np.empty_like(values)
        self._in_chunks(chosen, 1, lambda u: u)
        values *= chosen <= probability

    def _in_chunks(
        self,
        values: Floats,
        draw: int,
        form: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> None:
        numbers = values.reshape(-1)  # a view: params are contiguous
        for first in range(0, numbers.size, 4 * CHUNK):
            counters = np.arange(CHUNK, dtype=np.uint32) + np.uint32(first // 4)
            words = philox((counters, draw, self.layer, self.purpose), self.seed)
            part = numbers[first : first + 4 * CHUNK]
            uniform = (words.reshape(-1).astype(np.float64) + 0.5) / 2.0**32
            part[:] = form(uniform)[: len(part)]


def _box_muller(u: NDArray[np.float64]) -> NDArray[np.float64]:
    radius, angle = np.sqrt(-2.0 * np.log(u[0::2])), 2.0 * np.pi * u[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def fill(filler: FillerParameter, values: Floats, *, seed: int, layer: str, index: int) -> None:
    """Writes param number `index` of `layer` into `values`, contiguous. Raises LayerError as
    `checked` does."""
    checked(filler, values.shape, "filler")
    draws = Draws(seed, hash_name(layer), Purpose.FILLER + index)
    _FILLERS[filler.type](filler, values, draws)


def checked(filler: FillerParameter, shape: Shape, field: str) -> tuple[Shape, FillerParameter]:
    """(shape, filler), if the filler can fill that shape; `field` is its name in the spec.

    Raises LayerError.
    """
    if filler.type not in _FILLERS:
        raise LayerError(
            f"{field} type {filler.type!r} is no filler"
            f"{did_you_mean(filler.type, _FILLERS)}; the fillers are {', '.join(_FILLERS)}",
            field=f"{field}.type",
        )
    if filler.sparse != NOT_SPARSE and filler.type != "gaussian":
        raise LayerError(f"{field}: sparse is for type gaussian only", field=f"{field}.sparse")
    if filler.sparse < NOT_SPARSE:
        raise LayerError(
            f"{field}: sparse must be 0 or more, is {filler.sparse}", field=f"{field}.sparse"
        )
    if not shape and (filler.type in _BY_FAN or filler.sparse != NOT_SPARSE):
        raise LayerError(f"{field} {filler.type} needs at least one axis", field=f"{field}.type")
    if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise LayerError(
            f"{field} bilinear needs a square window in 4 axes, has {describe(shape)}",
            field=f"{field}.type",
        )
    return shape, filler


def _constant(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    values.fill(filler.value)


def _uniform(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    """Between min and max."""
    draws.uniform(values)
    _stretch(values, filler.min, filler.max)


def _gaussian(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    """mean and std; with `sparse`, about that many inputs of each output are not 0."""
    draws.normal(values)
    values *= np.float32(filler.std)
    values += np.float32(filler.mean)
    if filler.sparse != NOT_SPARSE:
        draws.keep(values, filler.sparse / values.shape[0])


def _positive_unitball(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    """What belongs to one output is positive and sums to 1."""
    draws.uniform(values)
    for row in values.reshape(values.shape[0], -1):
        row /= row.sum(dtype=np.float64)


def _xavier(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    """Uniform, variance 1/n."""
    limit = sqrt(3.0 / _fan(filler, values.shape))
    draws.uniform(values)
    _stretch(values, -limit, limit)


def _msra(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    """Gaussian, variance 2/n."""
    draws.normal(values)
    values *= np.float32(sqrt(2.0 / _fan(filler, values.shape)))


def _bilinear(filler: FillerParameter, values: Floats, draws: Draws) -> None:
    """Each window a tent: what enlarges an image by interpolation in a Deconvolution."""
    size = values.shape[3]
    steps = (size + 1) // 2
    centre = (size - 1) / (2.0 * steps)
    side = 1 - np.abs(np.arange(size) / steps - centre)
    values[...] = np.outer(side, side)


def _stretch(values: Floats, low: float, high: float) -> None:
    """From 0 .. 1 to low .. high."""
    values *= np.float32(high - low)
    values += np.float32(low)


def _fan(filler: FillerParameter, shape: Shape) -> float:
    """The n of xavier and msra: elements for each output, for each input, or the mean of both."""
    fan_in = count(shape) / shape[0]
    fan_out = count(shape) / shape[1] if len(shape) > 1 else float(count(shape))
    return {
        FillerParameter.FAN_IN: fan_in,
        FillerParameter.FAN_OUT: fan_out,
        FillerParameter.AVERAGE: (fan_in + fan_out) / 2,
    }[filler.variance_norm]


_FILLERS: Mapping[str, Callable[[FillerParameter, Floats, Draws], None]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
_BY_FAN = frozenset({"positive_unitball", "xavier", "msra"})  # they look at single axes
