"""The solver's arithmetic over flat arrays."""

import math
from collections.abc import Sequence

from .. import rules
from ..interface import Array, Scalars, Segment
from . import _native
from .border import check, has_shape, same


def clip_gradients(dw: Array, scalars: Array, *, threshold: float, scale: float) -> None:
    check("clip_gradients", dw=dw)
    has_shape("clip_gradients", (int(Scalars.SLOTS),), scalars=scalars)
    norm = math.sqrt(_native.sum_of_squares(dw))
    scalars[Scalars.SCALE] = scale * (threshold / norm if norm > threshold else 1.0)
    scalars[Scalars.NONFINITE] = not math.isfinite(norm)


def sgd_update(
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
    rate, scale = float(scalars[Scalars.RATE]), float(scalars[Scalars.SCALE])
    rules.segments("sgd_update", w, segments)
    if scalars[Scalars.NONFINITE]:
        return
    for each in segments:
        _native.sgd_update(
            w,
            dw,
            history,
            each.start,
            each.stop,
            scale,
            rate * each.lr_mult,
            momentum,
            l1 * each.decay_mult,
            l2 * each.decay_mult,
        )
