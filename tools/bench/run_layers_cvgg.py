"""Layers one by one by cvgg's CPU kernels, for layers.py. Workspaces are made beforehand; weights
are transformed in the call."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import vgg
from problems import Problem
from turns import solve_problems

from cvgg.engine import Engine, open_engine
from cvgg.kernels.interface import Array, Scalars, Segment, State

Call = Callable[[], Any]


class Layers:
    """Makes the call of a problem, with arrays of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.kernels = engine, engine.kernels
        self._random = np.random.default_rng(1)

    def call(self, problem: Problem) -> Call:
        make: Callable[[Problem], Call] = getattr(self, problem.kind)
        return make(problem)

    def empty(self, *shape: int, dtype: str = "float32") -> Array:
        return self.engine.empty(shape, dtype)

    def random(self, *shape: int) -> Array:
        array = self.empty(*shape)
        self._random.standard_normal(out=array, dtype=np.float32)
        return array

    def conv(self, problem: Problem) -> Call:
        s, kernels = problem.sizes, self.kernels
        x = self.random(problem.batch, s["c"], s["size"], s["size"])
        w = self.random(s["k"], s["c"] // s["group"], s["window"], s["window"])
        b = self.random(s["k"])
        y = self.random(problem.batch, s["k"], problem.side, problem.side)
        numbers: dict[str, Any] = {key: (s[key],) * 2 for key in ("stride", "pad", "dilation")}
        numbers["group"] = s["group"]
        numbers["workspace"] = self.empty(kernels.conv_workspace(x.shape, w.shape, **numbers))
        return {
            "forward": lambda: kernels.conv_forward(x, w, b, y, **numbers),
            "backward-data": lambda: kernels.conv_backward_data(w, y, x, **numbers),
            "backward-weights": lambda: kernels.conv_backward_weights(x, y, w, b, **numbers),
        }[problem.work]

    def fc(self, problem: Problem) -> Call:
        n, c, k, kernels = problem.batch, problem.sizes["c"], problem.sizes["k"], self.kernels
        x, w, b, y = self.random(n, c), self.random(k, c), self.random(k), self.random(n, k)
        said: dict[str, Any] = {"transpose": False}
        said["workspace"] = self.empty(kernels.fc_workspace(n, c, k))
        return {
            "forward": lambda: kernels.fc_forward(x, w, b, y, **said),
            "backward-data": lambda: kernels.fc_backward_data(w, y, x, **said),
            "backward-weights": lambda: kernels.fc_backward_weights(x, y, w, b, **said),
        }[problem.work]

    def pool(self, problem: Problem) -> Call:
        s, kernels = problem.sizes, self.kernels
        x = self.random(problem.batch, s["c"], s["size"], s["size"])
        y = self.empty(problem.batch, s["c"], problem.side, problem.side)
        argmax = self.empty(*y.shape, dtype="int32")
        numbers: dict[str, Any] = {"window": (s["window"],) * 2, "stride": (s["stride"],) * 2}
        numbers["pad"] = (0, 0)
        kernels.pool_max_forward(x, y, argmax, **numbers)
        return {
            "forward": lambda: kernels.pool_max_forward(x, y, argmax, **numbers),
            "backward": lambda: kernels.pool_max_backward(y, argmax, x, **numbers),
        }[problem.work]

    def lrn(self, problem: Problem) -> Call:
        kernels = self.kernels
        x, dy, y, scale, dx = self.images(problem, 5)
        numbers: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75}
        kernels.lrn_across_forward(x, y, scale, k=1.0, **numbers)
        return {
            "forward": lambda: kernels.lrn_across_forward(x, y, scale, k=1.0, **numbers),
            "backward": lambda: kernels.lrn_across_backward(x, y, scale, dy, dx, **numbers),
        }[problem.work]

    def relu(self, problem: Problem) -> Call:
        kernels = self.kernels
        x, dy, dx = self.images(problem, 3)
        return {
            "forward": lambda: kernels.relu_forward(x, x, negative_slope=0.0),
            "backward": lambda: kernels.relu_backward(x, dy, dx, negative_slope=0.0),
        }[problem.work]

    def images(self, problem: Problem, count: int) -> Sequence[Array]:
        side = problem.sizes["size"]
        shape = problem.batch, problem.sizes["c"], side, side
        return [self.random(*shape) for _ in range(count)]

    def dropout(self, problem: Problem) -> Call:
        kernels, shape = self.kernels, (problem.batch, problem.sizes["c"])
        x, y = self.random(*shape), self.empty(*shape)
        state = self.empty(State.SLOTS, dtype="int64")
        return {
            "forward": lambda: kernels.dropout_forward(x, y, state, layer=1, ratio=0.5),
            "backward": lambda: kernels.dropout_backward(x, y, state, layer=1, ratio=0.5),
        }[problem.work]

    def loss(self, problem: Problem) -> Call:
        n, c, kernels = problem.batch, problem.sizes["c"], self.kernels
        x, prob, dx = self.random(n, c, 1), self.empty(n, c, 1), self.empty(n, c, 1)
        label, loss, dloss, count = self.empty(n, 1), self.empty(1), self.empty(1), self.empty(1)
        label[:, 0] = self._random.integers(0, c, n)
        dloss[0], count[0] = 1.0, n
        said: dict[str, Any] = {"ignore_label": None}
        kernels.softmax_loss_forward(x, label, prob, loss, count, **said)
        return {
            "forward": lambda: kernels.softmax_loss_forward(x, label, prob, loss, count, **said),
            "backward": lambda: kernels.softmax_loss_backward(
                prob, label, dloss, count, dx, **said
            ),
        }[problem.work]

    def update(self, problem: Problem) -> Call:
        kernels = self.kernels
        segments, size = [], 0
        for shape in vgg.params("A"):
            size += math.prod(shape)
            segments.append(Segment(size - math.prod(shape), size, 1.0, 1.0))
        w, dw, history = self.random(size), self.random(size), self.empty(size)
        scalars = self.empty(Scalars.SLOTS)
        scalars[Scalars.RATE], scalars[Scalars.SCALE] = 1e-6, 1.0
        numbers: dict[str, Any] = {"momentum": 0.9, "l1": 0.0, "l2": 5e-4}

        def update() -> None:
            kernels.sgd_update(w, dw, history, scalars, segments=segments, **numbers)

        def update_after_norm() -> None:
            kernels.clip_gradients(dw, scalars, threshold=1e9, scale=1.0)
            update()

        return {"SGD": update, "norm of the gradient, SGD": update_after_norm}[problem.work]


if __name__ == "__main__":
    solve_problems(Layers(open_engine("cpu", threads=int(sys.argv[1]))).call)
