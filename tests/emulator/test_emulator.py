"""The emulator sees what it is there to see, and is silent where nothing is wrong."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulator.build import Mode
from emulator.driver import EmulatorDriver
from numpy.typing import NDArray

from cvgg.kernels.cuda.compile import FOLDER, read_source
from cvgg.kernels.cuda.driver import DeviceArray, DriverError, Launch, OutOfMemoryError, empty

HERE = Path(__file__).parent
SEEDS = range(8)
MODES: tuple[Mode, ...] = ("fast", "race")
TYPES = {"int": np.int32, "unsigned": np.uint32, "long long": np.int64, "float": np.float32}
RAMP = np.arange(1, 257, dtype=np.float32)

Argument = DeviceArray | float | None


def put(driver: EmulatorDriver, host: NDArray[np.generic]) -> DeviceArray:
    array = empty(driver, host.shape, str(host.dtype))
    driver.copy_in(array.pointer, host, driver.compute)
    return array


def get(driver: EmulatorDriver, array: DeviceArray) -> NDArray[np.generic]:
    host = np.empty(array.shape, array.dtype)
    driver.copy_out(host, array.pointer, driver.compute)
    driver.synchronize(driver.compute)
    return host


def call(
    driver: EmulatorDriver, file: str, name: str, blocks: int, *given: Argument, dynamic: int = 0
) -> None:
    """Launches a kernel of this folder with all the threads it is made for."""
    source = read_source(f"{file}.cu", (HERE / "kernels", HERE, FOLDER))
    function = replace(driver.load(source, name), dynamic=dynamic)
    arguments: list[np.generic] = []
    arrays: list[DeviceArray | None] = []
    for parameter, value in zip(function.declared.parameters, given, strict=True):
        if parameter.pointer:
            assert value is None or isinstance(value, DeviceArray)
            arguments.append(np.uint64(value.pointer if value else 0))
            arrays.append(value)
        else:
            arguments.append(TYPES[parameter.type](value))
    threads = function.declared.threads
    driver.launch(Launch(function, name, (blocks, 1, 1), threads, tuple(arguments), tuple(arrays)))


def broken(
    name: str, *more: float, seed: int = 0, mode: Mode = "race", blocks: int = 1, size: int = 256
) -> NDArray[np.generic]:
    """The last array of a kernel of broken.cu whose arrays all have `size` elements."""
    driver = EmulatorDriver(seed, mode)
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
    driver = EmulatorDriver(seed, mode)
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
    driver = EmulatorDriver(seed, "race")
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


def test_functions_of_numbers_are_those_of_the_c_library() -> None:
    driver = EmulatorDriver()
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
    ("barrier_of_half", "shared memory"),
    ("global_without_barrier", "with no barrier between"),
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
def test_a_block_that_reads_what_another_writes_is_named(seed: int) -> None:
    with pytest.raises(DriverError, match="blocks never wait for each other"):
        broken("reads_another_block", seed=seed, blocks=3, size=768)


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
        ("skips_a_barrier", r"without reaching .*"),
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
    driver = EmulatorDriver(mode=mode)
    call(driver, "broken", "null_pointer", 1, None, empty(driver, (256,)))
    with pytest.raises(DriverError, match="null_pointer, block"):
        driver.synchronize(driver.compute)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["skips_a_barrier", "diverges_at_a_shuffle", "traps"])
def test_a_failed_launch_leaves_a_working_device(name: str, mode: Mode) -> None:
    for seed in range(4):
        driver = EmulatorDriver(seed, mode)
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
        EmulatorDriver().load(wrong, "scale")
    with pytest.raises(DriverError, match=r"clean\.cu declares no kernel absent"):
        EmulatorDriver().load(source, "absent")


# ---- memory


def test_new_memory_is_poisoned_aligned_and_given_back() -> None:
    driver = EmulatorDriver(memory=1 << 20)
    array = empty(driver, (100,))
    assert array.pointer % 256 == 0
    assert driver.memory_free() == (1 << 20) - 512
    assert np.isnan(get(driver, array)).all()
    driver.copy_in(array.pointer, RAMP[:100].copy(), driver.compute)
    driver.synchronize(driver.compute)
    at = array.pointer
    del array
    gc.collect()
    assert driver.memory_free() == 1 << 20
    again = empty(driver, (100,))
    assert again.pointer == at
    assert np.isnan(get(driver, again)).all()


def test_memory_has_an_end() -> None:
    driver = EmulatorDriver(memory=1 << 20)
    kept = empty(driver, (1 << 17,))
    with pytest.raises(OutOfMemoryError) as caught:
        empty(driver, (1 << 18,))
    assert (caught.value.asked, caught.value.free) == (1 << 20, 1 << 19)
    del kept
    gc.collect()
    assert empty(driver, (1 << 18,)).nbytes == 1 << 20


def test_memory_is_not_reused_before_what_is_queued_has_run() -> None:
    driver = EmulatorDriver()
    host = np.zeros(256, np.float32)
    array = put(driver, RAMP)
    driver.copy_out(host, array.pointer, driver.compute)
    del array
    gc.collect()
    empty(driver, (256,))
    driver.synchronize(driver.compute)
    assert np.array_equal(host, RAMP)


def test_a_copy_outside_an_allocation_is_refused() -> None:
    driver = EmulatorDriver()
    array = empty(driver, (8,))
    with pytest.raises(DriverError, match="do not lie in one allocation"):
        driver.copy_in(array.pointer + 4, np.zeros(8, np.float32), driver.compute)
    with pytest.raises(DriverError, match="not contiguous"):
        driver.copy_in(array.pointer, np.zeros((4, 4), np.float32)[:, ::2], driver.compute)


# ---- streams


def uploaded(seed: int, *, ordered: bool) -> NDArray[np.generic]:
    """Twice what the upload stream brings, with or without an event between."""
    driver = EmulatorDriver(seed)
    x = put(driver, np.zeros(256, np.float32))
    y = empty(driver, (256,))
    driver.synchronize(driver.compute)
    driver.copy_in(x.pointer, RAMP, driver.upload)
    if ordered:
        driver.wait(driver.compute, driver.record(driver.upload))
    call(driver, "clean", "in_place", 1, x, y, None, 256)
    return get(driver, y)


def test_a_missing_event_gives_wrong_numbers_under_some_seed() -> None:
    right = [np.array_equal(uploaded(seed, ordered=False), 2 * RAMP) for seed in SEEDS]
    assert not all(right)
    assert any(right)
    assert all(np.array_equal(uploaded(seed, ordered=True), 2 * RAMP) for seed in SEEDS)


def test_a_host_array_is_read_when_the_copy_runs_and_not_before() -> None:
    driver = EmulatorDriver()
    host = RAMP.copy()
    array = put(driver, host)
    host[:] = -1
    assert (get(driver, array) == -1).all()


def test_a_host_array_is_written_when_somebody_waits_for_it() -> None:
    driver = EmulatorDriver()
    array = put(driver, RAMP)
    host = np.zeros(256, np.float32)
    driver.copy_out(host, array.pointer, driver.compute)
    assert not host.any()
    driver.synchronize(driver.compute)
    assert np.array_equal(host, RAMP)


def test_synchronize_waits_for_its_own_stream() -> None:
    for seed in SEEDS:
        driver = EmulatorDriver(seed)
        array, host = empty(driver, (256,)), np.zeros(256, np.float32)
        driver.copy_in(array.pointer, RAMP, driver.upload)
        driver.copy_out(host, array.pointer, driver.upload)
        driver.synchronize(driver.upload)
        assert np.array_equal(host, RAMP)


def test_a_long_queue_is_worked_off() -> None:
    driver = EmulatorDriver()
    array = put(driver, RAMP)
    hosts = [np.zeros(256, np.float32) for _ in range(200)]
    for host in hosts:
        driver.copy_out(host, array.pointer, driver.compute)
    assert np.array_equal(hosts[0], RAMP)
    assert not hosts[-1].any()


def test_events_tell_the_time_between_them() -> None:
    driver = EmulatorDriver()
    x = put(driver, RAMP)
    first = driver.record(driver.compute)
    call(driver, "clean", "in_place", 1, x, x, None, 256)
    last = driver.record(driver.compute)
    assert 0 < driver.elapsed_ms(first, last) < 1000


def test_a_capture_records_and_replays() -> None:
    for seed in SEEDS:
        driver = EmulatorDriver(seed)
        x = put(driver, RAMP)

        def work() -> None:
            call(driver, "clean", "in_place", 1, x, x, None, 256)  # noqa: B023
            call(driver, "clean", "in_place", 1, x, x, None, 128)  # noqa: B023

        graph = driver.capture(work)
        assert np.array_equal(get(driver, x), RAMP)
        graph.launch()
        graph.launch()
        assert np.array_equal(get(driver, x), np.where(RAMP <= 128, 16, 4) * RAMP)


def test_a_capture_refuses_what_a_graph_cannot_hold() -> None:
    driver = EmulatorDriver()
    x = put(driver, RAMP)
    works = [
        lambda: driver.copy_in(x.pointer, RAMP, driver.compute),
        lambda: driver.copy_out(RAMP.copy(), x.pointer, driver.compute),
        lambda: driver.synchronize(driver.compute),
        lambda: driver.allocate(256) and None,
    ]
    for work in works:
        with pytest.raises(DriverError, match="during a capture"):
            driver.capture(work)
    assert np.array_equal(get(driver, x), RAMP)


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
    driver = EmulatorDriver(mode="race")
    d = put(driver, np.array([[c[place] for place in lane] for lane in c_places]))
    left, right = registers(convert(a), a_places), registers(convert(b), b_places)
    call(driver, "tensor", "multiply", 1, put(driver, left), put(driver, right), d, which)
    expected = a @ b + c
    assert np.array_equal(get(driver, d), [[expected[p] for p in lane] for lane in c_places])


@pytest.mark.parametrize("which", range(3), ids=["bf16", "f16", "tf32"])
def test_mma_keeps_poison_visible(which: int) -> None:
    driver = EmulatorDriver()
    a, b = np.zeros((32, 4), np.int32), np.zeros((32, 2), np.int32)
    a[0, 0] = 0x7F800001 if which == 2 else -1  # the first: a NaN of bits that tf32 has not
    d = put(driver, np.zeros((32, 4), np.float32))
    call(driver, "tensor", "multiply", 1, put(driver, a), put(driver, b), d, which)
    assert np.isnan(get(driver, d)[:4, :2]).all()


def test_rounding_to_tf32_keeps_what_is_no_number() -> None:
    driver = EmulatorDriver()
    bits = np.array([0x3F801000, 0x3F800FFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000], np.uint32)
    y = empty(driver, (5,))
    call(driver, "tensor", "round_to_tf32", 1, put(driver, bits.view(np.float32)), y, 5)
    result = get(driver, y)
    assert list(result[:2].view(np.uint32)) == [0x3F802000, 0x3F800000]
    assert list(np.isnan(result[2:])) == [True, True, False]
    assert np.isinf(result[4])


def test_ldmatrix_hands_out_rows_and_columns() -> None:
    driver = EmulatorDriver(mode="race")
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
    driver = EmulatorDriver(seed, mode)
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


def test_copies_that_nobody_waits_for_are_named() -> None:
    driver = EmulatorDriver()
    call(driver, "tensor", "never_waits", 1, empty(driver, (256,)), empty(driver, (64,)))
    with pytest.raises(DriverError, match="asynchronous copies that it never waited for"):
        driver.synchronize(driver.compute)


@pytest.mark.parametrize("mode", MODES)
def test_dynamic_shared_memory_is_poisoned_and_has_an_end(mode: Mode) -> None:
    driver = EmulatorDriver(mode=mode)
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
    EmulatorDriver().load(replace(source, text=text), "never_waits")
