"""Gives a plan its memory: arrays for params, blobs and buffers, and the calls that a net makes on
them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cvgg.blob import Blob
from cvgg.engine.base import Engine, Inbox
from cvgg.errors import OutOfMemoryError, ShapeError, UnavailableError
from cvgg.fillers import fill
from cvgg.kernels.interface import Array
from cvgg.layers.base import Own, Pass, SourceLayer
from cvgg.netdef.shapes import Shape
from cvgg.plan.description import ParamPlan, Plan, Slot, Step

FLOAT = 4  # bytes


class Arena:
    """Memory that several plans, of one net or of several, use by turns; as large as the largest
    needs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.memory: Array = engine.empty((0,), "uint8")
        self.workspace: Array = engine.empty((0,))
        self.bytes = self.floats = 0

    def reserve(self, plan: Plan) -> None:
        """Grows to what `plan` needs; those who are bound to the old memory notice by `memory`
        being another."""
        if plan.memory.blobs > self.bytes:
            self.memory = self._empty((plan.memory.blobs,), "uint8", plan)
            self.bytes = plan.memory.blobs
        if plan.memory.workspace > self.floats * FLOAT:
            self.workspace = self._empty((plan.memory.workspace // FLOAT,), "float32", plan)
            self.floats = plan.memory.workspace // FLOAT

    def _empty(self, shape: Shape, dtype: str, plan: Plan) -> Array:
        """Raises UnavailableError, with the largest blobs, if there is no room."""
        try:
            return self.engine.empty(shape, dtype)
        except OutOfMemoryError as error:
            largest = sorted(plan.blobs, key=lambda blob: blob.data.bytes, reverse=True)[:3]
            said = ", ".join(f"{each.name} {each.data.bytes:,}" for each in largest)
            raise UnavailableError(
                f"{plan.graph.name or 'the net'}: no room on {self.engine.name} for its blobs: "
                f"{error}; the largest are {said} bytes; use a smaller batch_size, or --memory"
            ) from None


class Params:
    """The learnable blobs of a net: one flat array of values, one of gradients, and a Blob for each
    param."""

    def __init__(
        self, plan: Plan, engine: Engine, *, gradients: bool, owner: "Params | None"
    ) -> None:
        """Allocates; with an `owner`, params of the same layer name are the owner's."""
        self.plans = plan.params
        borrowed = owner.by_layer if owner is not None else {}
        shared = {i: _borrow(each, borrowed) for i, each in enumerate(plan.params)}
        lone = [each for i, each in enumerate(plan.params) if shared[i] is None]
        whole = owner is None or bool(lone)
        self._data_bytes = engine.empty((plan.flat * FLOAT if whole else 0,), "uint8")
        self._diff_bytes = engine.empty((plan.learned * FLOAT if gradients else 0,), "uint8")
        flat = plan.flat if whole else 0
        self.data: Array = engine.view(self._data_bytes, 0, (flat,), "float32")
        self.diff: Array | None = None
        if gradients:
            self.diff = engine.view(self._diff_bytes, 0, (plan.learned,), "float32")
        self.learned = engine.view(self._data_bytes, 0, (plan.learned if whole else 0,), "float32")
        self.lone = tuple(lone)  # those that this net fills itself
        self.blobs = [
            shared[i] or self._blob(each, engine, gradients=gradients)
            for i, each in enumerate(plan.params)
        ]
        self.by_layer: dict[str, list[Blob]] = {}
        for step in plan.steps:
            if step.params:
                self.by_layer[step.name] = [self.blobs[number] for number in step.params]

    def _blob(self, param: ParamPlan, engine: Engine, *, gradients: bool) -> Blob:
        shape, offset = param.definition.shape, param.offset * FLOAT
        diff = None
        if gradients and param.learned:
            diff = engine.view(self._diff_bytes, offset, shape, "float32")
        data = engine.view(self._data_bytes, offset, shape, "float32")
        return Blob(param.name, shape, data, diff)

    def initialise(self, engine: Engine, seed: int) -> None:
        """Fills each param by its filler; the numbers depend on the seed and the layer's name
        alone."""
        for param in self.lone:
            blob = self.blobs[self.plans.index(param)]
            filler, name = param.definition.filler, param.layer
            # In place where it can be: the largest param is most of the net.
            values = blob.data if engine.on_host else np.empty(blob.shape, np.float32)
            fill(filler, values, seed=seed, layer=name, index=param.index)
            if not engine.on_host:
                engine.copy_in(blob.data, values)


def _borrow(param: ParamPlan, owned: Mapping[str, Sequence[Blob]]) -> Blob | None:
    if param.layer not in owned or param.index >= len(owned[param.layer]):
        return None
    blob = owned[param.layer][param.index]
    if blob.shape != param.definition.shape:
        raise ShapeError(
            f"layer {param.layer!r}: param {param.index} has shape {param.definition.shape} here "
            "and "
            f"{blob.shape} in the net it shares weights with; give the layer another name"
        )
    return blob


@dataclass(frozen=True)
class Call:
    """A step with the arrays it works on."""

    step: Step
    bottoms: tuple[Blob, ...]
    tops: tuple[Blob, ...]
    own: Own


@dataclass(frozen=True)
class Binding:
    """A plan in memory, ready to run."""

    plan: Plan
    memory: Array  # the arena's when this was bound
    workspace: Array
    calls: tuple[Call, ...]
    blobs: tuple[Blob, ...]
    recordings: dict[str, Any] = field(default_factory=dict)  # the engine's, of these calls

    def run(self, engine: Engine, *, backward: bool) -> None:
        """One pass: forward, and with `backward` back from the losses."""

        def work() -> None:
            self.forward(engine)
            if backward:
                self.fill_diffs(engine)
                self.backward(engine)

        engine.run(work, self.recordings, "both" if backward else "forward")

    def load(self, this: Pass) -> None:
        """Lets every source layer bring its part of the batch."""
        for call in self.calls:
            if isinstance(call.step.layer, SourceLayer):
                call.step.layer.load(call.tops, call.own, this)

    def forward(self, engine: Engine) -> None:
        for call in self.calls:
            call.step.layer.forward(engine.kernels, call.bottoms, call.tops, call.own)

    def fill_diffs(self, engine: Engine) -> None:
        """Writes the loss weights, and zeros where no gradient comes by, into the diffs of those
        tops."""
        for number, value in self.plan.constant_diffs.items():
            engine.kernels.fill(self.blobs[number].diff, value=value)

    def backward(self, engine: Engine) -> None:
        for call in reversed(self.calls):
            if call.step.backward:
                call.step.layer.backward(
                    engine.kernels, call.tops, call.step.propagate_down, call.bottoms, call.own
                )


def bind(
    plan: Plan,
    engine: Engine,
    arena: Arena,
    params: Params,
    state: Array,
    feeds: Mapping[str, Any],
    lasting: dict[tuple[str, str, Shape], Array],
    inbox: Inbox,
    *,
    counted: bool,
) -> Binding:
    """Cuts the arrays of `plan` out of `arena`. `lasting` keeps what must outlive a plan, by layer
    and name.

    counted: the net writes the count of labels of the whole batch where it can know it.
    """
    arena.reserve(plan)
    memory, workspace = arena.memory, arena.workspace

    def cut(slot: Slot) -> Array:
        assert slot.offset is not None
        return engine.view(memory, slot.offset, slot.shape, slot.dtype, slot.layout)

    def buffer(step: Step, name: str, slot: Slot) -> Array:
        if slot.offset is not None:
            return cut(slot)
        key = (step.name, name, slot.shape)
        if key not in lasting:
            lasting[key] = engine.empty(slot.shape, slot.dtype, slot.layout)
        return lasting[key]

    blobs = tuple(
        Blob(each.name, each.shape, cut(each.data), None if each.diff is None else cut(each.diff))
        for each in plan.blobs
    )
    calls = []
    for i, step in enumerate(plan.steps):
        own = Own(
            [params.blobs[number] for number in step.params],
            {name: buffer(step, name, slot) for name, slot in step.buffers.items()},
            workspace,
            state,
            counted=counted and (step.layer.ignore_label is None or i in plan.label_sources),
            feed=feeds.get(step.name),
            put=inbox.put,
        )
        calls.append(
            Call(
                step,
                tuple(blobs[number] for number in step.bottoms),
                tuple(blobs[number] for number in step.tops),
                own,
            )
        )
    return Binding(plan, memory, workspace, tuple(calls), blobs)


def count_labels(binding: Binding, inbox: Inbox, this: Pass, batch: int) -> None:
    """Puts into buffers["count"] of each layer that has one how many labels of the whole batch
    count."""
    for i, call in enumerate(binding.calls):
        if "count" not in call.own.buffers or not call.own.counted:
            continue
        layer, ignored = call.step.layer, 0
        if layer.ignore_label is not None:
            source, top = binding.plan.label_sources[i]
            brings = binding.calls[source]
            assert isinstance(brings.step.layer, SourceLayer)
            ignored = brings.step.layer.ignored(brings.own, this, top, layer.ignore_label)
        value = np.array([layer.count(batch, ignored)], dtype=np.float32)
        inbox.put(call.own.buffers["count"], value)
