"""For tests of layers: one layer alone (OneLayer), and its gradients against numeric ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvgg.engine import Engine
from cvgg.layers.base import Layer
from cvgg.netdef.caffe_pb2 import TEST
from cvgg.testing.one_layer import STALE, OneLayer, Values

__all__ = ["STALE", "OneLayer", "check_gradient"]


@dataclass(frozen=True)
class _Probe:
    """An array whose elements are moved one by one, and what backward says of it."""

    name: str
    values: Values
    analytic: Values
    kinks: bool  # may have some


def check_gradient(
    text: str,
    bottoms: Sequence[ArrayLike],
    *,
    phase: int = TEST,
    params: Sequence[ArrayLike] | None = None,
    engine: Engine | str | None = None,
    step: float = 1e-2,
    tolerance: float = 1e-3,
    kink: float | None = None,
    kink_range: float = 0.02,
    propagate_down: Sequence[bool] | None = None,
    seed: int = 1701,
) -> None:
    """Raises AssertionError unless backward of the layer `text` agrees with central differences.

    The objective is a sum of all tops (of a loss: the first) with random weights. Each element of
    every bottom (labels and those without propagate_down excepted) and of every learned param is
    moved by `step` both ways; analytic and numeric may differ by `tolerance` times the larger of
    both and 1. Elements of bottoms whose absolute value is within kink_range of `kink` are left
    out: there the layer has no derivative. Params start each pass from their first values, even
    those that the layer itself changes.

    Source: the idea of Caffe's GradientChecker.
    """
    one = OneLayer(text, bottoms, phase=phase, params=params, engine=engine, seed=seed)
    down = one.propagate_down if propagate_down is None else list(propagate_down)
    weights = _weights(one.layer, seed)
    bottom_values = [np.array(each, np.float32) for each in bottoms]
    param_values = one.params
    one.forward()
    one.backward(weights, down)
    probes = [
        _Probe(f"bottom {i}", values, diff, kinks=True)
        for i, (values, diff) in enumerate(zip(bottom_values, one.bottom_diffs, strict=True))
        if down[i]
    ] + [
        _Probe(f"param {i}", values, diff, kinks=False)
        for i, (values, diff) in enumerate(zip(param_values, one.param_diffs, strict=True))
        if diff is not None
    ]

    def objective() -> float:
        one.set_bottoms(bottom_values)
        one.set_params(param_values)
        return sum(
            float(np.sum(top.astype(np.float64) * weight))
            for top, weight in zip(one.forward(), weights, strict=True)
        )

    for probe in probes:
        for at in np.ndindex(probe.values.shape):
            if (
                probe.kinks
                and kink is not None
                and _near(float(probe.values[at]), kink, kink_range)
            ):
                continue
            numeric = _slope(objective, probe.values, at, step)
            analytic = float(probe.analytic[at])
            allowed = tolerance * max(abs(numeric), abs(analytic), 1.0)
            if not abs(numeric - analytic) <= allowed:  # NaN is never within
                raise AssertionError(
                    f"{probe.name}, element {at}: backward says {analytic:.6g}, the difference of "
                    f"two forward passes {numeric:.6g}; they may differ by {allowed:.2g}"
                )


def _near(value: float, kink: float, kink_range: float) -> bool:
    return abs(abs(value) - kink) <= kink_range


def _weights(layer: Layer, seed: int) -> list[Values]:
    """Random weights of the tops, away from 0; 0 for what a loss gives beside the loss."""
    random = np.random.default_rng(seed)
    weights = []
    for i, shape in enumerate(layer.tops):
        size = np.asarray(random.uniform(0.5, 1.5, shape), np.float32)
        sign = np.asarray(random.choice([-1.0, 1.0], shape), np.float32)
        weights.append(np.zeros_like(size) if layer.loss and i else size * sign)
    return weights


def _slope(
    objective: Callable[[], float], values: Values, at: tuple[int, ...], step: float
) -> float:
    """d(objective)/d(values[at]) by a central difference; the value is put back."""
    kept = values[at]
    values[at] = kept + np.float32(step)
    high, above = float(values[at]), objective()
    values[at] = kept - np.float32(step)
    low, below = float(values[at]), objective()
    values[at] = kept
    return (above - below) / (high - low)
