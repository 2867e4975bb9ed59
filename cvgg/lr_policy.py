"""Learning rate by iteration: pure functions of (solver settings, iter), one a policy.

`iter` counts finished updates. Source of the formulae: Caffe's sgd_solver.cpp. "plateau" is ours:
what the VGG paper did by hand ("decreased by a factor of 10 when the validation set accuracy
stopped improving")."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from cvgg.errors import DataError
from cvgg.netdef.caffe_pb2 import SolverParameter


@dataclass
class Plateau:
    """What the plateau policy remembers: the best value seen, tests since then, drops made."""

    best: float = -math.inf
    count: int = 0
    drops: int = 0

    def watch(self, value: float, *, patience: int, most: int) -> bool:
        """Takes a test's value (larger is better); True if the rate drops now."""
        if value > self.best:
            self.best, self.count = value, 0
            return False
        self.count += 1
        if self.count < patience or self.drops >= most:
            return False
        self.count, self.drops = 0, self.drops + 1
        return True


def _multistep(s: SolverParameter, i: int, _: Plateau) -> float:
    return s.base_lr * s.gamma ** sum(i >= value for value in s.stepvalue)


def _sigmoid(s: SolverParameter, i: int, _: Plateau) -> float:
    return s.base_lr / (1.0 + math.exp(-s.gamma * (i - s.stepsize)))


POLICIES: dict[str, Callable[[SolverParameter, int, Plateau], float]] = {
    "fixed": lambda s, i, _: s.base_lr,
    "step": lambda s, i, _: s.base_lr * s.gamma ** (i // s.stepsize),
    "exp": lambda s, i, _: s.base_lr * s.gamma**i,
    "inv": lambda s, i, _: s.base_lr * (1.0 + s.gamma * i) ** -s.power,
    "multistep": _multistep,
    "poly": lambda s, i, _: s.base_lr * max(0.0, 1.0 - i / s.max_iter) ** s.power,
    "sigmoid": _sigmoid,
    "plateau": lambda s, i, plateau: s.base_lr * s.gamma**plateau.drops,
}

# The settings that a policy cannot do without.
NEEDED = {
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
    "plateau": ("gamma", "plateau_output"),
}


def check(solver: SolverParameter) -> None:
    """Raises DataError if the policy is unknown or a setting that it needs is missing or out of
    range."""
    policy = solver.lr_policy
    if policy not in POLICIES:
        raise DataError(f"lr_policy: {policy!r} is not known; known are {', '.join(POLICIES)}")
    for name in NEEDED.get(policy, ()):
        value = getattr(solver, name)
        there = len(value) if name == "stepvalue" else solver.HasField(name)  # type: ignore[arg-type]
        if not there:
            raise DataError(f'lr_policy "{policy}" needs {name}')
    if "stepsize" in NEEDED.get(policy, ()) and solver.stepsize <= 0:
        raise DataError(f"stepsize must be above 0, is {solver.stepsize}")
    if list(solver.stepvalue) != sorted(solver.stepvalue):
        raise DataError(f"stepvalue must rise, is {list(solver.stepvalue)}")


def learning_rate(solver: SolverParameter, iter: int, plateau: Plateau) -> float:
    """The rate of update number `iter` (from 0), before lr_mult."""
    return POLICIES[solver.lr_policy](solver, iter, plateau)
