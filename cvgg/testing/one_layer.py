"""One layer with memory of its own, for tests."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvgg.blob import Blob
from cvgg.engine import Engine, open_engine
from cvgg.errors import UsageError
from cvgg.fillers import fill
from cvgg.kernels.interface import Array, State
from cvgg.layers import FUSED, create
from cvgg.layers.base import Layer, Own, Setting
from cvgg.netdef.caffe_pb2 import TEST
from cvgg.netdef.graph import Node
from cvgg.netdef.prototxt import read_net
from cvgg.netdef.shapes import Shape, describe

Values: TypeAlias = NDArray[np.float32]

STALE = 1.0  # what diffs hold before backward: bottoms' must be overwritten, params' added to


class OneLayer:
    """A layer from the text of its block, alone on an engine.

    text: the block; Input layers beside it are ignored, and two blocks that the plan can fuse make
    a fused layer. bottoms: their values, in order. params: their values, by default what the
    fillers give. `layer` is there to look at tops, params and buffers.
    """

    def __init__(
        self,
        text: str,
        bottoms: Sequence[ArrayLike],
        *,
        phase: int = TEST,
        params: Sequence[ArrayLike] | None = None,
        engine: Engine | str | None = None,
        seed: int = 1701,
        draw: int = 0,
        first_image: int = 0,
    ) -> None:
        """draw, first_image: of the pass, for layers that draw random numbers."""
        self.engine = open_engine(engine)
        nodes = _nodes(text)
        values = [np.asarray(each, np.float32) for each in bottoms]
        self.layer = _make(nodes, [each.shape for each in values], Setting(phase))
        self._names = nodes[-1].tops
        self._layout = _layout(self.layer, values, self.engine)
        self._bottoms = [
            self._blob(name, each.shape, "NCHW" if i in self.layer.labels else self._layout)
            for i, (name, each) in enumerate(zip(nodes[0].bottoms, values, strict=True))
        ]
        self.set_bottoms(values)
        self._tops = [self._top(i) for i in range(len(self.layer.tops))]
        state = np.zeros(State.SLOTS, np.int64)
        state[[State.SEED, State.DRAW, State.FIRST_IMAGE]] = seed, draw, first_image
        self._own = _own(self.layer, self._layout, self.engine, state)
        filled = [np.empty(each.shape, np.float32) for each in self.layer.params]
        for i, (each, values_of) in enumerate(zip(self.layer.params, filled, strict=True)):
            fill(each.filler, values_of, seed=seed, layer=nodes[0].name, index=i)
        self.set_params(filled if params is None else params)

    # ---- values
    def set_bottoms(self, values: Sequence[ArrayLike]) -> None:
        """New values of all bottoms."""
        for blob, each in zip(self._bottoms, values, strict=True):
            _put(self.engine, blob.data, each, f"bottom {blob.name!r}")

    def set_params(self, values: Sequence[ArrayLike]) -> None:
        """New values of all params."""
        for i, (blob, each) in enumerate(zip(self._own.params, values, strict=True)):
            _put(self.engine, blob.data, each, f"param {i}")

    @property
    def tops(self) -> list[Values]:
        return [self._get(blob.data) for blob in self._tops]

    @property
    def params(self) -> list[Values]:
        return [self._get(blob.data) for blob in self._own.params]

    @property
    def bottom_diffs(self) -> list[Values]:
        return [self._get(blob.diff) for blob in self._bottoms]

    @property
    def param_diffs(self) -> list[Values | None]:
        """What backward added; None for a param that is not learned."""
        return [
            None if blob.diff is None else self._get(blob.diff) - np.float32(STALE)
            for blob in self._own.params
        ]

    @property
    def buffers(self) -> dict[str, NDArray[Any]]:
        return {
            name: np.array(self.engine.copy_out(array)) for name, array in self._own.buffers.items()
        }

    # ---- passes
    def forward(self) -> list[Values]:
        """The tops' values."""
        self.layer.forward(self.engine.kernels, self._bottoms, self._tops, self._own)
        return self.tops

    def backward(
        self, diffs: Sequence[ArrayLike], propagate_down: Sequence[bool] | None = None
    ) -> list[Values]:
        """The bottoms' diffs from the tops' `diffs`. All bottoms but labels get one unless
        propagate_down says otherwise; those that get none stay STALE."""
        down = self.propagate_down if propagate_down is None else list(propagate_down)
        for blob in (*self._bottoms, *self._own.params):
            if blob.diff is not None:
                self.engine.kernels.fill(blob.diff, value=STALE)
        for i, (blob, each) in enumerate(zip(self._tops, diffs, strict=True)):
            if blob.diff is not None:
                _put(self.engine, blob.diff, each, f"diff of top {i}")
        self.layer.backward(self.engine.kernels, self._tops, down, self._bottoms, self._own)
        return self.bottom_diffs

    def drop_diff(self, top: int) -> None:
        """Takes the diff off a top, as a net does where no gradient comes to it."""
        self._tops[top].diff = None

    @property
    def propagate_down(self) -> list[bool]:
        """True for every bottom that can have a diff."""
        return [i not in self.layer.labels for i in range(len(self._bottoms))]

    # ---- inside
    def _blob(self, name: str, shape: Shape, layout: str) -> Blob:
        form = shape, "float32", layout if len(shape) == 4 else "NCHW"
        return Blob(name, shape, self.engine.empty(*form), self.engine.empty(*form))

    def _top(self, index: int) -> Blob:
        """Memory of its own, or the bottom's where the layer shares it or works in place."""
        name, shape, layer = self._names[index], self.layer.tops[index], self.layer
        below = self._bottoms[index] if index < len(self._bottoms) else None
        if below is not None and below.name == name and layer.may_be_in_place:
            return below
        blob = self._blob(name, shape, self._layout)
        if layer.shares_data:
            blob.data = self._bottoms[0].data.reshape(shape)
        if layer.shares_diff:
            diff: Array = self._bottoms[0].diff
            blob.diff = diff.reshape(shape)
        return blob

    def _get(self, array: Array) -> Values:
        return np.array(self.engine.copy_out(array))


def _nodes(text: str) -> list[Node]:
    """The layers of `text` that are no Input."""
    net = read_net(text)
    return [
        Node(spec.name, spec.type, tuple(spec.bottom), tuple(spec.top), spec, origin)
        for spec, origin in zip(net.message.layer, net.layers, strict=True)
        if spec.type != "Input"
    ]


def _make(nodes: Sequence[Node], bottoms: Sequence[Shape], setting: Setting) -> Layer:
    types = tuple(node.type for node in nodes)
    if len(nodes) != 1 and types not in FUSED:
        raise UsageError(
            "the text must hold one layer beside Input layers, or some that can be fused; it holds "
            f"{', '.join(types) or 'none'}"
        )
    layer = create(nodes[0], bottoms, setting)
    for node in nodes[1:]:
        create(node, layer.tops, setting)
    if len(nodes) == 1:
        return layer
    return FUSED[types]([node.spec for node in nodes], bottoms, setting)


def _layout(layer: Layer, bottoms: Sequence[Values], engine: Engine) -> str:
    """What the plan would choose for the layer's blobs."""
    images = [each for i, each in enumerate(bottoms) if each.ndim == 4 and i not in layer.labels]
    return engine.traits.layout if images and layer.layout != "rows" else "NCHW"


def _own(layer: Layer, layout: str, engine: Engine, state: NDArray[np.int64]) -> Own:
    """What a net would lend the layer."""
    params = [
        Blob(
            f"param {i}",
            each.shape,
            engine.empty(each.shape),
            engine.empty(each.shape) if each.lr_mult else None,
        )
        for i, each in enumerate(layer.params)
    ]
    slots = engine.empty((State.SLOTS,), "int64")
    engine.copy_in(slots, state)
    return Own(
        params,
        {
            each.name: engine.empty(each.shape, each.dtype, layout if each.follows else "NCHW")
            for each in layer.buffers
        },
        engine.empty((layer.workspace(engine.kernels),)),
        slots,
        counted=False,
        put=engine.copy_in,
    )


def _put(engine: Engine, array: Array, values: ArrayLike, what: str) -> None:
    host = np.ascontiguousarray(values, np.float32).reshape(np.shape(values))
    if host.shape != tuple(array.shape):
        raise UsageError(
            f"{what} has shape {describe(tuple(array.shape))}, the values have "
            f"{describe(host.shape)}"
        )
    engine.copy_in(array, host)
