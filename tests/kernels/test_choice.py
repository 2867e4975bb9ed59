"""Which kernel and how many blocks: for VGG's layers by name, and for any problem by its rules."""

from dataclasses import replace
from math import prod

import pytest

from cvgg.kernels.cuda.choice import (
    FLOAT,
    MOST_RUNS,
    SCRATCH,
    WAVES,
    Choice,
    ceil_div,
    choose_conv,
    choose_conv_weights,
    choose_fc,
    split,
    split_bias,
)
from cvgg.kernels.cuda.driver import Properties
from cvgg.kernels.cuda.table import KERNELS

LARGE = Properties("132 multiprocessors", "sm_90", 132, 80 << 30)
SMALL = replace(LARGE, name="40 multiprocessors", multiprocessors=40)

VGG = {  # rows of the image, channels in and out
    "conv1_1": (224, 3, 64),
    "conv1_2": (224, 64, 64),
    "conv2_1": (112, 64, 128),
    "conv2_2": (112, 128, 128),
    "conv3_1": (56, 128, 256),
    "conv3_2": (56, 256, 256),
    "conv4_1": (28, 256, 512),
    "conv4_2": (28, 512, 512),
    "conv5_1": (14, 512, 512),
}

# Tiles of forward, backward-data and backward-weights.
FULL = {
    "conv1_1": "128x64_any 128x64_any 64x64_any",
    "conv1_2": "128x64     128x64     64x64",
    "conv2_1": "128x128    128x64     64x64",
    "conv2_2": "128x128    128x128    128x128",
    "conv3_1": "128x128    128x128    128x128",
    "conv3_2": "128x128    128x128    128x128",
    "conv4_1": "128x128    128x128    128x128",
    "conv4_2": "128x128    128x128    128x128",
    "conv5_1": "128x128    128x128    128x128",
}
ONE_IMAGE = {
    "conv1_1": "128x64_any 128x64_any 64x64_any",
    "conv1_2": "128x64     128x64     64x64",
    "conv2_1": "128x64     64x64      64x64",
    "conv2_2": "128x64     128x64     128x128",
    "conv3_1": "64x64      64x64      128x128",
    "conv3_2": "64x64      64x64      128x128",
    "conv4_1": "64x64      64x64      128x128",
    "conv4_2": "64x64      64x64      128x128",
    "conv5_1": "64x64      64x64      128x128",
}
ONE_IMAGE_ON_A_SMALL_CARD = {
    "conv1_1": "128x64_any 128x64_any 64x64_any",
    "conv1_2": "128x64     128x64     64x64",
    "conv2_1": "128x128    128x64     64x64",
    "conv2_2": "128x128    128x128    128x128",
    "conv3_1": "128x128    128x64     128x128",
    "conv3_2": "128x128    128x128    128x128",
    "conv4_1": "128x64     64x64      128x128",
    "conv4_2": "128x64     128x64     128x128",
    "conv5_1": "64x64      64x64      128x128",
}


def three(layer: str, batch: int, card: Properties) -> tuple[Choice, Choice, Choice]:
    """Forward, backward-data, backward-weights of a 3x3 convolution of VGG."""
    rows, c, k = VGG[layer]
    pixels = batch * rows * rows
    return (
        choose_conv(pixels, k, c, 1, card),
        choose_conv(pixels, c, k, 1, card),
        choose_conv_weights(pixels, 9 * c, k, c, 1, card),
    )


@pytest.mark.parametrize(
    ("batch", "card", "expected"),
    [
        (1, LARGE, ONE_IMAGE),
        (1, SMALL, ONE_IMAGE_ON_A_SMALL_CARD),
        *((batch, card, FULL) for batch in (64, 256) for card in (LARGE, SMALL)),
    ],
)
def test_layers_of_vgg_have_these_kernels(
    batch: int, card: Properties, expected: dict[str, str]
) -> None:
    prefixes = ("conv_", "conv_", "conv_weights_")
    chosen = {
        layer: [
            choice.kernel.removeprefix(prefix)
            for choice, prefix in zip(three(layer, batch, card), prefixes, strict=True)
        ]
        for layer in VGG
    }
    assert chosen == {layer: tiles.split() for layer, tiles in expected.items()}


PROBLEMS = [
    (pixels, k, c, groups)
    for pixels in (1, 63, 64, 65, 129, 12544, 3211264)
    for k in (1, 4, 60, 64, 68, 512, 4100)
    for c in (1, 3, 4, 64, 132)
    for groups in (1, 2, 32)
]


@pytest.mark.parametrize("card", [LARGE, SMALL], ids=["large card", "small card"])
def test_every_convolution_has_a_kernel_of_the_table_whose_tiles_cover_the_output_once(
    card: Properties,
) -> None:
    for pixels, k, c, groups in PROBLEMS:
        choice = choose_conv(pixels, k, c, groups, card)
        rows, columns = KERNELS[choice.kernel].tile
        assert choice.grid == (ceil_div(pixels, rows), ceil_div(k, columns), groups)
        assert (choice.runs, choice.run) == (1, 0)
        # Vectors of four need rows of four.
        assert choice.kernel.endswith("_any") == bool(k % 4 or c % 4)


@pytest.mark.parametrize("card", [LARGE, SMALL], ids=["large card", "small card"])
def test_every_gradient_of_weights_has_a_kernel_whose_tiles_and_sums_cover_all_once(
    card: Properties,
) -> None:
    for pixels, k, c, groups in PROBLEMS:
        choice = choose_conv_weights(pixels, 9 * c, k, c, groups, card)
        rows, columns = KERNELS[choice.kernel].tile
        tiles = ceil_div(9 * c, rows), ceil_div(k, columns)
        assert choice.grid == (*tiles, groups * choice.runs)
        assert covers_once(pixels, choice.runs, choice.run)
        assert choice.kernel.endswith("_any") == bool(k % 4 or c % 4)


def covers_once(terms: int, runs: int, run: int) -> bool:
    """`runs` runs of `run` terms hold all terms, and the last of them some."""
    return 0 <= (runs - 1) * run < terms <= runs * run


@pytest.mark.parametrize("m", [1, 7, 64, 65, 256])
@pytest.mark.parametrize("n", [1, 10, 1000, 4096])
@pytest.mark.parametrize("depth", [1, 255, 512, 4096, 25088])
@pytest.mark.parametrize("card", [LARGE, SMALL], ids=["large card", "small card"])
def test_every_product_of_a_fully_connected_layer_is_covered_once(
    m: int, n: int, depth: int, card: Properties
) -> None:
    (x, y, runs), run = choose_fc(m, n, depth, card)
    rows, columns = KERNELS["fc_rows"].tile
    assert (x, y) == (ceil_div(m, rows), ceil_div(n, columns))
    assert covers_once(depth, runs, run)


@pytest.mark.parametrize("terms", [1, 15, 16, 17, 511, 512, 1024, 12345, 3211264])
@pytest.mark.parametrize("blocks", [1, 2, 9, 131, 264, 5000])
@pytest.mark.parametrize("card", [LARGE, SMALL], ids=["large card", "small card"])
def test_a_split_covers_every_term_once_and_fills_the_card_if_terms_allow(
    terms: int, blocks: int, card: Properties
) -> None:
    least = 512
    runs, run = split(terms, least, blocks, card)
    assert covers_once(terms, runs, run)
    assert run % 16 == 0
    assert runs <= MOST_RUNS
    # With one run less the card would not have WAVES blocks for each multiprocessor.
    assert runs == 1 or (runs - 1) * blocks < WAVES * card.multiprocessors
    assert runs == 1 or run >= least


def test_a_long_sum_of_few_blocks_is_split_until_the_card_is_full() -> None:
    assert split(100_000, 512, 9, LARGE) == (30, 3344)  # 270 blocks for 132 multiprocessors
    assert split(100_000, 512, 9, SMALL) == (9, 11120)
    assert split(1023, 512, 9, LARGE) == (1, 1024)
    assert split(10**7, 512, 1, LARGE) == (256, 39072)


@pytest.mark.parametrize("k", [1, 3, 64, 512, 4096, 65536])
@pytest.mark.parametrize("pixels", [1, 512, 513, 12544, 3211264])
def test_sums_of_a_bias_cover_every_pixel_once_and_fit_the_scratch(k: int, pixels: int) -> None:
    runs, run = split_bias(pixels, k)
    assert covers_once(pixels, runs, run)
    assert runs * k * FLOAT <= SCRATCH


def test_large_tiles_are_taken_as_long_as_every_multiprocessor_has_one() -> None:
    assert choose_conv(132 * 128, 128, 128, 1, LARGE).kernel == "conv_128x128"
    assert choose_conv(131 * 128, 128, 128, 1, LARGE).kernel == "conv_128x64"
    assert choose_conv(65 * 128, 128, 128, 1, LARGE).kernel == "conv_64x64"


def test_a_choice_prints_as_one_line() -> None:
    forward, _, weights = three("conv2_2", 64, LARGE)
    assert str(forward) == "conv_128x128 on 6272 x 1 x 1 blocks"
    assert str(weights) == "conv_weights_128x128 on 9 x 1 x 30 blocks, 30 sums of 26768 terms"


def test_a_choice_depends_on_the_number_of_multiprocessors_and_nothing_else_of_the_card() -> None:
    other = replace(LARGE, name="other", architecture="sm_75", memory=1)
    for layer in VGG:
        assert three(layer, 1, LARGE) == three(layer, 1, other)
    assert prod(three("conv5_1", 1, LARGE)[0].grid) < LARGE.multiprocessors
