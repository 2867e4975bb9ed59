"""What a sum over labelled positions is divided by, for this pass alone or for a whole batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from cvgg.blob import Blob
from cvgg.errors import ShapeError
from cvgg.kernels.interface import Kernels
from cvgg.layers.axes import Around, around, shaped
from cvgg.layers.base import Buffer, Own, Setting
from cvgg.netdef.caffe_pb2 import LossParameter
from cvgg.netdef.shapes import Shape, canonical_axis, count, describe

COUNT = Buffer("count", (1,), lasting=True)  # the net may write it once for the whole batch


@dataclass(frozen=True)
class Divisor:
    """mode: LossParameter's normalization. outer, inner: positions of this pass before and behind
    the axis of the classes. ignore_label: None unless the divisor depends on it. images: of this
    pass, where the batch is cut."""

    mode: int
    outer: int
    inner: int
    ignore_label: int | None
    images: int | None

    def of_batch(self, images: int, ignored: int) -> float:
        """For a whole batch of `images`, of whose labels `ignored` do not count; at least 1.

        Source: Caffe softmax_loss_layer.cpp, get_normalizer.
        """
        # A batch that is not cut is what this pass sees, whatever its first axis counts.
        outer = self.outer if self.images is None else self.outer * images / self.images
        counts: dict[int, float] = {
            LossParameter.FULL: outer * self.inner,
            LossParameter.VALID: outer * self.inner - ignored,
            LossParameter.BATCH_SIZE: outer,
            LossParameter.NONE: 1,
        }
        return float(max(1, counts[self.mode]))

    def write(self, kernels: Kernels, label: Blob, own: Own) -> None:
        """Fills buffers["count"] from this pass, unless the net has filled it for the batch."""
        if own.counted:
            return
        target = own.buffers[COUNT.name]
        if self.ignore_label is None:
            kernels.fill(target, value=self.of_batch(self.images or 0, 0))
        else:
            label_array = shaped(label.data, self.outer, self.inner)
            kernels.count_labels(label_array, target, ignore_label=self.ignore_label)

    @classmethod
    def of(
        cls, form: Around, setting: Setting, *, mode: int, ignore_label: int | None
    ) -> "Divisor":
        """form: the scores as (outer, classes, inner)."""
        depends = mode == LossParameter.VALID
        return cls(mode, form[0], form[2], ignore_label if depends else None, setting.images)


def scores_form(bottoms: Sequence[Shape], axis: int) -> tuple[Around, int]:
    """The scores, bottom 0, as (outer, classes, inner), and the axis counted from the front.

    Raises ShapeError unless bottom 1 has a label for each position.
    """
    scores, labels = bottoms
    axis = canonical_axis(axis, len(scores))
    form = around(scores, axis)
    if count(labels) != form[0] * form[2]:
        raise ShapeError(
            f"scores of shape {describe(scores)} with the classes on axis {axis} need "
            f"{form[0] * form[2]} labels; the labels have shape {describe(labels)}"
        )
    return form, axis
