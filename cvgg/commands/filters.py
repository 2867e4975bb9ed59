"""Draws the filters of a convolution, as a .caffemodel holds them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cvgg.errors import DataError, UsageError
from cvgg.netdef.caffemodel import ModelLayer, read_model
from cvgg.netdef.origin import did_you_mean
from cvgg.netdef.shapes import describe
from cvgg.weights import to_array

MOST = 24  # rows and columns of a picture of single planes: more are too small to see
TILE = 0.4  # inches of a tile, at least
LEAST = 4.0  # inches of all tiles of the longer side, at least


def draw_filters(path: str, name: str | None) -> Figure:
    """The filters of layer `name`, or of the first convolution.

    Filters of 3 channels are drawn in colour (they are stored B G R), others plane by plane.
    """
    layer = _layer(path, name)
    blob = layer.blobs[0]
    weights = to_array(blob).reshape(blob.shape)
    if not np.isfinite(weights).all():
        raise DataError(f"{path}: layer {layer.name!r}: a weight is not finite")
    # A few large weights must not make all others grey.
    largest = float(np.percentile(np.abs(weights), 99.5)) or 1.0
    k, c, r, s = blob.shape
    title = f"{layer.name}: {k} filters, {c} x {r} x {s}".replace("$", r"\$")  # no formula
    if c == 3:
        return _in_colour(weights, largest, title)
    return _in_planes(weights, largest, title)


def _layer(path: str, name: str | None) -> ModelLayer:
    """The layer asked for. Raises UsageError, or DataError if the model has no convolution."""
    layers = [each for each in read_model(path) if each.blobs]
    drawable = [each for each in layers if _is_filters(each)]
    if name is None:
        if not drawable:
            raise DataError(f"{path}: no layer has filters (weights of 4 axes)")
        return drawable[0]
    for each in layers:
        if each.name == name:
            if not _is_filters(each):
                shape = describe(each.blobs[0].shape)
                raise UsageError(f"--layer {name}: weights of shape {shape} are no filters")
            return each
    hint = did_you_mean(name, [each.name for each in drawable])
    raise UsageError(f"--layer {name}: {path} has no params of such a layer{hint}")


def _is_filters(layer: ModelLayer) -> bool:
    """Old files give every blob 4 axes: an InnerProduct's weights are 1 1 k c there."""
    shape = layer.blobs[0].shape
    return len(shape) == 4 and all(shape) and (shape[0] > 1 or shape[1] > 1)


def _in_colour(weights: NDArray[np.float32], largest: float, title: str) -> Figure:
    """One tile a filter, near to a square of tiles."""
    images = weights[:, ::-1].transpose(0, 2, 3, 1)  # k r s (R G B)
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    sheet = _sheet(images / (2 * largest) + 0.5, rows, columns)
    figure, axis = _figure(rows, columns, beside=0.0)
    axis.imshow(sheet, interpolation="nearest")
    axis.set_title(f"{title}\ngrey: 0, full colour: ±{largest:.3g}")
    return figure


def _in_planes(weights: NDArray[np.float32], largest: float, title: str) -> Figure:
    """A row for each filter and a column for each channel; with one channel, a square of
    filters."""
    k, c, r, s = weights.shape
    if c == 1:
        columns = int(np.ceil(np.sqrt(k)))
        rows, shown = -(-k // columns), ""
        planes = weights[:, 0]
    else:
        rows, columns = min(k, MOST), min(c, MOST)
        shown = f"\nrows: {_first(rows, k)} filters, columns: {_first(columns, c)} channels"
        planes = weights[:rows, :columns].reshape(-1, r, s)
    sheet = _sheet(planes[..., np.newaxis], rows, columns)[..., 0]
    figure, axis = _figure(rows, columns, beside=1.2)
    picture = axis.imshow(
        sheet, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest"
    )
    figure.colorbar(picture, ax=axis, label="weight", shrink=0.8)
    axis.set_title(title + shown)
    return figure


def _first(shown: int, there: int) -> str:
    return f"the first {shown} of {there}" if shown < there else "all"


def _sheet(tiles: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Tiles (m,r,s,channels) side by side with one white (or empty) pixel between them."""
    _, r, s, channels = tiles.shape
    empty = np.nan if channels == 1 else 1.0
    sheet = np.full((rows * (r + 1) - 1, columns * (s + 1) - 1, channels), empty)
    for i, tile in enumerate(np.clip(tiles, 0, 1) if channels > 1 else tiles):
        top, left = i // columns * (r + 1), i % columns * (s + 1)
        sheet[top : top + r, left : left + s] = tile
    return sheet


def _figure(rows: int, columns: int, *, beside: float) -> tuple[Figure, Axes]:
    """A figure for so many square tiles. beside: inches for what stands to their right."""
    tile = max(TILE, LEAST / max(rows, columns))
    figure = Figure(
        figsize=(max(columns * tile, LEAST) + beside, rows * tile + 0.9), layout="constrained"
    )
    axis = figure.subplots()
    axis.set_axis_off()
    return figure, axis
