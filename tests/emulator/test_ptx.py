"""The emulator's ptx.cuh: layouts as the PTX manual has them, copies that land early and late."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from emulator.build import Mode
from emulator.launching import HERE, MODES, SEEDS, call, device, get, put
from numpy.typing import NDArray

from cvgg.kernels.cuda.compile import FOLDER, read_source
from cvgg.kernels.cuda.driver import DriverError, empty

# ---- ptx.cuh


def registers(
    values: NDArray[np.generic], places: Sequence[Sequence[tuple[int, int]]]
) -> NDArray[np.int32]:
    """Elements at each lane's places, packed into 32-bit registers."""
    packed = np.array([[values[place] for place in lane] for lane in places])
    return np.ascontiguousarray(packed).view(np.int32)


def bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (values.view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("which", range(3), ids=["bf16", "f16", "tf32"])
def test_mma_multiplies_as_the_manual_lays_the_fragments(which: int) -> None:
    k = (16, 16, 8)[which]
    numbers = np.random.default_rng(2)
    # Small whole numbers: every format and every order of sums is exact.
    a = numbers.integers(-8, 9, (16, k)).astype(np.float32)
    b = numbers.integers(-8, 9, (k, 8)).astype(np.float32)
    c = numbers.integers(-99, 100, (16, 8)).astype(np.float32)
    lanes = [(lane // 4, lane % 4) for lane in range(32)]
    c_places = [[(g + 8 * (i // 2), 2 * t + i % 2) for i in range(4)] for g, t in lanes]
    if which == 2:
        a_places = [[(g + 8 * (i % 2), t + 4 * (i // 2)) for i in range(4)] for g, t in lanes]
        b_places = [[(t + 4 * i, g) for i in range(2)] for g, t in lanes]
    else:
        a_places = [
            [(g + 8 * (i // 2 % 2), 2 * t + i % 2 + 8 * (i // 4)) for i in range(8)]
            for g, t in lanes
        ]
        b_places = [[(2 * t + i % 2 + 8 * (i // 2), g) for i in range(4)] for g, t in lanes]
    convert = (bf16, lambda x: x.astype(np.float16), lambda x: x)[which]
    driver = device(mode="race")
    d = put(driver, np.array([[c[place] for place in lane] for lane in c_places]))
    left, right = registers(convert(a), a_places), registers(convert(b), b_places)
    call(driver, "tensor", "multiply", 1, put(driver, left), put(driver, right), d, which)
    expected = a @ b + c
    assert np.array_equal(get(driver, d), [[expected[p] for p in lane] for lane in c_places])


@pytest.mark.parametrize("which", range(3), ids=["bf16", "f16", "tf32"])
def test_mma_keeps_poison_visible(which: int) -> None:
    driver = device()
    ones = (0x3F803F80, 0x3C003C00, 0x3F800000)[which]
    a, b = np.zeros((32, 4), np.int32), np.full((32, 2), ones, np.int32)
    a[0, 0] = 0x7F800001 if which == 2 else -1  # the first: a NaN of bits that tf32 has not
    d = put(driver, np.zeros((32, 4), np.float32))
    call(driver, "tensor", "multiply", 1, put(driver, a), put(driver, b), d, which)
    result = get(driver, d)
    assert np.isnan(result[:4, :2]).all()
    assert not result[4:].any()


def test_rounding_to_tf32_keeps_what_is_no_number() -> None:
    driver = device()
    bits = np.array([0x3F801000, 0x3F800FFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000], np.uint32)
    y = empty(driver, (5,))
    call(driver, "tensor", "round_to_tf32", 1, put(driver, bits.view(np.float32)), y, 5)
    result = get(driver, y)
    assert list(result[:2].view(np.uint32)) == [0x3F802000, 0x3F800000]
    assert list(np.isnan(result[2:])) == [True, True, False]
    assert np.isinf(result[4])


def test_ldmatrix_hands_out_rows_and_columns() -> None:
    driver = device(mode="race")
    matrices = np.arange(4 * 64, dtype=np.int16).reshape(4, 8, 8)
    y, z = empty(driver, (32, 4), "int32"), empty(driver, (32, 4), "int32")
    rows = put(driver, matrices.reshape(32, 8).view(np.int32))
    call(driver, "tensor", "load_matrices", 1, rows, y, z)
    lane = np.arange(32)
    g, t = lane // 4, lane % 4
    plain = get(driver, y).view(np.int16).reshape(32, 4, 2)
    transposed = get(driver, z).view(np.int16).reshape(32, 4, 2)
    for j in range(4):
        for half in range(2):
            assert np.array_equal(plain[:, j, half], matrices[j, g, 2 * t + half])
            assert np.array_equal(transposed[:, j, half], matrices[j, 2 * t + half, g])


def piped(seed: int, mode: Mode, open_groups: int = 1, barrier: int = 1) -> bool:
    driver = device(seed, mode)
    x = np.arange(3 * 64 * 4, dtype=np.float32).reshape(3, 64, 4)
    y = empty(driver, x.shape)
    call(driver, "tensor", "pipe", 1, put(driver, x), y, 50, open_groups, barrier)
    x[:, 50:] = 0
    return np.array_equal(get(driver, y), x)


@pytest.mark.parametrize("mode", MODES)
def test_asynchronous_copies_arrive_and_fill_up_with_zeros(mode: Mode) -> None:
    assert all(piped(seed, mode) for seed in SEEDS)


def test_a_wait_for_too_few_copies_shows_under_some_seed() -> None:
    right = [piped(seed, "fast", open_groups=2) for seed in SEEDS]
    assert any(right)
    assert not all(right)


def test_race_mode_finds_copies_read_without_a_barrier() -> None:
    for seed in SEEDS:
        with pytest.raises(DriverError, match=r"race: .*shared memory"):
            piped(seed, "race", barrier=0)
        with pytest.raises(DriverError, match=r"race: .*shared memory"):
            piped(seed, "race", barrier=2)


def test_copies_that_nobody_waits_for_are_named() -> None:
    driver = device()
    call(driver, "tensor", "never_waits", 1, empty(driver, (256,)), empty(driver, (64,)))
    with pytest.raises(DriverError, match="asynchronous copies that it never waited for"):
        driver.synchronize(driver.compute)


@pytest.mark.parametrize("mode", MODES)
def test_dynamic_shared_memory_is_poisoned_and_has_an_end(mode: Mode) -> None:
    driver = device(mode=mode)
    y = empty(driver, (64,), "int32")
    call(driver, "tensor", "dynamic_shared", 1, y, dynamic=256)
    expected = np.arange(63, -1, -1) * 5
    expected[63 - 7] = -1
    assert np.array_equal(get(driver, y), expected)
    if mode == "race":
        call(driver, "tensor", "dynamic_shared", 1, y, dynamic=128)
        with pytest.raises(DriverError, match="outside every array"):
            driver.synchronize(driver.compute)


def test_the_emulators_ptx_replaces_the_products_and_its_headers_stay() -> None:
    source = read_source("tensor.cu", (HERE / "kernels", HERE, FOLDER))
    product = (
        '#line 1 "ptx.cuh"\n#line 1 "common.cuh"\nint kept;\n#line 3 "ptx.cuh"\n'
        'asm("no processor has this");\n#line 3 "tensor.cu"'
    )
    text = source.text[: source.text.index('#line 1 "ptx.cuh"')] + product
    text += source.text[source.text.rindex('#line 3 "tensor.cu"') + len('#line 3 "tensor.cu"') :]
    text = text.replace("y[threadIdx.x] = 0;", "y[threadIdx.x] = kept;")
    device().load(replace(source, text=text), "never_waits")
