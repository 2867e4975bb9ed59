"""Decoding: channel order, grey and colour, damage, odd formats."""

import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from cvgg.data.images import Colour, Scratch, decode, decode_part, resize, resize_part
from cvgg.errors import DataError

H, W = 5, 7
RED, GREEN, BLUE = 200, 100, 30


def flat() -> NDArray[np.uint8]:
    """(h,w,3) of one colour, R G B: JPEG keeps it within 2."""
    return np.full((H, W, 3), (RED, GREEN, BLUE), np.uint8)


def png(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def noise() -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data: bytes = simplejpeg.encode_jpeg(pixels, quality=90)
    return data


def test_a_jpeg_gives_planes_in_the_order_blue_green_red() -> None:
    image = decode(memoryview(simplejpeg.encode_jpeg(flat(), quality=95)), "a.jpg")
    assert image.shape == (3, H, W)
    assert image.dtype == np.uint8
    # Quantisation at quality 95 and the colour conversion move a flat colour by 2 at most.
    np.testing.assert_allclose(image[:, 2, 3].astype(int), [BLUE, GREEN, RED], atol=2)


def test_a_png_gives_planes_in_the_order_blue_green_red() -> None:
    pixels = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
    image = decode(png(Image.fromarray(pixels)), "a.png")
    np.testing.assert_array_equal(image, pixels[:, :, ::-1].transpose(2, 0, 1))


def test_a_png_is_decoded_whatever_its_name() -> None:
    assert decode(png(Image.fromarray(flat())), "n02105855_2933.JPEG").shape == (3, H, W)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_grey_stays_one_channel_unless_colour_is_asked_for(form: str) -> None:
    pixels = np.full((H, W), 90, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, quality=95)
    assert decode(out.getvalue(), "a").shape == (1, H, W)
    image = decode(out.getvalue(), "a", Colour.COLOUR)
    assert image.shape == (3, H, W)
    # One plane three times; JPEG may move a flat grey by 1.
    np.testing.assert_array_equal(image[0], image[2])
    np.testing.assert_allclose(image.astype(int), 90, atol=1)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_colour_becomes_grey_by_the_weights_of_the_eye(form: str) -> None:
    out = io.BytesIO()
    Image.fromarray(flat()).save(out, form, quality=95)
    image = decode(out.getvalue(), "a", Colour.GREY)
    assert image.shape == (1, H, W)
    wanted = 0.299 * RED + 0.587 * GREEN + 0.114 * BLUE
    np.testing.assert_allclose(image.astype(int), wanted, atol=2)  # as above


def test_a_jpeg_of_four_inks_becomes_colour() -> None:
    out = io.BytesIO()
    Image.fromarray(flat()).convert("CMYK").save(out, "JPEG", quality=95)
    image = decode(out.getvalue(), "a.jpg")
    # Each of the four inks is quantised on its own and two are multiplied.
    np.testing.assert_allclose(image[:, 0, 0].astype(int), [BLUE, GREEN, RED], atol=5)


def test_alpha_is_dropped_and_a_palette_looked_up() -> None:
    pixels = np.dstack([flat(), np.full((H, W), 9, np.uint8)])
    np.testing.assert_array_equal(
        decode(png(Image.fromarray(pixels)), "a")[:, 1, 1], [BLUE, GREEN, RED]
    )
    palette = Image.fromarray(np.ones((H, W), np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, RED, GREEN, BLUE])
    data = png(palette, transparency=b"\x07\x08")
    np.testing.assert_array_equal(decode(data, "a")[:, 1, 1], [BLUE, GREEN, RED])


def test_sixteen_bits_of_grey_keep_their_upper_half() -> None:
    image = decode(png(Image.fromarray(np.full((H, W), 0x5AFF, np.uint16))), "a")
    assert image.shape == (1, H, W)
    assert image[0, 0, 0] == 0x5A


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "db.key.: not an image .it is empty"),
        (b"<html><body>", "db.key.: not an image .it starts with '<html><b'"),
        (noise()[:2000], "db.key.: damaged JPEG"),
        (noise()[:-2], "db.key.: damaged JPEG"),
        (b"\xff\xd8\xff\xe0", "db.key.: damaged JPEG"),
        (png(Image.fromarray(flat()))[:48], "db.key.: damaged image"),
    ],
    ids=["empty", "html", "half", "end missing", "head only", "half a png"],
)
def test_damage_is_told_with_the_source(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(data, "db[key]")


def test_flipped_bytes_in_a_jpeg_are_noticed() -> None:
    data = bytearray(noise())
    data[1000:1040] = bytes(b ^ 0xFF for b in data[1000:1040])
    with pytest.raises(DataError, match="damaged JPEG: Corrupt JPEG data"):
        decode(bytes(data), "a.jpg")


@pytest.mark.parametrize("side", [10_000, 12_000, 60_000])
def test_a_header_that_promises_too_many_pixels_is_refused_unread(side: int) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = bytearray(png(Image.fromarray(flat())))
    data[12:33] = head + struct.pack(">I", zlib.crc32(head))
    with pytest.raises(DataError, match=r"a\.png: .*(more than the 50000000 pixels|too large)"):
        decode(bytes(data), "a.png")


def test_a_jpeg_of_more_pixels_than_allowed_is_refused() -> None:
    with pytest.raises(DataError, match="64x64 is more than the 4095 pixels"):
        decode(noise(), "a.jpg", most_pixels=4095)


def test_resize_sets_both_sides_and_averages_where_it_shrinks() -> None:
    plane = np.tile(np.array([0, 100], np.uint8), (4, 4))
    image = resize(np.stack([plane, plane // 2, plane]), 2, 2)
    assert image.shape == (3, 2, 2)
    # Antialiased: every pixel is a mean over columns of 0 and 100, never one of them alone.
    np.testing.assert_allclose(image[0].astype(int), 50, atol=15)
    np.testing.assert_allclose(image[1].astype(int), 25, atol=8)


def planes_one_by_one(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in image]
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(plane.resize((width, height), bilinear)) for plane in planes])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(7, 30), (40, 11), (90, 100)])
def test_channels_are_resized_as_if_each_were_alone(channels: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (channels, 31, 45)).astype(np.uint8)
    interleaved = np.ascontiguousarray(image.transpose(1, 2, 0)).transpose(2, 0, 1)
    for each in (image, interleaved):
        np.testing.assert_array_equal(resize(each, *size), planes_one_by_one(image, *size))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("whole", [(64, 85), (75, 100), (130, 61), (75, 61)])
@pytest.mark.parametrize("place", [(0, 0), (3, 5), (20, 9), "end"])
def test_a_part_of_a_resized_image_is_that_of_the_whole(
    channels: int, whole: tuple[int, int], place: tuple[int, int] | str
) -> None:
    image = np.random.default_rng(6).integers(0, 256, (channels, 75, 100)).astype(np.uint8)
    part = 41, 50
    row, column = (whole[0] - 41, whole[1] - 50) if place == "end" else place
    made = resize_part(image, whole, (row, column), part)
    wanted = resize(image, *whole)[:, row : row + 41, column : column + 50]
    assert made.shape == wanted.shape
    # Pillow takes the part's edges in float32: a weight moves by 1e-5, and a value that lies just
    # between two whole numbers becomes the other one. With sizes this small 1 in 50 lies so.
    difference = np.abs(made.astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("colour", [Colour.COLOUR, Colour.GREY])
@pytest.mark.parametrize("whole", [(48, 64), (75, 100), (90, 130)])
@pytest.mark.parametrize("place", [(0, 0), (5, 9), "end"])
def test_a_part_of_a_file_is_that_of_its_pixels(
    form: str, colour: Colour, whole: tuple[int, int], place: tuple[int, int] | str
) -> None:
    part = 31, 40
    image = np.random.default_rng(6).integers(0, 256, (75, 100, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(image).save(out, form, quality=95)
    at = (whole[0] - 31, whole[1] - 40) if place == "end" else (int(place[0]), int(place[1]))

    def where(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        assert (height, width) == (75, 100)
        return whole, at

    scratch = Scratch(4 * 75 * 100)  # just enough: nothing behind the last pixel
    for _ in range(2):  # the second time into the memory of the first
        made = decode_part(
            out.getvalue(), "a", colour, where=where, part=part, scratch=scratch
        ).copy()
        pixels = decode(out.getvalue(), "a", colour)
        np.testing.assert_array_equal(made, resize_part(pixels, whole, at, part))


def test_memory_for_a_part_is_used_again_while_sizes_stay() -> None:
    scratch = Scratch(4)
    first = scratch.picture(7, 5)
    assert scratch.picture(7, 5) is first
    assert scratch.picture(5, 7).size == (5, 7)


def test_a_jpeg_is_decoded_into_the_scratch_that_is_given() -> None:
    scratch = Scratch(4)
    data = noise()
    first = decode(data, "a.jpg", scratch=scratch)
    np.testing.assert_array_equal(first, decode(data, "a.jpg"))
    grey = decode(data, "a.jpg", Colour.GREY, scratch=scratch)
    assert np.shares_memory(first, grey)
    np.testing.assert_array_equal(grey, decode(data, "a.jpg", Colour.GREY))


def test_damage_is_told_from_a_scratch_too() -> None:
    scratch = Scratch()
    decode(noise(), "a.jpg", scratch=scratch)
    with pytest.raises(DataError, match=r"a\.jpg: damaged JPEG"):
        decode(noise()[:2000], "a.jpg", scratch=scratch)


def test_pixels_of_thirty_two_bits_are_refused() -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((H, W), 70_000, np.int32)).save(out, "TIFF")
    with pytest.raises(DataError, match=r"a\.tif: pixels of 32 bits"):
        decode(out.getvalue(), "a.tif")
