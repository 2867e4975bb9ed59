"""Fully connected layers: matrix products of fc_simt.cu; choice.py splits the long ones."""

from .. import product_rules as rules
from ..interface import Array
from ..rules import need
from .choice import choose_fc
from .driver import DeviceArray
from .launch import Launcher


class FcKernels(Launcher):
    """x (n, c)  w (k, c), or (c, k) with transpose  y (n, k)."""

    def fc_workspace(self, n: int, c: int, k: int) -> int:
        """Partial sums of y, or of dx."""
        card = self.driver.properties
        (_, _, forward), _ = choose_fc(n, k, c, card)
        (_, _, backward), _ = choose_fc(n, c, k, card)
        return max(forward * n * k, backward * n * c)

    def fc_forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        y: Array,
        *,
        transpose: bool,
        workspace: Array,
    ) -> None:
        rules.fc("fc_forward", x.shape, w.shape, y.shape, b, transpose=transpose)
        self._product("fc_forward", "fc_columns" if transpose else "fc_rows", x, w, b, y, workspace)

    def fc_backward_data(
        self, w: Array, dy: Array, dx: Array, *, transpose: bool, workspace: Array
    ) -> None:
        name = "fc_backward_data"
        rules.fc(name, dx.shape, w.shape, dy.shape, None, transpose=transpose)
        self._product(name, "fc_rows" if transpose else "fc_columns", dy, w, None, dx, workspace)

    def fc_backward_weights(
        self,
        x: Array,
        dy: Array,
        dw: Array | None,
        db: Array | None,
        *,
        transpose: bool,
        workspace: Array,
    ) -> None:
        name = "fc_backward_weights"
        need(name, dy.ndim == 2, "dy must be (n, k)", dy=dy.shape)
        n, k = dy.shape
        if db is not None:
            rules.fc_bias_diff(name, dy, db)
            self.launch("fc_bias", self.blocks(k), dy, db, n, k)
        if dw is None:
            return
        rules.fc(name, x.shape, dw.shape, dy.shape, None, transpose=transpose)
        left, right = (x, dy) if transpose else (dy, x)
        rows, columns = dw.shape
        grid = -(-rows // 64), -(-columns // 64)
        kernel = _kernel("fc_weights", rows, columns)
        self.launch(kernel, grid, left, right, dw, rows, columns, n)

    def _product(
        self,
        name: str,
        kernel: str,
        a: DeviceArray,
        w: DeviceArray,
        b: DeviceArray | None,
        out: DeviceArray,
        workspace: DeviceArray,
    ) -> None:
        """out (m, n) = a (m, depth) times w's rows or columns, plus b."""
        (m, n), depth = out.shape, a.shape[1]
        grid, run = choose_fc(m, n, depth, self.driver.properties)
        size = grid[2] * m * n
        need(name, workspace.size >= size, f"workspace needs {size}", workspace=workspace.size)
        parts = workspace.reshape(workspace.size).head(size)
        self.launch(_kernel(kernel, n, depth), grid, a, w, parts, m, n, depth, run)
        self.launch("fc_add", self.blocks(m * n), parts, b, out, grid[2], m, n)


def _kernel(name: str, *sizes: int) -> str:
    """Numbers come in fours where rows allow it."""
    return name if all(size % 4 == 0 for size in sizes) else f"{name}_any"
