"""The contact sheet: where the tiles lie and what colours they have."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvgg.data.sheet import contact_sheet

SIDE, GAP, LINE = 20, 4, 14


def read(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def flat(blue: int, green: int, red: int, height: int = 6, width: int = 6) -> NDArray[np.uint8]:
    return np.full((3, height, width), np.array([blue, green, red]).reshape(3, 1, 1), np.uint8)


def test_tiles_fill_rows_and_show_bgr_as_rgb() -> None:
    tiles = [(flat(10 * i, 20, 200), str(i)) for i in range(5)]
    sheet = read(contact_sheet(tiles, columns=3, side=SIDE))
    assert sheet.shape == (2 * (SIDE + LINE + GAP) + GAP, 3 * (SIDE + GAP) + GAP, 3)
    for number in range(5):
        row, column = divmod(number, 3)
        y, x = GAP + row * (SIDE + LINE + GAP), GAP + column * (SIDE + GAP)
        assert (sheet[y : y + SIDE, x : x + SIDE] == (200, 20, 10 * number)).all()
    assert (sheet[-(SIDE + LINE) :, -(SIDE + GAP) :] == 255).all()  # no sixth tile


def test_an_image_keeps_its_ratio_in_the_middle_of_its_square() -> None:
    sheet = read(contact_sheet([(flat(0, 0, 0, height=3, width=6), "")], side=SIDE))
    square = sheet[GAP : GAP + SIDE, GAP : GAP + SIDE]
    dark = np.flatnonzero((square == 0).all(axis=(1, 2)))
    assert (dark[0], dark[-1]) == (5, 14)  # 10 of 20 rows


def test_a_grey_image_and_a_name_in_any_script_are_shown() -> None:
    sheet = read(contact_sheet([(np.full((1, 4, 4), 90, np.uint8), "犬 chien")], side=SIDE))
    assert (sheet[GAP : GAP + SIDE, GAP : GAP + SIDE] == 90).all()
    assert (sheet[GAP + SIDE + 1 :] < 128).any()  # the text


def test_fewer_images_than_columns_leave_no_empty_columns() -> None:
    sheet = read(contact_sheet([(flat(1, 2, 3), "a")], columns=10, side=SIDE))
    assert sheet.shape[1] == SIDE + 2 * GAP
