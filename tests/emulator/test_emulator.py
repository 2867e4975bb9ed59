"""The emulator sees what kernels do wrong, and is silent where nothing is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from emulator.build import Mode
from emulator.launching import HERE, MODES, RAMP, SEEDS, call, device, get, put
from numpy.typing import NDArray

from cvgg.kernels.cuda.compile import FOLDER, read_source
from cvgg.kernels.cuda.driver import DriverError, empty


def broken(
    name: str, *more: float, seed: int = 0, mode: Mode = "race", blocks: int = 1, size: int = 256
) -> NDArray[np.generic]:
    """The last array of a kernel of broken.cu whose arrays all have `size` elements."""
    driver = device(seed, mode)
    source = read_source("broken.cu", (HERE / "kernels", FOLDER))
    declared = driver.load(source, name).declared
    pointers = [each for each in declared.parameters if each.pointer]
    kinds = {"float": "float32", "int": "int32"}
    hosts = [np.arange(1, size + 1).astype(kinds[each.type]) for each in pointers]
    arrays = [put(driver, host) for host in hosts]
    call(driver, "broken", name, blocks, *arrays, *more)
    return get(driver, arrays[-1])


# ---- kernels that are right


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", SEEDS)
def test_right_kernels_give_right_numbers_and_no_report(seed: int, mode: Mode) -> None:
    driver = device(seed, mode)
    rows = np.random.default_rng(1).standard_normal((7, 1001)).astype(np.float32)
    x = put(driver, rows)
    y, sums = empty(driver, rows.shape), empty(driver, (7,))
    call(driver, "clean", "scale", 5, x, y, rows.size, 2.5)
    call(driver, "clean", "sum_rows", 7, x, sums, 1001)
    assert np.array_equal(
        get(driver, y), np.maximum(np.float32(2.5) * rows.astype(float) + 1, 0).astype(np.float32)
    )
    # The sum is taken in float64 and rounded once.
    assert np.allclose(get(driver, sums), rows.sum(1, dtype=float), rtol=1e-7)

    blocks = np.arange(3 * 256, dtype=np.float32).reshape(3, 256)
    reversed_blocks = empty(driver, (3, 256))
    call(driver, "clean", "reverse", 3, put(driver, blocks), reversed_blocks)
    assert np.array_equal(get(driver, reversed_blocks), blocks[:, ::-1])

    counts, extremes = put(driver, np.zeros(2, np.int32)), put(driver, np.zeros(2, np.int64))
    call(driver, "clean", "count_threads", 3, counts, extremes)
    assert list(get(driver, counts)) == [768 * 767 // 2, 768]
    assert list(get(driver, extremes)) == [-7, 767 << 33]

    vectors = np.arange(4 * 300, dtype=np.float32).reshape(300, 4)
    turned = empty(driver, (300, 4))
    call(driver, "clean", "vectors", 1, put(driver, vectors), turned, 300)
    expected = vectors[:, ::-1].copy()
    expected[:, 3] += vectors[:, 1]
    assert np.array_equal(get(driver, turned), expected)

    doubled = put(driver, RAMP)
    call(driver, "clean", "in_place", 2, doubled, doubled, None, 256)
    assert np.array_equal(get(driver, doubled), 2 * RAMP)

    ints, floats, moved = (empty(driver, (64,), kind) for kind in ("int32", "float32", "int32"))
    call(driver, "clean", "templates", 1, ints, floats)
    call(driver, "clean", "neighbours", 1, moved)
    t = np.arange(64)
    assert np.array_equal(get(driver, ints), (63 - t) * 3)
    assert np.array_equal(get(driver, floats), (t ^ 1) * 0.5)
    assert np.array_equal(get(driver, moved), t // 32 * 32 + (t + 1) % 32 + 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_warp_functions_do_what_the_programming_guide_says(seed: int) -> None:
    driver = device(seed, "race")
    y = empty(driver, (10, 64), "int32")
    call(driver, "clean", "warps", 1, y)
    t = np.arange(64)
    lane, first = t % 32, t // 32 * 32
    ballot = (
        sum(1 << i for i in range(32) if i % 3 == 0),
        sum(1 << i for i in range(32) if (32 + i) % 3 == 0),
    )
    expected = [
        100 + first + 5,
        100 + t // 8 * 8 + 3,
        100 + (t ^ 6),
        100 + np.where(lane + 3 < 32, t + 3, t),
        100 + np.where(t % 16 >= 2, t - 2, t),
        np.array(ballot, np.uint32).view(np.int32)[t // 32],
        (t >= 32) * 1,
        (t < 32) * 1,
        100 + np.where(lane < 12, t ^ 1, t ^ 2),
        100 + (t ^ 1),
    ]
    assert np.array_equal(get(driver, y), np.stack(expected))


def order(seed: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """When the threads of three blocks start, and when they go on after a warp function."""
    driver = device(seed)
    count = put(driver, np.zeros(1, np.int32))
    before, after = empty(driver, (3, 64), "int32"), empty(driver, (3, 64), "int32")
    call(driver, "clean", "tickets", 3, count, before, after)
    return get(driver, before), get(driver, after)


def test_seed_0_runs_in_order_and_seed_1_backwards() -> None:
    before, after = order(0)
    expected = np.arange(3)[:, None] * 128 + np.arange(64)
    assert np.array_equal(before, expected)
    assert np.array_equal(after, expected + 64)
    before, after = order(1)
    assert np.array_equal(before, expected[::-1, ::-1])
    assert np.array_equal(after, expected[::-1, ::-1] + 64)


def test_other_seeds_draw_the_order_of_threads_and_blocks() -> None:
    starts = [order(seed)[0] for seed in range(2, 12)]
    assert len({tuple(start.ravel()) for start in starts}) == len(starts)
    assert len({tuple(start.min(1).argsort()) for start in starts}) > 2
    assert all((np.diff(start[0]) < 0).sum() in range(16, 48) for start in starts)


def test_odd_seeds_let_woken_threads_go_on_first() -> None:
    for seed in range(2, 8):
        before, after = order(seed)
        assert (after.min(1) < before.max(1)).all() == bool(seed % 2)


def test_functions_of_numbers_are_those_of_the_c_library() -> None:
    driver = device()
    x = np.array([-2.5, -0.0, 0.25, 3, 1e-3, np.inf, np.nan], np.float32)
    y = empty(driver, (11, 7))
    call(driver, "clean", "numbers", 1, put(driver, x), y, 7)
    wide = x.astype(float)
    with np.errstate(divide="ignore"):
        expected = [np.exp(wide), np.log(np.abs(wide)), np.abs(wide) ** 1.5, np.sqrt(np.abs(wide))]
    expected += [np.fmax(wide, 0.25), np.fmin(wide, 0.25), np.isfinite(wide), np.isnan(wide)]
    expected += [
        (x.view(np.uint32) >> 12).astype(float),
        np.minimum(np.arange(7), 3),
        np.maximum(np.arange(7), 2),
    ]
    # One unit in the last place of float32.
    assert np.allclose(get(driver, y), np.stack(expected), rtol=1.2e-7, equal_nan=True)


# ---- shared memory


def test_race_mode_names_a_missing_barrier_between_write_and_read() -> None:
    with pytest.raises(
        DriverError, match=r"no_barrier_after_write.*race: .*with no barrier between"
    ):
        broken("no_barrier_after_write")


def test_a_missing_barrier_gives_wrong_numbers_under_some_seed() -> None:
    assert not all(
        np.array_equal(broken("no_barrier_after_write", seed=seed, mode="fast"), RAMP[::-1])
        for seed in SEEDS
    )


def test_race_mode_says_which_lines_of_the_source_race() -> None:
    lines = (HERE / "kernels" / "broken.cu").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "no_barrier_after_write" in line)
    with pytest.raises(DriverError) as caught:
        broken("no_barrier_after_write")
    assert f"broken.cu:{start + 3}" in str(caught.value)
    assert f"broken.cu:{start + 4}" in str(caught.value)


RACES = [
    ("no_barrier_after_read", "thread"),
    ("two_threads_write", "writes shared memory"),
    ("shuffle_as_barrier", "shared memory"),
    ("warp_barrier_too_early", "shared memory"),
    ("barrier_of_half", "shared memory"),
    ("global_without_barrier", "with no barrier between"),
    ("last_thread_reads_the_count", "reads element 0 of counts"),
    ("writes_what_other_warps_read", "shared memory"),
    ("writes_what_its_warp_reads", "shared memory"),
    ("writes_what_one_lane_reads", "shared memory"),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "says"), RACES)
def test_race_mode_finds_a_race_in_whatever_order(name: str, says: str, seed: int) -> None:
    with pytest.raises(DriverError, match=f"{name}, block .*race: .*{says}"):
        broken(name, seed=seed)


@pytest.mark.parametrize("mode", MODES)
def test_shared_memory_that_nothing_was_written_to_is_nan(mode: Mode) -> None:
    y = broken("never_written_shared", mode=mode)
    assert np.isnan(y[77])
    assert np.isfinite(np.delete(y, 77)).all()


def test_an_index_past_the_end_of_a_shared_array_is_named() -> None:
    with pytest.raises(DriverError, match=r"index 32 lies outside 'float \[32\]' at broken.cu:\d+"):
        broken("shared_index_past_the_end", 32)


def test_a_pointer_past_the_end_of_shared_memory_is_reported() -> None:
    with pytest.raises(DriverError, match="reads 4 bytes"):
        broken("shared_pointer_past_the_end", 20000)


# ---- global memory


def test_a_read_past_the_end_of_an_array_is_named() -> None:
    with pytest.raises(DriverError, match=r"reads 4 bytes at byte 1024 of x at broken.cu:\d+"):
        broken("reads_past_the_end")
    with pytest.raises(DriverError, match=r"reads 16 bytes at byte 1008 of x"):
        broken("reads_half_a_vector_past_the_end", size=254)


def test_a_write_past_the_end_of_an_array_is_named() -> None:
    with pytest.raises(DriverError, match=r"writes 4 bytes at byte 1024 of y"):
        broken("writes_past_the_end")
    with pytest.raises(DriverError, match=r"writes 4 bytes at byte -8 of y"):
        broken("writes_before_the_start")


@pytest.mark.parametrize("name", ["writes_past_the_end", "writes_before_the_start"])
def test_fast_mode_finds_a_damaged_guard(name: str) -> None:
    with pytest.raises(DriverError, match="beside an array"):
        broken(name, mode="fast")


def test_fast_mode_reads_nan_past_the_end() -> None:
    assert np.isnan(broken("reads_past_the_end", mode="fast")[255])


def test_a_write_to_a_const_array_is_named() -> None:
    with pytest.raises(DriverError, match=r"writes element 0 of x.*, which is const"):
        broken("writes_const")


@pytest.mark.parametrize("name", ["misaligned_vector", "misaligned_shared"])
def test_a_misaligned_vector_is_named(name: str) -> None:
    with pytest.raises(DriverError, match=r"at an address that (16|8) does not divide"):
        broken(name)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_blocks_that_write_the_same_element_are_named(seed: int) -> None:
    with pytest.raises(
        DriverError, match=r"race: writes element \d+ of y .*which block \(\d, 0, 0\) wrote"
    ):
        broken("blocks_write_the_same", seed=seed, blocks=3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name",
    [
        "reads_another_block",
        "last_block_writes_what_the_first_reads",
        "last_block_writes_what_all_read",
    ],
)
def test_a_block_that_reads_what_another_writes_is_named(name: str, seed: int) -> None:
    with pytest.raises(DriverError, match="blocks never wait for each other"):
        broken(name, seed=seed, blocks=3, size=768)


@pytest.mark.parametrize("seed", SEEDS)
def test_atomics_do_not_race_with_each_other_but_with_plain_reads(seed: int) -> None:
    with pytest.raises(DriverError, match=r"race: .* of counts"):
        broken("reads_a_running_count", seed=seed, blocks=3, size=768)


# ---- meetings


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "diverges_at_a_shuffle",
            r"calls the warp function at broken.cu:\d+ .* waits at broken.cu",
        ),
        ("mask_leaves_itself_out", r"mask \(7fffffff\) that leaves it out"),
        ("takes_from_a_lane_outside", "takes the value of lane 8, which does not take part"),
        ("lane_ends_early", "thread 35"),
        ("first_lane_ends_early", "thread 0"),
        ("skips_a_barrier", "without reaching"),
        ("first_skips_a_barrier", "without reaching"),
        ("two_barriers_apart", r"is at the __syncthreads\(\) at broken.cu:\d+, thread"),
        ("barrier_against_warp", "deadlock: thread"),
        ("traps", r"thread 5: reached the __trap\(\) at broken.cu"),
    ],
)
def test_threads_that_do_not_meet_are_named(name: str, says: str, mode: Mode) -> None:
    for seed in range(4):
        with pytest.raises(DriverError, match=says):
            broken(name, seed=seed, mode=mode)


# ---- faults


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_ends_the_launch_and_not_the_process(mode: Mode) -> None:
    with pytest.raises(DriverError, match="divides a whole number by zero"):
        broken("divides_by_zero", 0, mode=mode)
    with pytest.raises(DriverError, match="bytes of stack"):
        broken("overflows_its_stack", 10000, mode=mode)
    driver = device(mode=mode)
    call(driver, "broken", "null_pointer", 1, None, empty(driver, (256,)))
    with pytest.raises(DriverError, match="null_pointer, block"):
        driver.synchronize(driver.compute)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["skips_a_barrier", "diverges_at_a_shuffle", "traps"])
def test_a_failed_launch_leaves_a_working_device(name: str, mode: Mode) -> None:
    for seed in range(4):
        driver = device(seed, mode)
        x = put(driver, np.arange(256, dtype=np.int32 if name == "traps" else np.float32))
        y = empty(driver, (256,), x.dtype)
        call(driver, "broken", name, 1, *((x, y) if name.startswith("diverges") else (y,)))
        with pytest.raises(DriverError):
            driver.synchronize(driver.compute)
        backwards = empty(driver, (1, 256))
        call(driver, "clean", "reverse", 1, put(driver, RAMP), backwards)
        assert np.array_equal(get(driver, backwards)[0], RAMP[::-1])


def test_a_source_that_does_not_compile_is_refused_with_the_line() -> None:
    source = read_source("clean.cu", (HERE / "kernels", FOLDER))
    wrong = replace(source, text=source.text.replace("fmaxf(", "fmaxg("))
    with pytest.raises(DriverError, match=r"clean.cu:\d+.*fmaxg"):
        device().load(wrong, "scale")
    with pytest.raises(DriverError, match=r"clean\.cu declares no kernel absent"):
        device().load(source, "absent")
