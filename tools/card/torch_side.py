"""The same work by torch and cuDNN, in exact fp32 (TF32 off), channels last."""

import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[], Any]

MISSING = "torch is not installed: no comparison"
NO_GPU = "torch sees no GPU: no comparison"


def find_torch(number: int, flush: int) -> "Torch | str":
    """Torch on card `number`, or a line that says why not. flush: bytes to write before a timed
    call."""
    try:
        import torch
    except ImportError:
        return MISSING
    if not torch.cuda.is_available():
        return NO_GPU
    torch.cuda.set_device(number)
    return Torch(torch, "cuda", flush)


class Torch:
    """Makes work and times it. Tensors are drawn anew for each."""

    def __init__(self, torch: Any, device: str, flush: int = 0) -> None:
        """device: "cpu" has neither graphs nor events; it is there for tests."""
        self.torch, self.device = torch, device
        self.aten, self.functional = torch.ops.aten, torch.nn.functional
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self._flush = torch.empty(flush, dtype=torch.uint8, device=device)

    @property
    def version(self) -> str:
        cudnn = self.torch.backends.cudnn.version()
        return f"{self.torch.__version__}, cuDNN {cudnn}"

    def draw(self, shape: Sequence[int]) -> Any:
        """Normal numbers; four axes with channels last."""
        made = self.torch.randn(*shape, device=self.device)
        last = self.torch.channels_last
        return made.to(memory_format=last) if len(shape) == 4 else made

    def forget(self) -> None:
        """Gives memory back to the card."""
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()

    def timer(self, work: Work) -> Callable[[], float]:
        """A function that does the work once, its caches flushed, and gives the milliseconds. The
        work is recorded, so that the host's time is not in it."""
        cuda = self.torch.cuda
        stream = cuda.Stream()
        cuda.synchronize()  # what the work reads was drawn on another stream
        with cuda.stream(stream), self.torch.no_grad():
            for _ in range(3):  # cuDNN tries its algorithms
                work()
            stream.synchronize()
            graph = cuda.CUDAGraph()
            with cuda.graph(graph, stream=stream):
                work()

        def once() -> float:
            first, last = (cuda.Event(enable_timing=True) for _ in range(2))
            with cuda.stream(stream):
                self._flush.zero_()
                first.record(stream)
                graph.replay()
                last.record(stream)
            stream.synchronize()
            return float(first.elapsed_time(last))

        return once

    # ---- convolutions: x (n,c,h,w)  w (k,c,r,s)
    def conv_relu(self, x: Sequence[int], w: Sequence[int], pad: int) -> Work:
        image, weights, bias = self.draw(x), self.draw(w), self.draw(w[:1])
        conv = self.functional.conv2d
        return lambda: conv(image, weights, bias, padding=pad).relu_()

    def conv_relu_pool(self, x: Sequence[int], w: Sequence[int], pad: int) -> Work:
        forward = self.conv_relu(x, w, pad)
        pool = self.functional.max_pool2d
        return lambda: pool(forward(), 2, return_indices=True)

    def conv_back(self, x: Sequence[int], w: Sequence[int], pad: int, *, data: bool) -> Work:
        image, weights = self.draw(x), self.draw(w)
        diff = self.draw((x[0], w[0], *x[2:]))
        both = [1, 1], [pad, pad], [1, 1]
        mask = [data, not data, False]
        back = self.aten.convolution_backward
        return lambda: back(diff, image, weights, None, *both, False, [0, 0], 1, mask)

    def relu_bias_back(self, y: Sequence[int]) -> Work:
        values, diff = self.draw(y), self.draw(y)
        back = self.aten.threshold_backward
        return lambda: back(diff, values, 0).sum((0, 2, 3))

    def relu_pool_bias_back(self, y: Sequence[int]) -> Work:
        values = self.draw(y).relu_()
        pooled, place = self.functional.max_pool2d(values, 2, return_indices=True)
        diff, pair = self.draw(pooled.shape), [2, 2]
        unpool, mask = self.aten.max_pool2d_with_indices_backward, self.aten.threshold_backward

        def work() -> Any:
            wide = unpool(diff, values, pair, pair, [0, 0], [1, 1], False, place)
            return mask(wide, values, 0).sum((0, 2, 3))

        return work

    # ---- fully connected: x (n,c)  w (k,c)
    def fc(self, n: int, c: int, k: int) -> Work:
        x, w, b = self.draw((n, c)), self.draw((k, c)), self.draw((k,))
        linear = self.functional.linear
        return lambda: linear(x, w, b)

    def fc_data_back(self, n: int, c: int, k: int) -> Work:
        dy, w = self.draw((n, k)), self.draw((k, c))
        return lambda: dy @ w

    def fc_weights_back(self, n: int, c: int, k: int) -> Work:
        x, dy = self.draw((n, c)), self.draw((n, k))
        return lambda: dy.T @ x

    # ---- flat arrays
    def copy(self, size: int) -> Work:
        x, y = self.draw((size,)), self.draw((size,))
        return lambda: y.copy_(x)

    def update(self, params: int) -> Work:
        """Torch's own fused SGD over one flat tensor."""
        w = self.torch.nn.Parameter(self.draw((params,)))
        w.grad = self.draw((params,))
        fused = self.device == "cuda"
        optimizer = self.torch.optim.SGD(
            [w], lr=1e-6, momentum=0.9, weight_decay=0.0005, fused=fused
        )
        work: Work = optimizer.step
        return work

    # ---- whole nets
    def step(self, blocks: Sequence[Sequence[int]], batch: int, *, compiled: bool) -> Work:
        """A training step of a VGG net of these blocks of widths; the loss is read, as our solver
        does."""
        torch = self.torch
        net = _vgg(torch.nn, blocks).to(self.device, memory_format=torch.channels_last)
        fused = self.device == "cuda"
        optimizer = torch.optim.SGD(
            net.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005, fused=fused
        )
        images = torch.ones(batch, 3, 224, 224, device=self.device)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.full((batch,), 7, device=self.device)
        with_loss = _with_loss(torch, net)
        loss_of = torch.compile(with_loss) if compiled else with_loss

        def work() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(images, labels)
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return work


def _with_loss(torch: Any, net: Any) -> Callable[[Any, Any], Any]:
    cross_entropy = torch.nn.functional.cross_entropy
    return lambda images, labels: cross_entropy(net(images), labels)


def _vgg(nn: Any, blocks: Sequence[Sequence[int]], side: int = 224, classes: int = 1000) -> Any:
    """Convolutions of 3 x 3 with ReLU, a pooling after each block, three fully connected layers."""
    parts, c = [], 3
    for widths in blocks:
        for k in widths:
            parts += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU(inplace=True)]
            c = k
        parts.append(nn.MaxPool2d(2))
        side //= 2
    parts.append(nn.Flatten())
    for inputs in (c * side * side, 4096):
        parts += [nn.Linear(inputs, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*parts, nn.Linear(4096, classes))
