"""Random numbers: the known answers of Random123, and what is made of them."""

import numpy as np
import pytest

from cvgg.kernels.philox import Purpose, hash_name, normal, philox, uniform

ONES = 0xFFFFFFFF


# Random123's kat_vectors, philox4x32 with 10 rounds
@pytest.mark.parametrize(
    ("counter", "seed", "words"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers(
    counter: tuple[int, int, int, int], seed: int, words: tuple[int, ...]
) -> None:
    assert philox(counter, seed).tolist() == [list(words)]


def test_an_array_of_counters_gives_a_row_for_each() -> None:
    first = np.array([5, 0, ONES], np.uint32)
    rows = philox((first, 2, 3, 4), 6)
    assert rows.dtype == np.uint32
    assert rows.tolist() == [philox((int(each), 2, 3, 4), 6)[0].tolist() for each in first]


@pytest.mark.parametrize("word", range(4))
def test_every_word_of_the_counter_and_the_seed_matters(word: int) -> None:
    counter = [1, 2, 3, 4]
    counter[word] += 1
    words = philox((1, 2, 3, 4), 5)
    assert (philox((counter[0], counter[1], counter[2], counter[3]), 5) != words).all()
    assert (philox((1, 2, 3, 4), 5 + 2**32) != words).all()


def test_uniform_is_the_words_in_order_and_inside_zero_to_one() -> None:
    said = {"draw": 2, "layer": 3, "purpose": Purpose.FILLER, "seed": 4}
    numbers = uniform(7, **said)
    words = philox((np.arange(2, dtype=np.uint32), 2, 3, Purpose.FILLER), 4).reshape(-1)[:7]
    np.testing.assert_array_equal(numbers, [(int(word) + 0.5) / 2**32 for word in words])
    np.testing.assert_array_equal(uniform(3, **said), numbers[:3])
    many = uniform(10_001, **said)
    # Mean 1/2 and variance 1/12, each within five deviations of 10 001 draws.
    assert abs(many.mean() - 1 / 2) < 5 * (1 / 12 / 10_001) ** 0.5
    assert abs(many.var() - 1 / 12) < 5 * (1 / 180 / 10_001) ** 0.5


def test_normal_has_mean_zero_deviation_one_and_no_memory() -> None:
    numbers = normal(20_001, draw=1, layer=2, purpose=Purpose.FILLER, seed=3)
    assert len(numbers) == 20_001
    five = 5 / 20_001**0.5  # five deviations of a mean of as many draws
    assert abs(numbers.mean()) < five
    assert abs(numbers.var() - 1) < five * 2**0.5
    assert abs((numbers[0:20_000:2] * numbers[1:20_000:2]).mean()) < five * 2**0.5  # both of a pair
    assert abs((numbers**4).mean() - 3) < five * 96**0.5  # the tails: E x**8 - 9 is 96


def test_hash_name_is_the_crc_of_the_name() -> None:
    assert hash_name("123456789") == 0xCBF43926  # CRC-32's check value
