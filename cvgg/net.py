"""A net: a plan on an engine. It brings data in, calls the layers in order and gives the outputs
out."""

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg import weights as weight_files
from cvgg.binding import Arena, Binding, Params, bind, count_labels
from cvgg.blob import Blob
from cvgg.engine import Engine, open_engine
from cvgg.errors import ShapeError, UsageError
from cvgg.kernels.interface import Array, State
from cvgg.layers import infer
from cvgg.layers.base import Pass, Setting, SourceLayer
from cvgg.mirror import Kept, Mirror, Seen
from cvgg.netdef.caffe_pb2 import TEST, NetParameter
from cvgg.netdef.graph import build
from cvgg.netdef.prototxt import NetDef, read_net
from cvgg.netdef.shapes import Shape, describe
from cvgg.plan import Memory, Plan, plan
from cvgg.plan.micro import Cut, batch_of, cut, obstacle, offsets

Outputs = dict[str, NDArray[Any]]

KEPT_PLANS = 16  # for net.reshape: the plans of the last shapes


class Net:
    """A net that runs.

    model: a path, the text of a prototxt, or a NetParameter. weights: a .caffemodel to start from.
    Names follow pycaffe: blobs, params, inputs, outputs, forward, backward, reshape, copy_from,
    save."""

    def __init__(
        self,
        model: str | PathLike[str] | NetParameter | NetDef,
        phase: int = TEST,
        weights: str | PathLike[str] | None = None,
        engine: Engine | str | None = None,
        level: int = 0,
        stages: Sequence[str] = (),
        *,
        backward: bool = True,
        keep: bool = True,
        histories: int = 0,
        memory: int | None = None,
        seed: int | None = None,
        trained: "Net | None" = None,
    ) -> None:
        """backward: gradients are wanted. keep: every blob stays after a pass. histories: arrays
        that an update keeps, for the memory it plans with. memory: bytes the net may use; a batch
        that needs more is cut. seed: of fillers, dropout and data. trained: a net whose params and
        working memory this one shares."""
        self.engine = open_engine(engine)
        self.netdef = model if isinstance(model, NetDef) else read_net(model)
        self.graph = build(self.netdef, phase=phase, level=level, stages=stages)
        self.seed = secrets.randbits(63) if seed is None else seed
        self._backward, self._keep, self._memory = backward, keep, memory
        self._histories = histories
        self._arena: Arena = trained._arena if trained else Arena(self.engine)
        self._state: Array = self.engine.empty((State.SLOTS,), "int64")
        self._mirror, self._params_mirror = Mirror(self.engine), Mirror(self.engine)
        self._inbox = self.engine.inbox()
        self._waiting: tuple[Pass, Binding] | None = None  # whose data is in the inbox, for where
        self._lasting: dict[tuple[str, str, Shape], Array] = {}
        self._bindings: OrderedDict[tuple[tuple[str, Shape], ...], dict[int, Binding]] = (
            OrderedDict()
        )
        self._cuts: dict[tuple[tuple[str, Shape], ...], Cut] = {}
        self._inputs: dict[str, Shape] = {}
        self._batch = 0
        self._values: Outputs = {}
        self.plan = self._plan(None)
        cut_now = cut(self.plan, self._plan, memory)
        self._feeds = self._open_feeds()
        owner = trained._params if trained else None
        self._params: Params = Params(self.plan, self.engine, gradients=backward, owner=owner)
        self._params.initialise(self.engine, self.seed)
        self._cuts[self._key] = cut_now
        if weights is not None:
            self.copy_from(weights)

    # ---- what it is made of
    @property
    def blobs(self) -> Mapping[str, Seen]:
        """The blobs by name, as the last pass left them: mirror.HostBlob on a GPU."""
        binding = self._binding(self._cut.images[-1])
        numbers = binding.plan.names.items()
        seen = {name: self._mirror.of(binding.blobs[number]) for name, number in numbers}
        return Kept(seen, {name: binding.plan.blobs[number].kept for name, number in numbers})

    @property
    def params(self) -> Mapping[str, Sequence[Seen]]:
        """The params of each layer that has some: weights, then bias."""
        return self._params_mirror.of_all(self._params.by_layer)

    @property
    def inputs(self) -> list[str]:
        return list(self.graph.inputs)

    @property
    def outputs(self) -> list[str]:
        return list(self.graph.outputs)

    @property
    def flat(self) -> Params:
        """The flat arrays behind `params`."""
        return self._params

    @property
    def micro_batches(self) -> tuple[int, ...]:
        """Images of each pass over one batch."""
        return self._cut.images

    @property
    def memory(self) -> Memory:
        """Memory of the largest pass; plan.memory is that of a whole batch in one."""
        return self._cut.memory

    @property
    def batch(self) -> int | None:
        """Images of a whole batch; None where no source layer says."""
        return batch_of(self.plan)

    # ---- running
    def forward(self, **inputs: NDArray[Any]) -> Outputs:
        """Runs one batch forward: {output: array}. inputs: values of the net's Input blobs, float32
        of their shape."""
        self._check_names(inputs, self.inputs, "input")
        self._write_back()
        for name, values in inputs.items():
            self._copy_in(self._blob(name).data, values, name)
        this = self._batch
        self._batch += 1
        return self.run(this, draw=this, backward=False)

    def backward(self, **diffs: NDArray[Any]) -> Outputs:
        """Runs backward from the losses, and from `diffs` of outputs: {input: diff} of those that
        have one."""
        if len(self._cut.images) > 1:
            raise UsageError(
                "backward() alone needs an uncut batch; solver.step() sums micro-batches"
            )
        self._check_names(diffs, self.outputs, "output")
        binding = self._binding(self._cut.images[0])
        self._write_back()
        binding.fill_diffs(self.engine)
        for name, values in diffs.items():
            diff = self._blob(name).diff
            if diff is None:
                raise UsageError(f"output {name!r} has no diff: no layer below it goes backward")
            self._copy_in(diff, values, name)
        binding.backward(self.engine)
        return {
            name: self.engine.copy_out(self._blob(name).diff)
            for name in self.inputs
            if self._blob(name).diff is not None
        }

    def run(self, batch: int, *, draw: int, backward: bool, ahead: bool = False) -> Outputs:
        """One whole batch, in as many passes as memory asks for; gradients are added to the params'
        diffs.

        batch: the number of the batch in the data; draw: the number that random draws depend on.
        ahead: the next batch and draw follow, so its data may be brought while this one runs.
        """
        wanted = {*self.outputs, *self.plan.loss_weights}
        gathered: dict[str, list[NDArray[Any]]] = {name: [] for name in sorted(wanted)}
        self._write_back()
        passes = self._passes(batch, draw)
        following = passes[1:] + (self._passes(batch + 1, draw + 1)[:1] if ahead else [])
        for number, this in enumerate(passes):
            binding = self.prepare(this)
            binding.run(self.engine, backward=backward)
            if self._inbox.early and number < len(following):
                after = following[number]
                self._waiting = after, self._binding(after.images)
                self._put(*self._waiting)
            for name in gathered:
                values = self.engine.copy_out(binding.blobs[binding.plan.names[name]].data)
                lasts = self._keep and len(self._cut.images) == 1
                gathered[name].append(values if lasts else values.copy())
        self._values = {name: self._join(name, parts) for name, parts in gathered.items()}
        return {name: self._values[name] for name in self.outputs}

    def loss(self) -> float:
        """The loss of the last run: the sum of all losses, each times its loss_weight."""
        weights = self.plan.loss_weights
        return sum(
            weight * float(np.sum(self._values[name], dtype=np.float64))
            for name, weight in weights.items()
        )

    def prepare(self, this: Pass) -> Binding:
        """Writes the state, loads the data and counts the labels of a pass: it can run then."""
        binding = self._binding(this.images)  # another one if the arena has grown since
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting[0] != this or waiting[1] is not binding:
            self._put(this, binding)
        self._inbox.deliver()
        return binding

    def _put(self, this: Pass, binding: Binding) -> None:
        """Puts all of a pass that comes from the host into the inbox."""
        self._inbox.clear()
        state = np.zeros(State.SLOTS, dtype=np.int64)
        state[State.SEED] = self.seed
        state[State.DRAW] = this.draw
        state[State.FIRST_IMAGE] = this.first
        self._inbox.put(self._state, state)
        binding.load(this)
        if self.batch is not None:
            count_labels(binding, self._inbox, this, self.batch)

    def _passes(self, batch: int, draw: int) -> list[Pass]:
        """Those of a batch."""
        images = self._cut.images
        return [
            Pass(draw, batch, first, count)
            for first, count in zip(offsets(images), images, strict=True)
        ]

    def clear_param_diffs(self) -> None:
        """Zeros every param's diff."""
        if self._params.diff is not None:
            self.engine.kernels.fill(self._params.diff, value=0.0)

    def find_nonfinite(self, batch: int, *, draw: int) -> str:
        """Runs a batch forward again and says where the first NaN or infinity comes up; "" if none
        does."""
        kernels = self.engine.kernels
        for layer, blobs in self._params.by_layer.items():
            for i, blob in enumerate(blobs):
                if (at := kernels.find_nonfinite(blob.data)) >= 0:
                    return f"param {i} of layer {layer!r}, element {at}"
        for this in self._passes(batch, draw):
            for call in self.prepare(this).calls:
                call.step.layer.forward(kernels, call.bottoms, call.tops, call.own)
                for top in call.tops:
                    if (at := kernels.find_nonfinite(top.data)) >= 0:
                        return (
                            f"blob {top.name!r} of layer {call.step.name!r} "
                            f"({call.step.layer.type}), element {at}"
                        )
        return ""

    # ---- shapes and files
    def reshape(self, **shapes: Sequence[int]) -> None:
        """Asks for other shapes of Input blobs: net.reshape(data=(1, 3, 480, 640)). Params stay."""
        self._check_names(shapes, self.inputs, "input")
        before = dict(self._inputs)
        self._inputs.update({name: tuple(int(n) for n in shape) for name, shape in shapes.items()})
        try:
            if self._key not in self._cuts:
                whole = self._plan(None)
                self._check_params(whole)
                self._cuts[self._key] = cut(whole, self._plan, self._memory)
        except Exception:
            self._inputs = before
            raise
        self.plan = self._cut.whole

    def copy_from(self, path: str | PathLike[str]) -> None:
        """Takes the params of every layer that has the same name in a .caffemodel."""
        self._write_back()
        weight_files.load(path, self._params.by_layer, self.engine)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes a .caffemodel that Caffe can read; the file appears when it is whole."""
        self._write_back()
        weight_files.save(path, self.graph, self._params.by_layer, self.engine)

    def obstacle(self) -> str:
        """Why the batch cannot be cut into micro-batches; "" if it can."""
        return obstacle(self.plan)

    @property
    def waited_s(self) -> float:
        """Seconds that passes have waited for data so far."""
        return sum(float(feed.waited_s) for feed in self._feeds.values())

    def reseed(self, seed: int) -> None:
        """Draws from `seed` from now on; params stay as they are."""
        self.close()
        self.seed = seed
        self._feeds = self._open_feeds()
        self._bindings.clear()
        self._waiting = None

    def close(self) -> None:
        """Stops the threads that bring data."""
        for feed in self._feeds.values():
            feed.close()

    # ---- inside
    @property
    def _key(self) -> tuple[tuple[str, Shape], ...]:
        return tuple(sorted(self._inputs.items()))

    @property
    def _cut(self) -> Cut:
        return self._cuts[self._key]

    def _plan(self, images: int | None) -> Plan:
        setting = Setting(self.graph.phase, images, self._inputs)
        layers = infer(self.graph, setting)
        traits = self.engine.traits
        return plan(
            self.graph,
            layers,
            traits,
            setting,
            backward=self._backward,
            keep=self._keep,
            histories=self._histories,
        )

    def _open_feeds(self) -> Mapping[str, Any]:
        feeds = {
            step.name: step.layer.open(seed=self.seed, threads=self.engine.threads)
            for step in self.plan.steps
            if isinstance(step.layer, SourceLayer)
        }
        return {name: feed for name, feed in feeds.items() if feed is not None}

    def _binding(self, images: int) -> Binding:
        """The plan for a pass of `images`, bound to the arena as it is now."""
        ready = self._bindings.setdefault(self._key, {})
        self._bindings.move_to_end(self._key)
        if len(self._bindings) > KEPT_PLANS:
            oldest, _ = self._bindings.popitem(last=False)
            del self._cuts[oldest]
        old = ready.get(images)
        chosen = self._cut.plans[images]
        self._arena.reserve(chosen)
        if (
            old is None
            or old.memory is not self._arena.memory
            or old.workspace is not self._arena.workspace
        ):
            self._mirror.forget()
            ready[images] = bind(
                chosen,
                self.engine,
                self._arena,
                self._params,
                self._state,
                self._feeds,
                self._lasting,
                self._inbox,
                counted=self.batch is not None,
            )
        return ready[images]

    def _write_back(self) -> None:
        """What users changed goes to where the kernels read it."""
        self._mirror.write_back()
        self._params_mirror.write_back()

    def _blob(self, name: str) -> Blob:
        binding = self._binding(self._cut.images[-1])
        return binding.blobs[binding.plan.names[name]]

    def _join(self, name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
        """An output of the whole batch from those of its passes."""
        if len(parts) == 1:
            return parts[0]
        (layer,) = (
            step.layer
            for step in self.plan.steps
            if self.plan.names[name] in step.tops and name not in step.nodes[0].bottoms
        )
        if layer.sums_images:
            return np.asarray(sum(part.astype(np.float64) for part in parts), dtype=np.float32)
        return np.concatenate(parts)

    def _check_names(self, given: Mapping[str, object], known: Sequence[str], kind: str) -> None:
        for name in given:
            if name not in known:
                raise UsageError(
                    f"{name!r} is no {kind} of the net; it has: {', '.join(known) or 'none'}"
                )

    def _copy_in(self, array: Array, values: NDArray[Any], name: str) -> None:
        host = np.asarray(values, dtype=np.float32)
        if host.shape != tuple(array.shape):
            raise ShapeError(
                f"{name!r} has shape {describe(tuple(array.shape))}, the values have "
                f"{describe(host.shape)}; "
                f"call net.reshape({name}={host.shape}) first"
            )
        self.engine.copy_in(array, host)

    def _check_params(self, whole: Plan) -> None:
        for old, new in zip(self._params.plans, whole.params, strict=True):
            if old.definition.shape != new.definition.shape:
                raise ShapeError(
                    f"layer {new.layer!r}: for these inputs param {new.index} would have shape "
                    f"{describe(new.definition.shape)} instead of {describe(old.definition.shape)}"
                )
