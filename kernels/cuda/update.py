"""The solver's arithmetic over flat arrays."""

from collections.abc import Sequence

from .. import rules
from ..interface import Array, Scalars, Segment
from .border import check, has_shape, same
from .launch import Launcher

CHUNKS = 1024  # at most, of a sum of squares
CHUNK = 4096  # elements at least


class UpdateKernels(Launcher):
    """The rate, the gradient's factor and whether it is finite stay on the device."""

    def clip_gradients(self, dw: Array, scalars: Array, *, threshold: float, scale: float) -> None:
        check("clip_gradients", dw=dw)
        has_shape("clip_gradients", (int(Scalars.SLOTS),), scalars=scalars)
        chunk = max(CHUNK, -(-dw.size // CHUNKS))
        chunks = max(1, -(-dw.size // chunk))
        parts = self.piece(0, (8 * chunks,), "uint8")
        self.launch("clip_gradients_sums", chunks, dw, parts, dw.size, chunk)
        self.launch("clip_gradients", 1, parts, scalars, threshold, scale, chunks)

    def sgd_update(
        self,
        w: Array,
        dw: Array,
        history: Array,
        scalars: Array,
        *,
        segments: Sequence[Segment],
        momentum: float,
        l1: float,
        l2: float,
    ) -> None:
        same("sgd_update", w=w, dw=dw, history=history)
        has_shape("sgd_update", (int(Scalars.SLOTS),), scalars=scalars)
        rules.segments("sgd_update", w, segments)
        for each in segments:
            count, decay = each.stop - each.start, each.decay_mult
            self.launch(
                "sgd_update", self.blocks(count),
                w, dw, history, scalars, each.start, count,
                each.lr_mult, momentum, l1 * decay, l2 * decay,
            )  # fmt: skip
