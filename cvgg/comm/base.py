"""A communicator: how the workers of one training run add their gradients up."""

from collections.abc import Callable
from typing import Protocol

from cvgg.kernels.interface import Array


class Sum(Protocol):
    """A sum under way."""

    def wait(self) -> None:
        """Returns when the array holds the sum over all workers."""
        ...


class Comm(Protocol):
    """`size` workers, this one is `rank`. Sums are done in place and give every worker the same
    bits."""

    rank: int
    size: int

    def broadcast(self, array: Array) -> None:
        """Rank 0's values to all."""
        ...

    def start_sum(self, bucket: Array, after: Callable[[], None]) -> Sum:
        """Starts to sum `bucket` over all workers once `after` returns (the engine's work on it is
        done)."""
        ...

    def sum_now(self, array: Array) -> None:
        """Sums a small array over all workers before it returns."""
        ...

    def abort(self, code: int) -> None:
        """Ends every worker with this exit code."""
        ...
