"""What a solver prototxt asks for, checked before anything is made."""

import math
import os
import tempfile
from dataclasses import dataclass

from cvgg import lr_policy
from cvgg.errors import CannotCreateError, DataError, MissingInputError, PrototxtError
from cvgg.netdef.caffe_pb2 import TEST, TRAIN, NetParameter, NetState, SolverParameter
from cvgg.netdef.prototxt import NetDef, SolverDef, net_def, read_net


@dataclass(frozen=True)
class NetChoice:
    """A net of the solver: its definition and the state that its rules are matched against."""

    netdef: NetDef
    level: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Nets:
    """The train net and the test nets in Caffe's order, each of those with its test_iter."""

    train: NetChoice
    test: tuple[NetChoice, ...]


def check(solver: SolverDef) -> None:
    """Raises PrototxtError, at the field's line, for the first setting that cannot be obeyed."""
    message = solver.message
    for field, rule in _broken(message):
        raise PrototxtError(f"{solver.origin.at(field)}: {field}: {rule}")
    try:
        lr_policy.check(message)
    except DataError as fault:
        raise PrototxtError(f"{solver.origin.at('lr_policy')}: {fault}") from fault


def _broken(s: SolverParameter) -> list[tuple[str, str]]:
    """(field, what is wrong with it) of each setting that breaks a rule."""
    rules = {
        "type": (
            s.type != "SGD",
            f'"{s.type}" is a solver of Caffe that cvgg does not have yet; use "SGD"',
        ),
        "precision": (
            s.precision != "FP32",
            f'"{s.precision}" needs a GPU engine of that precision; use "FP32"',
        ),
        "base_lr": (not 0 <= s.base_lr < math.inf, f"must be a number from 0 up, is {s.base_lr}"),
        "momentum": (not 0 <= s.momentum < 1, f"must be at least 0 and below 1, is {s.momentum}"),
        "weight_decay": (
            not 0 <= s.weight_decay < math.inf,
            f"must be a number from 0 up, is {s.weight_decay}",
        ),
        "regularization_type": (
            s.regularization_type not in ("L1", "L2"),
            f'must be "L1" or "L2", is "{s.regularization_type}"',
        ),
        "max_iter": (s.max_iter < 0, f"must be at least 0, is {s.max_iter}"),
        "iter_size": (s.iter_size < 1, f"must be at least 1, is {s.iter_size}"),
        "average_loss": (s.average_loss < 1, f"must be at least 1, is {s.average_loss}"),
        "display": (s.display < 0, f"must be at least 0, is {s.display}"),
        "snapshot": (s.snapshot < 0, f"must be at least 0, is {s.snapshot}"),
        "test_interval": (s.test_interval < 0, f"must be at least 0, is {s.test_interval}"),
        "test_iter": (
            any(n < 1 for n in s.test_iter),
            f"must be at least 1, is {list(s.test_iter)}",
        ),
        "snapshot_format": (
            s.snapshot_format == SolverParameter.HDF5,
            "HDF5 is not written by cvgg; BINARYPROTO has no size limit here",
        ),
        "snapshot_diff": (s.snapshot_diff, "diffs are not written to snapshots; remove it"),
        "debug_info": (s.debug_info, "is not done by cvgg; look at net.blobs in Python instead"),
        "plateau_patience": (
            s.plateau_patience < 1,
            f"must be at least 1, is {s.plateau_patience}",
        ),
    }
    return [(field, text) for field, (broken, text) in rules.items() if broken]


def find_nets(solver: SolverDef) -> Nets:
    """The nets that the solver names or holds: Caffe's rules (solver.cpp, InitTrainNet,
    InitTestNets)."""
    s, origin = solver.message, solver.origin
    held = [f for f in ("net", "net_param", "train_net", "train_net_param") if s.HasField(f)]
    if len(held) != 1:
        raise PrototxtError(
            f"{origin}: a solver needs one of net, net_param, train_net, train_net_param; "
            f"it has {', '.join(held) or 'none'}"
        )
    train = _net(solver, held[0], getattr(s, held[0]))
    tests = [
        *(_net(solver, "test_net_param", each, i) for i, each in enumerate(s.test_net_param)),
        *(_net(solver, "test_net", each, i) for i, each in enumerate(s.test_net)),
    ]
    if held[0] in ("net", "net_param"):
        if not s.test_iter and s.test_interval:
            raise PrototxtError(f"{origin.at('test_interval')}: test_interval needs a test_iter")
        tests += [train] * (len(s.test_iter) - len(tests))
    if len(tests) != len(s.test_iter):
        raise PrototxtError(
            f"{origin.at('test_iter')}: {len(s.test_iter)} test_iter for {len(tests)} test nets; "
            "write one for each"
        )
    if s.test_state and len(s.test_state) != len(tests):
        raise PrototxtError(
            f"{origin.at('test_state')}: {len(s.test_state)} test_state for {len(tests)} test "
            "nets; write one for each or none"
        )
    if tests and not s.test_interval:
        raise PrototxtError(f"{origin.at('test_iter')}: test_iter needs a test_interval above 0")
    states = list(s.test_state) or [NetState() for _ in tests]
    return Nets(
        _choice(solver, "train_state", train, s.train_state, TRAIN),
        tuple(
            _choice(solver, "test_state", net, state, TEST)
            for net, state in zip(tests, states, strict=True)
        ),
    )


def _choice(solver: SolverDef, field: str, net: NetDef, state: NetState, phase: int) -> NetChoice:
    if state.HasField("phase") and state.phase != phase:
        wanted = "TRAIN" if phase == TRAIN else "TEST"
        raise PrototxtError(f"{solver.origin.at(field)}: {field}: phase must be {wanted} here")
    return NetChoice(net, state.level, tuple(state.stage))


def _net(solver: SolverDef, field: str, source: str | NetParameter, index: int = 0) -> NetDef:
    where = solver.origin.at(field, index) if index else solver.origin.at(field)
    if isinstance(source, NetParameter):
        return net_def(source, where)
    if not os.path.exists(source):
        beside = os.path.join(os.path.dirname(solver.origin.path), source)
        hint = (
            f"; there is {beside}: paths count from the current folder"
            if os.path.exists(beside)
            else ""
        )
        raise MissingInputError(f"{where}: {field}: no file {source!r} in {os.getcwd()}{hint}")
    return read_net(os.fspath(source))


def check_prefix(prefix: str) -> None:
    """Raises CannotCreateError if snapshots with this prefix cannot be written."""
    folder = os.path.dirname(prefix) or "."
    if not os.path.isdir(folder):
        raise CannotCreateError(
            f"snapshot_prefix {prefix!r}: there is no folder {folder!r}; make it"
        )
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".cvgg-"):
            pass
    except OSError as fault:
        raise CannotCreateError(
            f"snapshot_prefix {prefix!r}: cannot write in {folder!r}: {fault.strerror}"
        ) from fault
