"""One function of the backend, run twice on the card and compared with float64."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.kernels.cuda import DeviceArray

from .device import Card

Host = NDArray[Any]
Results = Mapping[str, Host]

LIMIT = 1e-5  # relative L2 of exact fp32 against float64


@dataclass
class Case:
    """`run` puts the function's work on the card. `outputs` are poisoned before, or set to `start`
    where the function adds to what is there. `compare` gives pairs: what came out, and what
    should have."""

    name: str
    run: Callable[[], None]
    outputs: dict[str, DeviceArray]
    compare: Callable[[Results], Iterable[tuple[Host, Host]]]
    start: dict[str, Host] = field(default_factory=dict)
    limit: float = LIMIT

    def check(self, card: Card) -> dict[str, Any]:
        """The largest error of a pair, and whether all is right: finite, within the limit, the
        same bytes both times."""
        results = self._results(card)
        again = self._results(card)
        same = all(np.array_equal(_bytes(results[name]), _bytes(again[name])) for name in results)
        finite = all(bool(np.isfinite(each).all()) for each in results.values())
        error = max((difference(ours, right) for ours, right in self.compare(results)), default=0.0)
        return {
            "name": self.name,
            "error": float(f"{error:.3g}"),
            "limit": self.limit,
            "same_bytes": same,
            "finite": finite,
            "right": same and finite and error <= self.limit,
        }

    def _results(self, card: Card) -> dict[str, Host]:
        for name, array in self.outputs.items():
            if name in self.start:
                card.write(array, self.start[name])
            else:
                card.poison(array)
        self.run()
        return {name: card.read(array) for name, array in self.outputs.items()}


def _bytes(values: Host) -> Host:
    """As they lie in memory: equal to others where every byte is."""
    lying = np.moveaxis(values, 1, -1) if values.ndim > 2 else values
    return np.ascontiguousarray(lying).reshape(-1).view(np.uint8)


def difference(ours: Host, right: Host) -> float:
    """Relative L2; infinite for what is not a number."""
    apart = np.linalg.norm((ours.astype(np.float64) - right).ravel())
    size = np.linalg.norm(right.astype(np.float64).ravel())
    error = float(apart / size) if size else float(apart)
    return error if np.isfinite(error) else float("inf")
