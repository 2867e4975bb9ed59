from typing import Any

from numpy.typing import NDArray

class Winograd:
    def __init__(self, *lengths: int) -> None: ...  # n c h w k p q pad_h pad_w
    def workspace(self, threads: int) -> int: ...

def set_threads(count: int) -> None: ...
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

class Narrow:
    def __init__(self, *lengths: int) -> None: ...  # n c h w k p q pad_h pad_w
    def workspace(self, threads: int) -> int: ...

def narrow_forward(
    problem: Narrow,
    xs: NDArray[Any],
    ws: NDArray[Any],
    bias: NDArray[Any] | None,
    ys: NDArray[Any],
    relu: bool,
    slope: float,
    workspace: NDArray[Any],
) -> None: ...
def narrow_backward_weights(
    problem: Narrow,
    xs: NDArray[Any],
    dys: NDArray[Any],
    dws: NDArray[Any],
    workspace: NDArray[Any],
) -> None: ...

class Direct:
    # n c h w k p q r s, stride, pad and dilation each down and across, group
    def __init__(self, *numbers: int) -> None: ...
    def workspace(self, threads: int) -> int: ...

def direct_forward(
    problem: Direct,
    xs: NDArray[Any],
    ws: NDArray[Any],
    bias: NDArray[Any] | None,
    ys: NDArray[Any],
    relu: bool,
    slope: float,
    workspace: NDArray[Any],
) -> None: ...
def direct_backward_data(
    problem: Direct,
    ws: NDArray[Any],
    dys: NDArray[Any],
    dxs: NDArray[Any],
    workspace: NDArray[Any],
) -> None: ...
def direct_backward_weights(
    problem: Direct,
    xs: NDArray[Any],
    dys: NDArray[Any],
    dws: NDArray[Any],
    workspace: NDArray[Any],
) -> None: ...
def fc_forward(
    n: int,
    c: int,
    k: int,
    xs: NDArray[Any],
    ws: NDArray[Any],
    bias: NDArray[Any] | None,
    ys: NDArray[Any],
) -> None: ...
def fc_backward_data(
    n: int, c: int, k: int, ws: NDArray[Any], dys: NDArray[Any], dxs: NDArray[Any]
) -> None: ...
def fc_backward_weights(
    n: int, c: int, k: int, xs: NDArray[Any], dys: NDArray[Any], dws: NDArray[Any]
) -> None: ...
def winograd_pool_forward(
    problem: Winograd,
    xs: NDArray[Any],
    ws: NDArray[Any],
    bias: NDArray[Any] | None,
    ys: NDArray[Any],
    codes: NDArray[Any],
    workspace: NDArray[Any],
) -> None: ...
def narrow_pool_forward(
    problem: Narrow,
    xs: NDArray[Any],
    ws: NDArray[Any],
    bias: NDArray[Any] | None,
    ys: NDArray[Any],
    codes: NDArray[Any],
    workspace: NDArray[Any],
) -> None: ...
def pool2_forward(
    xs: NDArray[Any], ys: NDArray[Any], argmaxes: NDArray[Any], planes: int, h: int, w: int
) -> None: ...
def pool2_backward(
    dys: NDArray[Any], argmaxes: NDArray[Any], dxs: NDArray[Any], planes: int, h: int, w: int
) -> None: ...
def relu_pool_bias_backward(
    ys: NDArray[Any],
    codes: NDArray[Any],
    dys: NDArray[Any],
    dxs: NDArray[Any],
    dbs: NDArray[Any] | None,
    n: int,
    k: int,
    p: int,
    q: int,
) -> None: ...
