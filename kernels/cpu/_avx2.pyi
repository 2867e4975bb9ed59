from typing import Any

from numpy.typing import NDArray

class Winograd:
    def __init__(self, *lengths: int) -> None: ...  # n c h w k p q pad_h pad_w

def set_threads(count: int) -> None: ...
def winograd_workspace(problem: Winograd) -> int: ...
def winograd_forward(
    problem: Winograd,
    xs: NDArray[Any],
    ws: NDArray[Any],
    bias: NDArray[Any] | None,
    ys: NDArray[Any],
    turned: bool,
    relu: bool,
    slope: float,
    workspace: NDArray[Any],
) -> None: ...
def winograd_backward_weights(
    problem: Winograd,
    xs: NDArray[Any],
    dys: NDArray[Any],
    dws: NDArray[Any],
    workspace: NDArray[Any],
) -> None: ...
