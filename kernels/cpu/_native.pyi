from typing import Any

from numpy.typing import NDArray

class Window:
    def __init__(
        self, *lengths: int
    ) -> None: ...  # r s stride_h stride_w pad_h pad_w dilation_h dilation_w

class Pooling:
    def __init__(self, *lengths: int) -> None: ...  # h w p q r s stride_h stride_w pad_h pad_w

class Images:
    def __init__(self, n: int, c: int, h: int, w: int, mean_h: int, mean_w: int) -> None: ...

def has_avx2() -> bool: ...
def set_threads(count: int) -> None: ...
def im2col(
    xs: NDArray[Any],
    image: int,
    cols: NDArray[Any],
    c: int,
    h: int,
    w: int,
    p: int,
    q: int,
    k: Window,
) -> None: ...
def col2im(
    xs: NDArray[Any],
    image: int,
    cols: NDArray[Any],
    c: int,
    h: int,
    w: int,
    p: int,
    q: int,
    k: Window,
) -> None: ...
def bias_relu(
    ys: NDArray[Any], bias: NDArray[Any] | None, n: int, k: int, pq: int, relu: bool, slope: float
) -> None: ...
def bias_backward(dys: NDArray[Any], dbs: NDArray[Any], n: int, k: int, pq: int) -> None: ...
def pool_max_forward(
    xs: NDArray[Any], ys: NDArray[Any], argmaxes: NDArray[Any], planes: int, k: Pooling
) -> None: ...
def pool_max_backward(
    dys: NDArray[Any], argmaxes: NDArray[Any], dxs: NDArray[Any], planes: int, hw: int, pq: int
) -> None: ...
def pool_ave_forward(xs: NDArray[Any], ys: NDArray[Any], planes: int, k: Pooling) -> None: ...
def pool_ave_backward(dys: NDArray[Any], dxs: NDArray[Any], planes: int, k: Pooling) -> None: ...
def lrn_across_forward(
    xs: NDArray[Any],
    ys: NDArray[Any],
    scales: NDArray[Any],
    n: int,
    c: int,
    hw: int,
    size: int,
    alpha: float,
    beta: float,
    k: float,
) -> None: ...
def lrn_across_backward(
    xs: NDArray[Any],
    ys: NDArray[Any],
    scales: NDArray[Any],
    dys: NDArray[Any],
    dxs: NDArray[Any],
    n: int,
    c: int,
    hw: int,
    size: int,
    alpha: float,
    beta: float,
) -> None: ...
def lrn_within_forward(
    xs: NDArray[Any],
    ys: NDArray[Any],
    scales: NDArray[Any],
    planes: int,
    h: int,
    w: int,
    size: int,
    alpha: float,
    beta: float,
) -> None: ...
def lrn_within_backward(
    xs: NDArray[Any],
    ys: NDArray[Any],
    scales: NDArray[Any],
    dys: NDArray[Any],
    dxs: NDArray[Any],
    planes: int,
    h: int,
    w: int,
    size: int,
    alpha: float,
    beta: float,
) -> None: ...
def relu_forward(xs: NDArray[Any], ys: NDArray[Any], slope: float) -> None: ...
def relu_backward(xs: NDArray[Any], dys: NDArray[Any], dxs: NDArray[Any], slope: float) -> None: ...
def dropout(
    xs: NDArray[Any],
    ys: NDArray[Any],
    seed: int,
    draw: int,
    layer: int,
    purpose: int,
    first: int,
    threshold: int,
    scale: float,
) -> None: ...
def softmax_forward(xs: NDArray[Any], ys: NDArray[Any], outer: int, c: int, inner: int) -> None: ...
def softmax_backward(
    ys: NDArray[Any], dys: NDArray[Any], dxs: NDArray[Any], outer: int, c: int, inner: int
) -> None: ...
def count_labels(labels: NDArray[Any], ignore_label: float) -> float: ...
def loss_sum(
    probs: NDArray[Any],
    labels: NDArray[Any],
    outer: int,
    c: int,
    inner: int,
    ignoring: bool,
    ignore_label: float,
) -> float: ...
def loss_backward(
    probs: NDArray[Any],
    labels: NDArray[Any],
    dxs: NDArray[Any],
    outer: int,
    c: int,
    inner: int,
    ignoring: bool,
    ignore_label: float,
    factor: float,
) -> None: ...
def rank_labels(
    xs: NDArray[Any],
    labels: NDArray[Any],
    rights: NDArray[Any],
    outer: int,
    c: int,
    inner: int,
    top_k: int,
    ignoring: bool,
    ignore_label: float,
) -> None: ...
def max_first(
    a: NDArray[Any], b: NDArray[Any], ys: NDArray[Any], argmaxes: NDArray[Any]
) -> None: ...
def max_next(xs: NDArray[Any], ys: NDArray[Any], argmaxes: NDArray[Any], index: int) -> None: ...
def max_backward(
    dys: NDArray[Any], argmaxes: NDArray[Any], dxs: NDArray[Any], index: int
) -> None: ...
def moments(
    xs: NDArray[Any], means: NDArray[Any], variances: NDArray[Any], n: int, c: int, inner: int
) -> None: ...
def affine(
    xs: NDArray[Any],
    gs: NDArray[Any],
    bs: NDArray[Any],
    ys: NDArray[Any],
    n: int,
    c: int,
    inner: int,
) -> None: ...
def batch_norm_backward(
    ys: NDArray[Any],
    stds: NDArray[Any],
    dys: NDArray[Any],
    dxs: NDArray[Any],
    n: int,
    c: int,
    inner: int,
) -> None: ...
def scale_backward(
    xs: NDArray[Any], dys: NDArray[Any], dgs: NDArray[Any], n: int, c: int, inner: int
) -> None: ...
def transform_bytes(
    xs: NDArray[Any],
    places: NDArray[Any],
    means: NDArray[Any] | None,
    ys: NDArray[Any],
    k: Images,
    scale: float,
) -> None: ...
def transform_floats(
    xs: NDArray[Any],
    places: NDArray[Any],
    means: NDArray[Any] | None,
    ys: NDArray[Any],
    k: Images,
    scale: float,
) -> None: ...
def find_nonfinite(xs: NDArray[Any]) -> int: ...
def sum_of_squares(xs: NDArray[Any]) -> float: ...
def sgd_update(
    ws: NDArray[Any],
    dws: NDArray[Any],
    histories: NDArray[Any],
    start: int,
    stop: int,
    scale: float,
    rate: float,
    momentum: float,
    l1: float,
    l2: float,
) -> None: ...
