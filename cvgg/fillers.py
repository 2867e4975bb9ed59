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

    def uniform(self, size: int, draw: int = 0) -> Floats:
        """`size` numbers between 0 and 1."""
        return self._in_chunks(size, draw, lambda u: u)

    def normal(self, size: int) -> Floats:
        """`size` numbers of mean 0 and deviation 1, as kernels.philox.normal makes them."""
        return self._in_chunks(size, 0, _box_muller)

    def keep(self, size: int, probability: float) -> NDArray[np.bool_]:
        """`size` times true with `probability`, independent of the numbers above."""
        return self.uniform(size, draw=1) <= probability

    def _in_chunks(
        self,
        size: int,
        draw: int,
        form: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> Floats:
        numbers = np.empty(size, np.float32)
        for first in range(0, size, 4 * CHUNK):
            counters = np.arange(CHUNK, dtype=np.uint32) + np.uint32(first // 4)
            words = philox((counters, draw, self.layer, self.purpose), self.seed)
            part = numbers[first : first + 4 * CHUNK]
            uniform = (words.reshape(-1).astype(np.float64) + 0.5) / 2.0**32
            part[:] = form(uniform)[: len(part)]
        return numbers


def _box_muller(u: NDArray[np.float64]) -> NDArray[np.float64]:
    radius, angle = np.sqrt(-2.0 * np.log(u[0::2])), 2.0 * np.pi * u[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def fill(filler: FillerParameter, shape: Shape, *, seed: int, layer: str, index: int) -> Floats:
    """The values of param number `index` of `layer`. Raises LayerError as `checked` does."""
    checked(filler, shape, "filler")
    draws = Draws(seed, hash_name(layer), Purpose.FILLER + index)
    return _FILLERS[filler.type](filler, shape, draws).reshape(shape)


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


def _constant(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    return np.full(shape, filler.value, np.float32)


def _uniform(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    """Between min and max."""
    return _between(filler.min, filler.max, draws.uniform(count(shape)))


def _gaussian(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    """mean and std; with `sparse`, about that many inputs of each output are not 0."""
    values = draws.normal(count(shape))
    values *= np.float32(filler.std)
    values += np.float32(filler.mean)
    if filler.sparse != NOT_SPARSE:
        values *= draws.keep(values.size, filler.sparse / shape[0])
    return values


def _positive_unitball(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    """What belongs to one output is positive and sums to 1."""
    rows = draws.uniform(count(shape)).reshape(shape[0], -1)
    total = rows.sum(axis=1, keepdims=True, dtype=np.float64)
    values: Floats = (rows / total).astype(np.float32)
    return values


def _xavier(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    """Uniform, variance 1/n."""
    limit = sqrt(3.0 / _fan(filler, shape))
    return _between(-limit, limit, draws.uniform(count(shape)))


def _msra(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    """Gaussian, variance 2/n."""
    values = draws.normal(count(shape))
    values *= np.float32(sqrt(2.0 / _fan(filler, shape)))
    return values


def _bilinear(filler: FillerParameter, shape: Shape, draws: Draws) -> Floats:
    """Each window a tent: what enlarges an image by interpolation in a Deconvolution."""
    size = shape[3]
    steps = (size + 1) // 2
    centre = (size - 1) / (2.0 * steps)
    side = 1 - np.abs(np.arange(size) / steps - centre)
    return np.broadcast_to(np.outer(side, side), shape).astype(np.float32)


def _between(low: float, high: float, u: Floats) -> Floats:
    """u in (0, 1) stretched to low .. high, in place."""
    u *= np.float32(high - low)
    u += np.float32(low)
    return u


def _fan(filler: FillerParameter, shape: Shape) -> float:
    """The n of xavier and msra: elements for each output, for each input, or the mean of both."""
    fan_in = count(shape) / shape[0]
    fan_out = count(shape) / shape[1] if len(shape) > 1 else float(count(shape))
    return {
        FillerParameter.FAN_IN: fan_in,
        FillerParameter.FAN_OUT: fan_out,
        FillerParameter.AVERAGE: (fan_in + fan_out) / 2,
    }[filler.variance_norm]


_FILLERS: Mapping[str, Callable[[FillerParameter, Shape, Draws], Floats]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
_BY_FAN = frozenset({"positive_unitball", "xavier", "msra"})  # they look at single axes
