"""The solver: forward, backward and update until max_iter, with tests, snapshots and a log on the
way."""

import hashlib
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cvgg import lr_policy, snapshot
from cvgg.comm import Comm, SoloComm
from cvgg.engine import Engine, open_engine
from cvgg.errors import (
    CannotCreateError,
    DataError,
    Error,
    InputOutputError,
    TrainingError,
    UsageError,
)
from cvgg.kernels.interface import Array, Scalars
from cvgg.lr_policy import Plateau
from cvgg.net import Net, Outputs
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, ExactState, SolverParameter, SolverState
from cvgg.netdef.prototxt import SolverDef, read_solver
from cvgg.netdef.shapes import Shape, count
from cvgg.solver.keeping import Keeper
from cvgg.solver.report import Report
from cvgg.solver.settings import check, check_prefix, find_nets
from cvgg.solver.sources import check_labels, tell_records, wrong_label

Action = Literal["", "snapshot", "stop"]

log = logging.getLogger("cvgg")

SHARE_OF_FREE = 0.9  # of the free memory that a solver plans with unless it is told a number


class Solver:
    """Trains a net as a solver prototxt says: SGD with momentum and weight decay, Caffe's
    arithmetic.

    `iter` counts finished updates. `action` is asked once an iteration whether to stop or to write
    a snapshot."""

    def __init__(
        self,
        solver: str | PathLike[str] | SolverParameter | SolverDef,
        engine: Engine | str | None = None,
        *,
        memory: int | None = None,
        level: int | None = None,
        stages: Sequence[str] = (),
    ) -> None:
        """memory: bytes it may use; a batch that needs more is cut into micro-batches. level,
        stages: of the train net, beside what train_state says."""
        self.definition = solver if isinstance(solver, SolverDef) else read_solver(solver)
        self.param = self.definition.message
        check(self.definition)
        nets = find_nets(self.definition)
        if self.param.snapshot or self.param.snapshot_after_train:
            check_prefix(self.param.snapshot_prefix)
        self.engine = open_engine(engine)
        self.comm: Comm = SoloComm()
        drawn = self.param.random_seed < 0
        self.seed = secrets.randbits(63) if drawn else self.param.random_seed
        limit = int(SHARE_OF_FREE * self.engine.memory_free()) if memory is None else memory
        self.limit = limit  # bytes it may use
        self.net = Net(
            nets.train.netdef,
            TRAIN,
            engine=self.engine,
            level=nets.train.level if level is None else level,
            stages=(*nets.train.stages, *stages),
            keep=False,
            histories=1,
            memory=limit,
            seed=self.seed,
        )
        used = self.net.memory
        self.test_nets = [
            Net(
                choice.netdef,
                TEST,
                engine=self.engine,
                level=choice.level,
                stages=choice.stages,
                backward=False,
                keep=False,
                memory=limit - used.gradients - used.history - used.lasting,
                seed=self.seed,
                trained=self.net,
            )
            for choice in nets.test
        ]
        self._check_plateau()
        for number, net in enumerate(self.test_nets):
            tell_records(net, self.param.test_iter[number])
        for net in (self.net, *self.test_nets):
            check_labels(net)
        plan = self.net.plan
        self._history = self.engine.empty((plan.learned,))
        self._scalars: Array = self.engine.empty((Scalars.SLOTS,))
        self._unchecked = False  # whether an update was given to the device and not yet looked at
        self._recordings: dict[str, Any] = {}  # the engine's, of the update
        self.iter = 0
        self._batches = 0  # taken from the data so far: one a sub-iteration
        self._losses: deque[float] = deque(maxlen=self.param.average_loss)
        self._plateau = Plateau()
        self._saved_at = -1
        self._missed: Error | None = None  # why the last snapshot is not there
        self._judge = ""  # the test output that says which snapshot is the best
        self._keeper = Keeper(self.param.snapshot_prefix)
        self.report = Report()
        self.action: Callable[[], Action] = lambda: ""

    # ---- what Python users see
    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return lr_policy.learning_rate(self.param, self.iter, self._plateau)

    def keep(self, newest: int, best: str = "") -> None:
        """Of its snapshots only the newest so many stay, and the one with the best value of the
        test output `best`: the largest, of a loss the smallest. A snapshot's value is that of the
        test at its iteration. Raises UsageError."""
        if newest < 1:
            raise UsageError(f"keep at least one snapshot, not {newest}")
        outputs = [output for net in self.test_nets for output in net.outputs]
        if best and best not in outputs:
            raise UsageError(
                f"{best!r} is no output of a test net; there are: {', '.join(outputs) or 'none'}"
            )
        if best and self.param.snapshot % self.param.test_interval:
            raise UsageError(
                f"the best snapshot is known by a test at its iteration: let snapshot "
                f"({self.param.snapshot}) be a multiple of test_interval "
                f"({self.param.test_interval})"
            )
        self._judge = best
        self._keeper = Keeper(self.param.snapshot_prefix, newest)

    def step(self, n: int) -> None:
        """n iterations, with the tests, displays and snapshots that fall into them."""
        self._run(self.iter + n)

    def solve(self, snapshot: str | PathLike[str] | None = None) -> Action:
        """Trains until max_iter, from `snapshot` if one is given; returns "stop" if it was stopped
        before.

        A snapshot that cannot be written is told and does not stop training. Raises
        CannotCreateError or InputOutputError in the end if it was the last one."""
        if not self.param.HasField("max_iter"):
            raise UsageError(f"{self.definition.origin}: solve() needs max_iter; or call step(n)")
        log.info("Solving %s", self.net.graph.name)
        log.info("Learning Rate Policy: %s", self.param.lr_policy)
        if snapshot is not None:
            self.restore(snapshot)
            if self.iter > self.param.max_iter:
                raise DataError(
                    f"{self.definition.origin.at('max_iter')}: max_iter is "
                    f"{self.param.max_iter}, but {snapshot} is of iteration {self.iter}"
                )
        action = self._run(self.param.max_iter)
        if (self.param.snapshot_after_train or self._missed) and self._saved_at != self.iter:
            self._save()
        if action == "stop":
            log.info("Optimization stopped early.")
            self._check_saved()
            return action
        if self._due(self.param.display) and self.iter:
            outputs, loss = self._forward_backward(backward=False)
            self._show(outputs, self._smooth(loss), remember=False)
        if self._test_due():
            self.test()
        log.info("Optimization Done.")
        self._check_saved()
        return ""

    def test(self) -> list[Outputs]:
        """Tests every test net from its first record: for each, the mean of every output over
        test_iter batches."""
        self._check_update()
        results = []
        for number, net in enumerate(self.test_nets):
            log.info("Iteration %d, Testing net (#%d)", self.iter, number)
            means, loss = self._test(net, self.param.test_iter[number])
            shown = loss if self.param.test_compute_loss else None
            self.report.test(self.iter, number, means, net.plan.loss_weights, shown)
            results.append(means)
        self._watch_plateau(results)
        if self._judge:
            self._keeper.judge(self.iter, self._value(results, self._judge))
        return results

    def snapshot(self) -> str:
        """Writes PREFIX_iter_N.caffemodel and .solverstate; returns the state's path.

        Raises TrainingError, and writes nothing, if a param or the last gradient is not finite."""
        self._check_update()
        self._check_finite()
        exact = ExactState(
            version=snapshot.VERSION,
            seed=self.seed,
            losses=list(self._losses),
            plateau_count=self._plateau.count,
            plateau_drops=self._plateau.drops,
            net_hash=self._net_hash(),
            solver_type=self.param.type,
            batch=self._batches,
        )
        if math.isfinite(self._plateau.best):
            exact.plateau_best = self._plateau.best
        if self._keeper.best is not None:
            exact.best, exact.best_iter = self._keeper.best
        state = SolverState(iter=self.iter, current_step=self._current_step(), cvgg=exact)
        model, path = snapshot.write(
            self.param.snapshot_prefix, self.net, state, self._history_blobs()
        )
        log.info("Snapshotting to binary proto file %s", model)
        log.info("Snapshotting solver state to binary proto file %s", path)
        self.report.tell("snapshot", self.iter, model=model, state=path)
        self._saved_at, self._missed = self.iter, None
        self._keeper.wrote(self.iter)
        return path

    def restore(self, path: str | PathLike[str]) -> None:
        """Goes on from a .solverstate, ours or Caffe's; with ours every later number is the same as
        without the interruption."""
        params = self.net.plan.params
        saved = snapshot.read(path, [param.definition.shape for param in params])
        if saved.exact and saved.exact.solver_type not in ("", self.param.type):
            raise DataError(
                f"{saved.path}: written by a solver of type {saved.exact.solver_type!r}; this one "
                f"is {self.param.type!r}, to which its history means something else"
            )
        self.net.copy_from(saved.model)
        flat = np.zeros(self.net.plan.learned, dtype=np.float32)
        for param, values in zip(params, saved.history, strict=True):
            if param.learned:
                flat[param.offset : param.offset + param.size] = values
        self.engine.copy_in(self._history, flat)
        self.iter = self._saved_at = saved.iter
        self._batches = self.iter * self.param.iter_size
        self._losses.clear()
        self._plateau = Plateau()
        self._keeper.resumed(saved.path, saved.iter)
        if saved.exact is None:
            log.warning(
                "%s was written by Caffe: it has no data position or random numbers, so training "
                "goes on, but not "
                "exactly as it would have",
                saved.path,
            )
        else:
            self._restore_exact(saved.path, saved.exact)
        log.info("Restored %s: iteration %d", saved.path, self.iter)

    def close(self) -> None:
        """Stops the threads that bring data."""
        for net in (self.net, *self.test_nets):
            net.close()

    # ---- one iteration
    def _run(self, stop: int) -> Action:
        action = self._iterate(stop)
        self._check_update()
        return action

    def _iterate(self, stop: int) -> Action:
        self.report.start(self.iter, self.net.waited_s)
        while self.iter < stop:
            if self._test_due() and (self.iter or self.param.test_initialization):
                self.test()
                if (action := self.action()) == "stop":
                    return action
            self.net.clear_param_diffs()
            outputs, loss = self._forward_backward(backward=True)
            smoothed = self._smooth(loss)
            if self._due(self.param.display):
                self._show(outputs, smoothed)
            self._update()
            self.iter += 1
            action = self.action()
            if action == "snapshot" or (
                self.param.snapshot and self.iter % self.param.snapshot == 0
            ):
                self._save()
            if action == "stop":
                return action
        return ""

    def _save(self) -> None:
        """A snapshot that cannot be written costs the snapshot, not the training."""
        try:
            self.snapshot()
        except (CannotCreateError, InputOutputError) as fault:
            self._missed = fault
            log.warning(
                "Iteration %d: no snapshot: %s; make room: it is tried again at the next snapshot "
                "and in the end",
                *(self.iter, fault),
            )

    def _check_saved(self) -> None:
        """Raises why the last snapshot is missing, if it is."""
        if self._missed is not None:
            raise type(self._missed)(f"the last snapshot is missing: {self._missed}")

    def _check_finite(self) -> None:
        """A snapshot of weights that ran away must not take the place of a good one."""
        for layer, blobs in self.net.flat.by_layer.items():
            for i, blob in enumerate(blobs):
                if (at := self.engine.kernels.find_nonfinite(blob.data)) >= 0:
                    raise TrainingError(
                        f"iteration {self.iter}: no snapshot: param {i} of layer {layer!r}, "
                        f"element {at}, is not finite; a lower base_lr usually helps "
                        f"(now {self.lr:g})"
                    )

    def _forward_backward(self, *, backward: bool) -> tuple[Outputs, float]:
        """iter_size batches: the outputs of the last one and the mean loss. Gradients are
        summed."""
        losses = []
        outputs: Outputs = {}
        for sub in range(self.param.iter_size):
            number = self._batches + sub
            outputs = self.net.run(number, draw=number, backward=backward, ahead=backward)
            losses.append(self.net.loss())
            self._check_update()
            if not math.isfinite(losses[-1]):
                if wrong := wrong_label(self.net, number, draw=number):
                    raise DataError(f"iteration {self.iter}: {wrong}")
                where = self.net.find_nonfinite(number, draw=number)
                raise TrainingError(
                    f"iteration {self.iter}: the loss is {losses[-1]:g}; first seen in "
                    f"{where or 'the loss'}; a lower base_lr usually helps (now {self.lr:g})"
                )
        if backward:
            self._batches += self.param.iter_size
        return outputs, sum(losses) / len(losses)

    def _update(self) -> None:
        """w -= v, v = momentum v + rate (gradient + decay): one call over the flat arrays."""
        kernels, flat, plan = self.engine.kernels, self.net.flat, self.net.plan
        if flat.diff is None or not plan.learned:
            return
        scale = 1.0 / self.param.iter_size  # fixed; the rate is not, so it comes through memory
        scalars = np.zeros(Scalars.SLOTS, dtype=np.float32)
        scalars[Scalars.RATE], scalars[Scalars.SCALE] = self.lr, scale
        self.engine.copy_in(self._scalars, scalars)
        threshold = self.param.clip_gradients if self.param.clip_gradients >= 0 else math.inf
        decay, l1 = self.param.weight_decay, self.param.regularization_type == "L1"

        def work() -> None:
            kernels.clip_gradients(flat.diff, self._scalars, threshold=threshold, scale=scale)
            kernels.sgd_update(
                flat.learned,
                flat.diff,
                self._history,
                self._scalars,
                segments=plan.segments,
                momentum=self.param.momentum,
                l1=decay if l1 else 0.0,
                l2=0.0 if l1 else decay,
            )

        self.engine.run(work, self._recordings, "update")
        self._unchecked = True

    def _check_update(self) -> None:
        """Raises TrainingError if the last gradient was not finite; its update then changed
        nothing. Asked where the device has been waited for anyway, an iteration later."""
        unchecked, self._unchecked = self._unchecked, False
        if not unchecked or not self.engine.copy_out(self._scalars)[Scalars.NONFINITE]:
            return
        raise TrainingError(
            f"iteration {self.iter - 1}: the gradient is not finite; first seen in "
            f"{self._find_nonfinite_gradient() or 'the sum'}; the weights were not updated; "
            f"a lower base_lr usually helps (now {self.lr:g})"
        )

    def _find_nonfinite_gradient(self) -> str:
        """Where, by doing the last iteration again: the weights are the same and so is the data."""
        self.net.clear_param_diffs()
        for number in range(self._batches - self.param.iter_size, self._batches):
            self.net.run(number, draw=number, backward=True)
        for layer, blobs in self.net.flat.by_layer.items():
            for i, blob in enumerate(blobs):
                if blob.diff is None:
                    continue
                if (at := self.engine.kernels.find_nonfinite(blob.diff)) >= 0:
                    return f"the gradient of param {i} of layer {layer!r}, element {at}"
        return ""

    def _smooth(self, loss: float) -> float:
        """Mean of this loss and those before it, average_loss at most."""
        self._losses.append(loss)
        return sum(self._losses) / len(self._losses)

    def _show(self, outputs: Outputs, smoothed: float, *, remember: bool = True) -> None:
        if not remember:
            self._losses.pop()
        self.report.display(
            self.iter,
            loss=smoothed,
            rate=self.lr,
            outputs=outputs,
            weights=self.net.plan.loss_weights,
            images=(self.net.batch or 0) * self.param.iter_size,
            waited_s=self.net.waited_s,
        )

    # ---- tests
    def _due(self, interval: int) -> bool:
        return interval > 0 and self.iter % interval == 0

    def _test_due(self) -> bool:
        return bool(self.test_nets) and self._due(self.param.test_interval)

    def _test(self, net: Net, batches: int) -> tuple[Outputs, float]:
        sums: dict[str, NDArray[Any]] = {}
        loss = 0.0
        for number in range(batches):
            outputs = net.run(number, draw=number, backward=False)
            loss += net.loss() / batches
            for name, values in outputs.items():
                sums[name] = sums.get(name, 0.0) + np.asarray(values, dtype=np.float64)
        return {name: values / batches for name, values in sums.items()}, loss

    def _check_plateau(self) -> None:
        name = self.param.plateau_output
        if self.param.lr_policy != "plateau":
            return
        outputs = [output for net in self.test_nets for output in net.outputs]
        if name not in outputs:
            where = self.definition.origin.at("plateau_output")
            raise UsageError(
                f"{where}: plateau_output {name!r} is no output of a test net; there are: "
                f"{', '.join(outputs) or 'none, since there is no test net'}"
            )

    def _watch_plateau(self, results: Sequence[Outputs]) -> None:
        if self.param.lr_policy != "plateau":
            return
        name = self.param.plateau_output
        value = next(float(np.mean(each[name])) for each in results if name in each)
        if self._plateau.watch(
            value, patience=self.param.plateau_patience, most=self.param.plateau_drops
        ):
            log.info(
                "Plateau: %s has not passed %.6g; the rate drops to %.6g",
                *(self.param.plateau_output, self._plateau.best, self.lr),
            )
            self.report.tell("plateau", self.iter, lr=self.lr, best=self._plateau.best)

    def _value(self, results: Sequence[Outputs], name: str) -> float:
        """The mean of a test output, so that larger is better: of a loss the negative."""
        for net, each in zip(self.test_nets, results, strict=True):
            if name in each:
                return float(np.mean(each[name])) * (-1 if name in net.plan.loss_weights else 1)
        raise AssertionError(name)

    # ---- state
    def _restore_exact(self, path: str, exact: ExactState) -> None:
        if exact.HasField("best"):
            self._keeper.best = (exact.best, exact.best_iter)
        self._batches = exact.batch
        self._losses.extend(exact.losses)
        best = exact.plateau_best if exact.HasField("plateau_best") else -math.inf
        self._plateau = Plateau(best, exact.plateau_count, exact.plateau_drops)
        if self.param.random_seed >= 0 and exact.seed != self.param.random_seed:
            log.warning(
                "%s was made with random_seed %d; the solver now says %d, so the numbers differ "
                "from here on",
                *(path, exact.seed, self.param.random_seed),
            )
        elif exact.seed != self.seed:
            self.seed = exact.seed
            for net in (self.net, *self.test_nets):
                net.reseed(self.seed)
        if exact.net_hash != self._net_hash():
            log.warning("%s was written for a net whose prototxt read otherwise", path)

    def _history_blobs(self) -> list[tuple[NDArray[np.float32], Shape]]:
        """One for each param in the order of the layers, zeros for those that are not learned:
        Caffe's order."""
        host = self.engine.copy_out(self._history)
        return [
            (
                host[param.offset : param.offset + param.size]
                if param.learned
                else np.zeros(count(param.definition.shape), dtype=np.float32),
                param.definition.shape,
            )
            for param in self.net.plan.params
        ]

    def _current_step(self) -> int:
        """What Caffe keeps for step and multistep."""
        if self.param.lr_policy == "step":
            return self.iter // self.param.stepsize
        if self.param.lr_policy == "multistep":
            return sum(self.iter >= value for value in self.param.stepvalue)
        return 0

    def _net_hash(self) -> str:
        text = self.net.netdef.message.SerializeToString(deterministic=True)
        return hashlib.sha256(text).hexdigest()
