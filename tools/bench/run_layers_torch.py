"""The same layers by PyTorch, for layers.py: what its own layers call, without autograd where the
gradient is a function of its own."""

import sys
from collections.abc import Callable
from typing import Any

import torch
import vgg
from problems import Problem
from torch.nn import functional
from turns import solve_problems

Call = Callable[[], Any]
aten = torch.ops.aten


class Layers:
    """Makes the call of a problem, with tensors of its own."""

    def __init__(self, form: str) -> None:
        """form: channels_last or default: how tensors of four axes lie."""
        self.last = form == "channels_last"

    def call(self, problem: Problem) -> Call:
        make: Callable[[Problem], Call] = getattr(self, problem.kind)
        return make(problem)

    def random(self, *shape: int) -> torch.Tensor:
        tensor = torch.randn(*shape)
        if self.last and len(shape) == 4:
            return tensor.to(memory_format=torch.channels_last)
        return tensor

    def conv(self, problem: Problem) -> Call:
        s = problem.sizes
        x = self.random(problem.batch, s["c"], s["size"], s["size"])
        w = self.random(s["k"], s["c"] // s["group"], s["window"], s["window"])
        b = self.random(s["k"])
        dy = self.random(problem.batch, s["k"], problem.side, problem.side)
        stride, pad, dilation = ([s[key]] * 2 for key in ("stride", "pad", "dilation"))
        numbers = (stride, pad, dilation, False, [0, 0], s["group"])
        back = aten.convolution_backward
        return {
            "forward": lambda: aten.convolution(x, w, b, *numbers),
            "backward-data": lambda: back(dy, x, w, [s["k"]], *numbers, [True, False, False]),
            "backward-weights": lambda: back(dy, x, w, [s["k"]], *numbers, [False, True, True]),
        }[problem.work]

    def fc(self, problem: Problem) -> Call:
        n, c, k = problem.batch, problem.sizes["c"], problem.sizes["k"]
        x, w, b, dy = self.random(n, c), self.random(k, c), self.random(k), self.random(n, k)
        return {
            "forward": lambda: functional.linear(x, w, b),
            "backward-data": lambda: dy.mm(w),
            "backward-weights": lambda: (dy.t().mm(x), dy.sum(0)),
        }[problem.work]

    def pool(self, problem: Problem) -> Call:
        s = problem.sizes
        x = self.random(problem.batch, s["c"], s["size"], s["size"])
        numbers = ([s["window"]] * 2, [s["stride"]] * 2, [0, 0], [1, 1], True)
        y, places = aten.max_pool2d_with_indices(x, *numbers)
        back = aten.max_pool2d_with_indices_backward
        return {
            "forward": lambda: aten.max_pool2d_with_indices(x, *numbers),
            "backward": lambda: back(y, x, *numbers, places),
        }[problem.work]

    def lrn(self, problem: Problem) -> Call:
        x, dy = self.images(problem), self.images(problem)

        def forward(images: torch.Tensor) -> torch.Tensor:
            return functional.local_response_norm(images, 5, 1e-4, 0.75, 1.0)

        return both_ways(problem, forward, x, dy)

    def relu(self, problem: Problem) -> Call:
        x, dy = self.images(problem), self.images(problem)
        return {
            "forward": lambda: functional.relu_(x),
            "backward": lambda: aten.threshold_backward(dy, x, 0),
        }[problem.work]

    def images(self, problem: Problem) -> torch.Tensor:
        side = problem.sizes["size"]
        return self.random(problem.batch, problem.sizes["c"], side, side)

    def dropout(self, problem: Problem) -> Call:
        x, dy = (self.random(problem.batch, problem.sizes["c"]) for _ in range(2))
        return both_ways(problem, lambda x: functional.dropout(x, 0.5), x, dy)

    def loss(self, problem: Problem) -> Call:
        x = self.random(problem.batch, problem.sizes["c"])
        label = torch.randint(0, problem.sizes["c"], (problem.batch,))
        return both_ways(problem, lambda x: functional.cross_entropy(x, label), x, torch.ones(()))

    def update(self, problem: Problem) -> Call:
        params = [torch.nn.Parameter(torch.randn(*shape)) for shape in vgg.params("A")]
        for param in params:
            param.grad = torch.randn_like(param)
        sgd = torch.optim.SGD(params, lr=1e-6, momentum=0.9, weight_decay=5e-4, foreach=True)

        def update_after_norm() -> None:
            torch.nn.utils.clip_grad_norm_(params, 1e9, foreach=True)
            sgd.step()

        return {"SGD": sgd.step, "norm of the gradient, SGD": update_after_norm}[problem.work]


def both_ways(
    problem: Problem,
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    dy: torch.Tensor,
) -> Call:
    """`function` of x, or its gradient as autograd has it."""
    if problem.work == "forward":
        return lambda: function(x)
    x.requires_grad_()
    with torch.enable_grad():
        y = function(x)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    solve_problems(Layers(sys.argv[2]).call)
