"""cvgg train: trains a net as a solver prototxt says."""

import argparse
import errno
import json
import logging
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Literal

from cvgg.commands import arguments, logs
from cvgg.errors import CannotCreateError, UsageError

if TYPE_CHECKING:
    from cvgg.solver import Solver
    from cvgg.solver.report import Record

Effect = Literal["stop", "snapshot", "none"]

log = logging.getLogger("cvgg")

EXAMPLE = """example:
  cvgg train --solver prototxt/solver_E.prototxt
  cvgg train --solver solver.prototxt --snapshot net_iter_5000.solverstate"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg train`."""
    parser = commands.add_parser(
        "train",
        help="train a net as a solver prototxt says",
        description="Trains a net as a solver prototxt says.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--solver", required=True, metavar="FILE", help="the solver prototxt")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--snapshot", metavar="FILE", help="go on from this .solverstate; auto: the last"
    )
    start.add_argument(
        "--weights",
        type=arguments.names,
        default=(),
        metavar="F,G",
        help="start from these .caffemodel files",
    )
    arguments.add_engine(parser)
    arguments.add_rules(parser)
    effects = ("stop", "snapshot", "none")
    for name, default in (("sigint", "stop"), ("sigterm", "stop"), ("sighup", "snapshot")):
        parser.add_argument(
            f"--{name}-effect", choices=effects, default=default, help=f"what {name.upper()} does"
        )
    parser.add_argument(
        "--keep", type=arguments.positive, metavar="N", help="keep the newest N snapshots only"
    )
    parser.add_argument(
        "--keep-best",
        default="",
        metavar="OUTPUT",
        help="with --keep: also the one with the best value of this test output",
    )
    parser.add_argument("--log-file", metavar="FILE", help="beside the snapshots: PREFIX.log")
    parser.add_argument("--quiet", action="store_true", help="warnings only on standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 also when a signal stopped it after a snapshot; else the signal's code."""
    from cvgg.netdef.caffe_pb2 import SolverParameter
    from cvgg.netdef.prototxt import read_solver
    from cvgg.snapshot import latest_whole, sweep
    from cvgg.solver import Solver

    logs.start(quiet=args.quiet)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # `cvgg train 2>&1 | head` trains on
    if args.keep_best and not args.keep:
        raise UsageError("--keep-best goes with --keep N; without it every snapshot is kept")
    definition = read_solver(args.solver)
    message = definition.message
    asked = None
    if message.HasField("solver_mode"):
        asked = message.solver_mode == SolverParameter.GPU
    engine = arguments.engine_of(args, gpu_asked=asked)
    solver = Solver(definition, engine, memory=args.memory, level=args.level, stages=args.stage)
    if args.keep:
        solver.keep(args.keep, args.keep_best)
    for name in sweep(message.snapshot_prefix):
        log.info("Removed %s, which a killed process has left", name)
    snapshot = args.snapshot
    if snapshot == "auto":
        snapshot = latest_whole(message.snapshot_prefix)
        log.info("Snapshot: %s", snapshot or "none is there yet, from the start")
    prefix = message.snapshot_prefix
    logs.add_file(args.log_file or f"{prefix}.log")
    log.info("Initializing solver from parameters:\n%s", message)
    _describe(solver)
    for each in (*message.weights, *args.weights):
        solver.net.copy_from(each)
    solver.report.listeners.append(Metrics(f"{prefix}.metrics.jsonl"))
    if sys.stderr.isatty() and not args.quiet:
        solver.report.listeners.append(Remaining(message.max_iter))
    signals = Signals(args)
    solver.action = signals.take
    try:
        action = solver.solve(snapshot)
    finally:
        solver.close()
    if action == "stop" and not message.snapshot_after_train:
        return 128 + signals.last
    return 0


def _describe(solver: "Solver") -> None:
    """Which batch, cut how, and what memory it takes: known before anything runs."""
    from cvgg.plan import mebibytes

    net, memory = solver.net, solver.net.memory
    passes = net.micro_batches
    if net.batch is not None:
        how = "in one pass"
        if len(passes) > 1:
            sizes = " or ".join(map(str, sorted(set(passes))))  # they differ by one at most
            how = f"in {len(passes)} micro-batches of {sizes}"
        log.info(
            "Batch of %d images %s; iter_size %d: %d images an update (the whole minibatch, "
            "however many workers share it)",
            *(net.batch, how, solver.param.iter_size, net.batch * solver.param.iter_size),
        )
    log.info(
        "Memory: %s MiB of the %s that it may use (params %s, gradients %s, history %s, blobs %s, "
        "other %s)",
        *(
            mebibytes(amount)
            for amount in (
                memory.total,
                solver.limit,
                memory.params,
                memory.gradients,
                memory.history,
                memory.blobs,
                memory.lasting + memory.workspace,
            )
        ),
    )
    log.info("Random seed: %d", solver.seed)


class Metrics:
    """Appends every record to a file as a JSON line; a full disk costs the line, not the
    training."""

    def __init__(self, path: str) -> None:
        """Raises CannotCreateError."""
        self._path = path
        try:
            # Unbuffered: what a full disk refused must not come back later, or at the end.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        except OSError as fault:
            raise CannotCreateError(f"{path}: {fault.strerror}") from fault
        self._told = False

    def __call__(self, record: "Record") -> None:
        line = json.dumps({**record, "time": round(time.time(), 3)}, allow_nan=True) + "\n"
        try:
            if self._file.write(line.encode()) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as fault:
            if not self._told:
                log.warning("%s: %s; lines are missing from it", self._path, fault.strerror)
            self._told = True


class Remaining:
    """Logs how long the rest will take, at every display."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._first: tuple[int, float] | None = None

    def __call__(self, record: "Record") -> None:
        if record["event"] != "train":
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (record["iter"], now)
            return
        since, start = self._first
        done = record["iter"] - since
        if done > 0:
            from cvgg.commands.progress import duration

            left = (self._last - record["iter"]) * (now - start) / done
            log.info("    %d of %d iterations, %s left", record["iter"], self._last, duration(left))


class Signals:
    """What SIGINT, SIGTERM and SIGHUP ask of the solver; a second one of the same kind ends the
    process at once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._effects: dict[int, Effect] = {
            signal.SIGINT: args.sigint_effect,
            signal.SIGTERM: args.sigterm_effect,
            signal.SIGHUP: args.sighup_effect,
        }
        self._pending: list[int] = []
        self.last = 0
        for number in self._effects:
            signal.signal(number, self._arrive)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        if self._effects[number] == "stop" and number in self._pending:
            os.write(2, b"cvgg: stopped at once; the last snapshot stands\n")
            os._exit(128 + number)
        self._pending.append(number)

    def take(self) -> Literal["", "snapshot", "stop"]:
        """What the signals since the last call ask for."""
        arrived, self._pending = (
            self._pending,
            [number for number in self._pending if self._effects[number] == "stop"],
        )
        wanted = [self._effects[number] for number in arrived]
        for effect in ("stop", "snapshot"):
            if effect in wanted:
                self.last = arrived[wanted.index(effect)]
                log.info("%s: %s", signal.Signals(self.last).name, effect)
                return effect
        return ""
