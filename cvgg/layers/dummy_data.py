"""DummyData: tops filled with a constant or with random numbers, for tests and timing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from cvgg.errors import LayerError
from cvgg.kernels.interface import Kernels
from cvgg.kernels.philox import Purpose, hash_name, normal, uniform
from cvgg.layers.base import Blobs, Own, Pass, Setting, SourceLayer
from cvgg.layers.input import checked
from cvgg.netdef.caffe_pb2 import DummyDataParameter, FillerParameter, LayerParameter
from cvgg.netdef.shapes import Shape, count

Item = TypeVar("Item")
Draw: TypeAlias = Callable[[FillerParameter, int, int, int, int], NDArray[np.float64]]


def _uniform(
    filler: FillerParameter, size: int, draw: int, layer: int, seed: int
) -> NDArray[np.float64]:
    low, high = filler.min, filler.max
    u = uniform(size, draw=draw, layer=layer, purpose=Purpose.DUMMY_DATA, seed=seed)
    return low + (high - low) * u


def _gaussian(
    filler: FillerParameter, size: int, draw: int, layer: int, seed: int
) -> NDArray[np.float64]:
    z = normal(size, draw=draw, layer=layer, purpose=Purpose.DUMMY_DATA, seed=seed)
    return filler.mean + filler.std * z


_DRAWS: Mapping[str, Draw] = {"uniform": _uniform, "gaussian": _gaussian}


@dataclass(frozen=True)
class Seed:
    """The feed of a DummyData: all that its numbers come from."""

    value: int
    waited_s: float = 0.0

    def close(self) -> None:
        """Nothing is open."""


class DummyData(SourceLayer):
    """Each top has a shape and a filler; random ones are drawn anew for each pass.

    Tops of one first length are a batch, which may be cut: a part has the numbers of the whole.
    """

    type = "DummyData"
    fields: ClassVar = {
        "dummy_data_param": frozenset(
            {"data_filler", "shape", "num", "channels", "height", "width"}
        )
    }
    top_count = (1, None)
    kernels = ("fill",)
    has_backward = False

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        param, names = spec.dummy_data_param, list(spec.top)
        shapes = _spread(_shapes(param), len(names), "shape")
        whole = tuple(
            checked(setting.inputs.get(name, shape), name)
            for name, shape in zip(names, shapes, strict=True)
        )
        firsts = {shape[0] if shape else None for shape in whole}
        self.batch_size = firsts.pop() if len(firsts) == 1 else None
        self._whole = whole
        self.tops = whole
        if setting.images is not None and self.batch_size is not None:
            self.tops = tuple((setting.images, *shape[1:]) for shape in whole)
        fillers = list(param.data_filler) or [FillerParameter()]  # Caffe: constant 0
        self._fillers = _spread(fillers, len(names), "data_filler")
        self._layers = [hash_name(f"{spec.name}[{i}]") for i in range(len(names))]
        for filler in self._fillers:
            if filler.type != "constant" and filler.type not in _DRAWS:
                raise LayerError(
                    f"data_filler type {filler.type!r} is not there for data; the types are "
                    f"constant, {', '.join(_DRAWS)}",
                    field="data_filler.type",
                )
            if filler.HasField("sparse"):
                raise LayerError("sparse is not there for data", field="data_filler.sparse")

    def open(self, *, seed: int, threads: int) -> Seed:
        return Seed(seed)

    def load(self, top: Blobs, own: Own, this: Pass) -> None:
        for number, blob in enumerate(top):
            if self._fillers[number].type != "constant":
                values = self._values(number, own, this)
                if blob.shape != values.shape:
                    values = values[this.first : this.first + this.images]
                own.put(blob.data, values)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        for filler, blob in zip(self._fillers, top, strict=True):
            if filler.type == "constant":
                kernels.fill(blob.data, value=filler.value)

    def ignored(self, own: Own, this: Pass, top: int, ignore_label: int) -> int:
        """How many numbers of a top are ignore_label, over the whole batch."""
        return int(np.count_nonzero(self._values(top, own, this) == ignore_label))

    def _values(self, number: int, own: Own, this: Pass) -> NDArray[np.float32]:
        """One top of the whole batch, whatever part of it this pass has."""
        shape, filler = self._whole[number], self._fillers[number]
        if filler.type == "constant":
            return np.full(shape, filler.value, dtype=np.float32)
        draw = _DRAWS[filler.type]
        values = draw(filler, count(shape), this.draw, self._layers[number], own.feed.value)
        return values.astype(np.float32).reshape(shape)


def _shapes(param: DummyDataParameter) -> list[Shape]:
    """The shapes as written: `shape`, or Caffe's older num, channels, height and width."""
    old = (param.num, param.channels, param.height, param.width)
    if param.shape:
        if any(old):
            raise LayerError("write shape, or num channels height width, not both", field="shape")
        return [tuple(shape.dim) for shape in param.shape]
    counts = {len(lengths) for lengths in old} - {1}
    if not all(old) or len(counts) > 1:
        raise LayerError(
            "num, channels, height and width must each be given once, or once for each top; "
            f"they are given {', '.join(str(len(lengths)) for lengths in old)} times",
            field="num",
        )
    most = max(len(lengths) for lengths in old)
    n, c, h, w = (list(lengths) * (most if len(lengths) == 1 else 1) for lengths in old)
    return list(zip(n, c, h, w, strict=True))


def _spread(values: Sequence[Item], tops: int, field: str) -> list[Item]:
    """One value for each top. Raises LayerError unless there is one, or one for each."""
    if len(values) not in (1, tops):
        raise LayerError(
            f"{field} is given {len(values)} times for {tops} tops; write it once, or once for "
            "each top",
            field=field,
        )
    return list(values) if len(values) == tops else list(values) * tops
