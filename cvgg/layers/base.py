"""What a layer is: it describes shapes, params and buffers, and calls kernels. It owns no memory.

Rules: backward assigns bottom diffs and accumulates param diffs; every choice is made in __init__,
so that forward and backward hold no `if phase`. A layer object may serve several nets and engines.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvgg.blob import Blob
from cvgg.errors import LayerError
from cvgg.kernels.interface import Array, Kernels
from cvgg.netdef.caffe_pb2 import TEST, LayerParameter
from cvgg.netdef.params import ParamDef
from cvgg.netdef.shapes import Shape

Blobs = Sequence[Blob]


@dataclass(frozen=True)
class Setting:
    """What a layer is built for, beside its spec and its bottoms' shapes."""

    phase: int = TEST
    images: int | None = (
        None  # images of one pass where a data layer's batch is cut into micro-batches
    )
    inputs: Mapping[str, Shape] = field(
        default_factory=dict
    )  # shapes asked for by net.reshape(blob=shape)


@dataclass(frozen=True)
class Buffer:
    """An array that a layer needs between calls: `name` in own.buffers."""

    name: str
    shape: Shape
    dtype: str = "float32"
    lasting: bool = (
        False  # keeps its content from pass to pass: a mean image, a count, what `load` fills
    )
    backward: bool = False  # nothing of it is needed before the layer goes backward
    follows: bool = False  # its axes lie as those of the layer's blobs do; else as `shape` says


@dataclass(frozen=True)
class Pass:
    """One run through the net: which part of which batch. All numbers are global."""

    draw: int  # iteration * iter_size + sub-iteration: random numbers depend on it
    batch: int  # number of the batch, from 0: data layers deliver it
    first: int  # this pass's first image in the batch
    images: int  # images of this pass


@dataclass
class Own:
    """What the net lends a layer for its calls."""

    params: Blobs  # diff None: not learned
    buffers: Mapping[str, Array]
    workspace: Array  # float32 scratch shared by all layers; nothing survives a call
    state: Array  # int64, see kernels.interface.State
    counted: bool = True  # the net has written buffers["count"] for the whole batch
    feed: Any = None  # what a SourceLayer's open() gave
    put: Callable[[Array, NDArray[Any]], None] = np.copyto  # Inbox.put: for what `load` brings


class Layer(ABC):
    """One layer of a net: `tops`, `params` and `buffers` follow from (spec, bottom shapes,
    setting)."""

    type: ClassVar[str] = ""  # the prototxt word
    fields: ClassVar[Mapping[str, frozenset[str]]] = {}
    """What of LayerParameter this layer obeys: {"pooling_param": {"kernel_size", ...}}. Anything
    else that the user wrote is an error that names it; layers.infer checks."""
    bottom_count: ClassVar[tuple[int, int | None]] = (1, 1)  # least, most
    top_count: ClassVar[tuple[int, int | None]] = (1, 1)
    kernels: ClassVar[
        tuple[str, ...]
    ] = ()  # the functions of Kernels it calls: checked against the backend at load
    loss: ClassVar[bool] = False  # its first top has loss_weight 1 unless the spec says otherwise
    has_backward: ClassVar[bool] = True
    labels: ClassVar[frozenset[int]] = frozenset()  # bottoms that never get a diff
    shares_data: ClassVar[bool] = False  # its tops are views of bottom 0's data (Split, Flatten)
    shares_diff: ClassVar[bool] = False  # and of its diff (Flatten)
    layout: str = "rows"
    """How blobs of 4 axes must lie in memory: "rows", in the order of their shape; "images", in the
    engine's own order for images; "any", all as the first bottom does."""
    may_be_in_place: bool = False  # its top may lie where its bottom lay
    reads_top: bool = (
        False  # backward reads the values of its tops: nothing may be done to them in place
    )

    tops: Sequence[Shape]
    params: Sequence[ParamDef] = ()
    buffers: Sequence[Buffer] = ()
    couples_images: bool = (
        False  # one image's output depends on others of the pass: the batch is not cut
    )
    sums_images: bool = (
        False  # its tops are sums over images / buffers["count"]: micro-batches add up
    )
    ignore_label: int | None = None
    positions_per_image: int = 1  # of a layer that counts labels

    @abstractmethod
    def __init__(
        self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting
    ) -> None: ...

    def workspace(self, kernels: Kernels) -> int:
        """float32 elements of scratch it wants; pure, so that the plan can ask without a device."""
        return 0

    def count(self, images: int, ignored: int) -> float:
        """What buffers["count"] holds for a whole batch of `images`, `ignored` of whose labels do
        not count."""
        raise NotImplementedError

    @abstractmethod
    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None: ...

    def backward(
        self, kernels: Kernels, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs, own: Own
    ) -> None:
        """Assigns the diff of every bottom with propagate_down, adds to the diff of every param
        that has one."""
        raise LayerError(f"{self.type} has no backward")


class SourceLayer(Layer):
    """A layer that brings data. `load` comes before each pass, perhaps while the pass before it
    still runs, and is never recorded; forward is."""

    bottom_count = (0, 0)
    layout = "any"
    batch_size: int | None = (
        None  # the whole minibatch as the prototxt has it; None: not cut into micro-batches
    )

    @abstractmethod
    def open(self, *, seed: int, threads: int) -> Any:
        """Opens what it reads from and gives the feed that `load` finds in own.feed: an object with
        close() and waited_s, the seconds that passes have waited for it; None if there is nothing
        to open. Raises MissingInputError if the data is not there."""

    @abstractmethod
    def load(self, top: Blobs, own: Own, this: Pass) -> None:
        """Puts what comes from the host (own.put); forward makes the tops of it."""

    def ignored(self, own: Own, this: Pass, top: int, ignore_label: int) -> int:
        """How many labels of the whole batch `this.batch`, delivered on top number `top`, are
        ignore_label."""
        raise LayerError(f"top {top} of {self.type} brings no labels")
