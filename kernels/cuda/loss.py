"""Softmax, its loss, and accuracy, over the middle axis of (outer, c, inner), either layout."""

from .. import rules
from ..interface import Array
from .border import channels_last, check, form, has_shape, same
from .driver import DeviceArray
from .launch import Launcher

PARTS = 1024  # at most, of a sum over positions
SHARE = 1024  # threads' elements in one of them at least


class LossKernels(Launcher):
    """A label outside the classes makes NaN, as the interface says."""

    def softmax_forward(self, x: Array, y: Array) -> None:
        last = same("softmax_forward", x=x, y=y)
        rules.softmax("softmax_forward", x=x)
        self._softmax(x, y, last=last)

    def softmax_backward(self, y: Array, dy: Array, dx: Array) -> None:
        last = same("softmax_backward", y=y, dy=dy, dx=dx)
        rules.softmax("softmax_backward", y=y)
        lanes = _lanes(y, last=last)
        positions, blocks = _positions(y), self.blocks(_positions(y) * lanes)
        numbers = (positions, *form(y, last=last), lanes)
        self.launch("softmax_backward", blocks, y, dy, dx, *numbers)

    def count_labels(self, label: Array, count: Array, *, ignore_label: int) -> None:
        check("count_labels", label=label)
        has_shape("count_labels", (1,), count=count)
        chunks, parts = self._parts(label.size)
        self.launch("count_labels_sums", chunks, label, parts, ignore_label, label.size)
        self.launch("count_labels", 1, parts, count, chunks)

    def softmax_loss_forward(
        self,
        x: Array,
        label: Array,
        prob: Array,
        loss: Array,
        count: Array,
        *,
        ignore_label: int | None,
    ) -> None:
        function = "softmax_loss_forward"
        last = same(function, x=x, prob=prob)
        _check_labels(function, x, label)
        has_shape(function, (1,), loss=loss, count=count)
        self._softmax(x, prob, last=last)
        chunks, parts = self._parts(label.size)
        numbers = (label.size, *form(x, last=last), *_ignoring(ignore_label))
        self.launch("softmax_loss_sums", chunks, prob, label, parts, *numbers)
        self.launch("parts_over_count", 1, parts, count, loss, chunks)

    def softmax_loss_backward(
        self,
        prob: Array,
        label: Array,
        dloss: Array,
        count: Array,
        dx: Array,
        *,
        ignore_label: int | None,
    ) -> None:
        function = "softmax_loss_backward"
        last = same(function, prob=prob, dx=dx)
        _check_labels(function, prob, label)
        has_shape(function, (1,), dloss=dloss, count=count)
        numbers = (*form(prob, last=last), *_ignoring(ignore_label), prob.size)
        self.launch(function, self.blocks(prob.size), prob, label, dloss, count, dx, *numbers)

    def accuracy_forward(
        self,
        x: Array,
        label: Array,
        y: Array,
        count: Array,
        *,
        top_k: int,
        ignore_label: int | None,
    ) -> None:
        function = "accuracy_forward"
        has_shape(function, (1,), y=y, count=count)
        _check_labels(function, x, label)
        rules.top_k(function, x, top_k)
        last = channels_last(function, x=x)
        lanes = _lanes(x, last=last)
        chunks, parts = self._parts(label.size * lanes)
        numbers = (label.size, *form(x, last=last), lanes, top_k, *_ignoring(ignore_label))
        self.launch("accuracy_sums", chunks, x, label, parts, *numbers)
        self.launch("parts_over_count", 1, parts, count, y, chunks)

    def accuracy_per_class_forward(
        self, x: Array, label: Array, y: Array, *, top_k: int, ignore_label: int | None
    ) -> None:
        function = "accuracy_per_class_forward"
        check(function, y=y)
        rules.per_class(function, x, y)
        _check_labels(function, x, label)
        rules.top_k(function, x, top_k)
        last = channels_last(function, x=x)
        numbers = (label.size, *form(x, last=last), top_k, *_ignoring(ignore_label))
        self.launch(function, self.blocks(256 * y.size), x, label, y, *numbers)

    def _softmax(self, x: DeviceArray, y: DeviceArray, *, last: bool) -> None:
        lanes = _lanes(x, last=last)
        numbers = (_positions(x), *form(x, last=last), lanes)
        self.launch("softmax_forward", self.blocks(_positions(x) * lanes), x, y, *numbers)

    def _parts(self, size: int) -> tuple[int, DeviceArray]:
        """How many partial sums `size` elements make, whatever the card, and where they go."""
        chunks = max(1, min(-(-size // SHARE), PARTS))
        return chunks, self.piece(0, (8 * chunks,), "uint8")


def _check_labels(function: str, x: Array, label: Array) -> None:
    check(function, x=x, label=label)
    rules.labelled(function, x, label)


def _positions(x: DeviceArray) -> int:
    return x.shape[0] * x.shape[2]


def _lanes(x: DeviceArray, *, last: bool) -> int:
    """Threads for one position: a warp where its numbers lie side by side."""
    return 32 if last or x.shape[2] == 1 else 1


def _ignoring(ignore_label: int | None) -> tuple[int, int]:
    """Whether labels are ignored, and which."""
    return int(ignore_label is not None), ignore_label or 0
