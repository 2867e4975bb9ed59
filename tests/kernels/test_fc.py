"""Fully connected layers, with and without transposed weights."""

from typing import Any

import numpy as np
import pytest
from reference import Array, places

from cvgg.kernels import cpu
from cvgg.kernels.interface import Kernels

RANDOM = np.random.default_rng(4)
C, K = 5, 3
ROWS = [2, 11, 41]  # one piece, two pieces, more rows than the most pieces hold evenly


def draw(*shape: int) -> Array:
    """Numbers in (-1, 1)."""
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def weights(*, transpose: bool) -> Array:
    return draw(C, K) if transpose else draw(K, C)


def said(kernels: Kernels, n: int, *, transpose: bool, c: int = C, k: int = K) -> dict[str, Any]:
    """The keyword arguments; the workspace is full of what must not reach a result."""
    workspace = np.full(kernels.fc_workspace(n, c, k), np.nan, np.float32)
    return {"transpose": transpose, "workspace": workspace}


def close(actual: Array, expected: Array, terms: int) -> None:
    """Within the rounding of a float32 sum of `terms` products of at most 1."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=terms * terms * 2.0**-24)


def product(left: Array, right: Array) -> Array:
    """left right, one term after the other."""
    result = np.zeros((len(left), right.shape[1]))
    for i, j, k in places((*result.shape, len(right))):
        result[i, j] += float(left[i, k]) * float(right[k, j])
    return result


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("n", ROWS)
def test_fc_forward_is_a_product_and_a_bias(n: int, *, transpose: bool, kernels: Kernels) -> None:
    x, w, b, y = draw(n, C), weights(transpose=transpose), draw(K), np.full((n, K), 7, np.float32)
    expected = product(x, w if transpose else w.T)
    kernels.fc_forward(x, w, b, y, **said(kernels, len(x), transpose=transpose))
    close(y, expected + b, C + 1)
    kernels.fc_forward(x, w, None, y, **said(kernels, len(x), transpose=transpose))
    close(y, expected, C)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("n", ROWS)
def test_fc_backward_data_assigns_the_gradient(
    n: int, *, transpose: bool, kernels: Kernels
) -> None:
    w, dy, dx = weights(transpose=transpose), draw(n, K), np.full((n, C), 7, np.float32)
    kernels.fc_backward_data(w, dy, dx, **said(kernels, n, transpose=transpose))
    close(dx, product(dy, w.T if transpose else w), K)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("n", ROWS)
def test_fc_backward_weights_adds_to_what_is_there(
    n: int, *, transpose: bool, kernels: Kernels
) -> None:
    x, dy, dw, db = draw(n, C), draw(n, K), weights(transpose=transpose), draw(K)
    left, right = (x, dy) if transpose else (dy, x)
    dw_expected, db_expected = dw + product(left.T, right), db + dy.sum(axis=0, dtype=np.float64)
    kernels.fc_backward_weights(x, dy, dw, db, **said(kernels, len(x), transpose=transpose))
    close(dw, dw_expected, n + 1)
    close(db, db_expected, n + 1)


@pytest.mark.parametrize("wanted", ["dw", "db"])
def test_fc_backward_weights_makes_only_what_is_wanted(wanted: str, kernels: Kernels) -> None:
    x, dy, dw, db = draw(4, C), draw(4, K), draw(K, C), draw(K)
    alone = {"dw": dw.copy(), "db": db.copy()}[wanted]
    kernels.fc_backward_weights(x, dy, dw, db, **said(kernels, len(x), transpose=False))
    only = {"dw": None, "db": None, wanted: alone}
    kernels.fc_backward_weights(
        x, dy, only["dw"], only["db"], **said(kernels, len(x), transpose=False)
    )
    np.testing.assert_array_equal(alone, {"dw": dw, "db": db}[wanted])


def test_a_weight_gradient_larger_than_a_block_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS makes 2**20 elements at once: here 2 full blocks of 3 rows, and a row."""
    monkeypatch.setattr(cpu.fc, "AVX2", None)
    kernels: Kernels = cpu
    c, k = 300_000, 7
    x, dy, dw = draw(1, c), draw(1, k), np.ones((k, c), np.float32)
    kernels.fc_backward_weights(x, dy, dw, None, **said(kernels, 1, transpose=False, c=c, k=k))
    # One product and one sum, each rounded once: below 2 in size.
    np.testing.assert_allclose(dw, 1 + dy.T.astype(np.float64) * x, rtol=0, atol=2 * 2.0**-23)
