"""What a plan is: every decision about a net, as frozen data that prints itself. No arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

from cvgg.kernels.interface import Segment
from cvgg.layers.base import Layer
from cvgg.netdef.graph import Graph, Node
from cvgg.netdef.params import ParamDef
from cvgg.netdef.shapes import Shape, count

ITEM_BYTES = {"float32": 4, "int32": 4, "int64": 8, "uint8": 1}


def mebibytes(amount: int) -> str:
    """Bytes as people read them, in MiB: 10,777, but 0.0312 too."""
    value = amount / 2**20
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Slot:
    """Where an array lives: `offset` in bytes from the start of the arena; None: memory of its own,
    never reused."""

    shape: Shape
    dtype: str
    offset: int | None
    layout: str = "NCHW"

    @property
    def bytes(self) -> int:
        return count(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class BlobPlan:
    """One blob: `diff` is None where no gradient comes by; `kept` blobs keep their data after the
    pass."""

    name: str
    shape: Shape
    data: Slot
    diff: Slot | None
    kept: bool


@dataclass(frozen=True)
class ParamPlan:
    """One learnable blob: elements offset .. offset+size of the flat arrays. `users`: steps that
    read it."""

    name: str  # "conv1_1[0]", or the name it is shared under
    layer: str
    index: int
    definition: ParamDef
    offset: int
    users: tuple[int, ...]

    @property
    def size(self) -> int:
        return count(self.definition.shape)

    @property
    def learned(self) -> bool:
        return self.definition.lr_mult != 0


@dataclass(frozen=True)
class Bucket:
    """Elements start .. stop of the flat gradient, complete once step number `after` has gone
    backward."""

    start: int
    stop: int
    after: int


@dataclass(frozen=True)
class Step:
    """One call: a layer with its blobs and params by number. `nodes` has several where the plan
    fused layers."""

    nodes: tuple[Node, ...]
    layer: Layer
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    params: tuple[int, ...]
    propagate_down: tuple[bool, ...]
    backward: bool
    buffers: Mapping[str, Slot]

    @property
    def name(self) -> str:
        return self.nodes[0].name


@dataclass(frozen=True)
class Memory:
    """Bytes that a plan needs."""

    params: int
    gradients: int
    blobs: int  # the arena: data, diffs and buffers
    lasting: int
    workspace: int
    history: int = 0

    @property
    def total(self) -> int:
        return (
            self.params + self.gradients + self.blobs + self.lasting + self.workspace + self.history
        )


@dataclass(frozen=True)
class Plan:
    """A net for given input shapes on a given kind of engine, ready to be given memory."""

    graph: Graph
    steps: tuple[Step, ...]
    blobs: tuple[BlobPlan, ...]
    params: tuple[ParamPlan, ...]
    segments: tuple[Segment, ...]
    buckets: tuple[Bucket, ...]
    learned: int  # elements of the flat gradient; unlearned params follow in the flat data
    flat: int  # elements of the flat data
    constant_diffs: Mapping[
        int, float
    ]  # blob -> what its diff is filled with before backward: loss weights
    names: Mapping[str, int]  # blob name -> number
    loss_weights: Mapping[str, float]
    label_sources: Mapping[
        int, tuple[int, int]
    ]  # step that counts labels -> (source step, its top)
    memory: Memory

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.graph.outputs

    @property
    def backward_steps(self) -> tuple[Step, ...]:
        return tuple(step for step in reversed(self.steps) if step.backward)
