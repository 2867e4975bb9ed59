"""Shape rules of convolution and fully connected layers that every backend checks. All raise
ValueError: function, rule, values."""

from .interface import Array, Pair
from .rules import need


def conv_plane(
    x: tuple[int, ...], w: tuple[int, ...], stride: Pair, pad: Pair, dilation: Pair
) -> Pair:
    """Height and width of y."""
    p, q = (
        (x[2 + i] + 2 * pad[i] - dilation[i] * (w[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    )
    return p, q


def conv_numbers(
    function: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
) -> None:
    """x (n, group c, h, w) and w (k, c, r, s) fit each other; no number is out of range."""
    need(function, len(x) == len(w) == 4, "4 axes", x=x, w=w)
    need(
        function,
        min(*stride, *dilation, group) > 0 and min(pad) >= 0,
        "stride, dilation and group must be above 0, pad at least 0",
        stride=stride,
        pad=pad,
        dilation=dilation,
        group=group,
    )
    fits = x[1] == w[1] * group and w[0] % group == 0
    need(function, fits, "w must be (k, c/group, r, s)", x=x, w=w, group=group)


def conv_arrays(
    function: str,
    k: int,
    y: tuple[int, ...],
    expected: tuple[int, ...],
    b: Array | None,
) -> None:
    """The output, or its diff, and the bias."""
    need(function, y == expected, f"y must be {expected}", y=y)
    if b is not None:
        need(function, b.shape == (k,), f"b must be ({k},)", b=b.shape)


def bias_diff(function: str, dy: Array, db: Array) -> None:
    """db (k) for dy (n, k, p, q)."""
    need(function, dy.ndim == 4, "dy must be (n, k, p, q)", dy=dy.shape)
    k = dy.shape[1]
    need(function, db.shape == (k,), f"db must be ({k},)", db=db.shape)


def pooled(function: str, conv: tuple[int, ...], y: Array, argmax: Array) -> None:
    """A convolution's (n, k, p, q), y and argmax of its 2 x 2 max-pooling without a rest."""
    n, k, p, q = conv
    need(function, p % 2 == q % 2 == 0, "2 x 2 windows must cover the plane", plane=(p, q))
    expected = (n, k, p // 2, q // 2)
    need(function, y.shape == expected, f"y must be {expected}", y=y.shape)
    codes = (n, p // 2, q // 2, (k + 3) // 4)
    need(function, argmax.shape == codes, f"argmax must be {codes}", argmax=argmax.shape)


def fc(
    function: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    y: tuple[int, ...],
    b: Array | None,
    *,
    transpose: bool,
) -> None:
    """x (n, c), w (k, c) or with transpose (c, k), y (n, k), b (k)."""
    need(function, len(w) == 2, "w must have 2 axes", w=w)
    c, k = w if transpose else w[::-1]
    need(
        function,
        len(x) == 2 and x[1] == c and y == (x[0], k),
        "shapes must be x (n,c), w (c,k) or (k,c), y (n,k)",
        x=x,
        w=w,
        y=y,
        transpose=transpose,
    )
    need(function, b is None or b.shape == (k,), f"b must be ({k},)", b=b is not None and b.shape)


def fc_bias_diff(function: str, dy: Array, db: Array) -> None:
    """db (k) for dy (n, k)."""
    need(function, db.shape == dy.shape[1:], "db must be (k,)", db=db.shape)
