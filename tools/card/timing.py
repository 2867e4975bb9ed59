"""Times of ours and of torch's, taken by turns, so that both meet the card in the same state."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Timers = Mapping[str, Callable[[], float]]


def by_turns(timers: Timers, rounds: int) -> dict[str, dict[str, float]]:
    """For each timer, milliseconds: the median and the tenth and ninetieth percentile of `rounds`
    calls, after one that does not count."""
    for once in timers.values():
        once()
    taken: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, once in timers.items():
            taken[name].append(once())
    return {name: spread(times) for name, times in taken.items()}


def spread(times_ms: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(times_ms, (10, 50, 90))
    return {key: round(float(value), 5) for key, value in _named(low, middle, high)}


def _named(low: Any, middle: Any, high: Any) -> tuple[tuple[str, Any], ...]:
    return ("ms", middle), ("p10_ms", low), ("p90_ms", high)
