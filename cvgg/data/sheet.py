"""A contact sheet: images in rows with a line of text below each, to see what a database holds."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_GAP = 4  # pixels around a tile
_LINE = 14  # pixels: height of the text
_GROUND, _INK = 255, 0


def contact_sheet(
    tiles: Sequence[tuple[NDArray[np.uint8], str]], *, columns: int = 10, side: int = 96
) -> bytes:
    """A PNG of images (c,h,w), channels B G R or grey, each in a square of `side` pixels.

    An image is shrunk or enlarged to fit, its ratio kept. A text too long for its square is cut.
    """
    columns = max(1, min(columns, len(tiles)))
    rows = -(-len(tiles) // columns)
    width, height = side + _GAP, side + _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), (_GROUND,) * 3)
    for number, (pixels, text) in enumerate(tiles):
        row, column = divmod(number, columns)
        tile = _tile(pixels, text, side)
        sheet.paste(tile, (_GAP + column * width, _GAP + row * height))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _tile(pixels: NDArray[np.uint8], text: str, side: int) -> Image.Image:
    tile = Image.new("RGB", (side, side + _LINE), (_GROUND,) * 3)
    image = _picture(pixels)
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    # Small pictures keep their pixels visible, large ones are smoothed.
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    image = image.resize((width, height), resample)
    tile.paste(image, ((side - width) // 2, (side - height) // 2))
    # The font that comes with Pillow may know no more than Latin letters.
    plain = text.encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(tile).text((0, side + 1), plain, fill=(_INK,) * 3, font=ImageFont.load_default())
    return tile


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    planes = np.broadcast_to(pixels, (3, *pixels.shape[1:])) if len(pixels) == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(planes[::-1].transpose(1, 2, 0)))
