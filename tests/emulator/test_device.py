"""Memory, streams and captures of the emulated device."""

import gc

import numpy as np
import pytest
from emulator.driver import EmulatorDriver
from emulator.launching import RAMP, SEEDS, call, device, get, put
from numpy.typing import NDArray

from cvgg.errors import OutOfMemoryError
from cvgg.kernels.cuda.driver import DriverError, empty

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
    driver = device()
    host = np.zeros(256, np.float32)
    array = put(driver, RAMP)
    driver.synchronize(driver.compute)
    driver.copy_out(host, array.pointer, driver.compute)
    del array
    gc.collect()
    empty(driver, (256,))
    driver.synchronize(driver.compute)
    assert np.array_equal(host, RAMP)


def test_a_copy_outside_an_allocation_is_refused() -> None:
    driver = device()
    array = empty(driver, (8,))
    with pytest.raises(DriverError, match="do not lie in one allocation"):
        driver.copy_in(array.pointer + 4, np.zeros(8, np.float32), driver.compute)
    with pytest.raises(DriverError, match="not contiguous"):
        driver.copy_in(array.pointer, np.zeros((4, 4), np.float32)[:, ::2], driver.compute)


def test_memory_is_copied_and_cleared_in_the_order_of_its_stream() -> None:
    driver = device()
    x, y = put(driver, RAMP), empty(driver, (256,))
    driver.copy(y.pointer + 16, x.pointer, 400, driver.compute)
    driver.zero(x.pointer, 40, driver.compute)
    cleared, copied = get(driver, x), get(driver, y)
    assert np.array_equal(cleared, np.where(RAMP <= 10, 0, RAMP))
    assert np.array_equal(copied[4:104], RAMP[:100])
    assert np.isnan(copied[:4]).all()
    assert np.isnan(copied[104:]).all()
    with pytest.raises(DriverError, match="do not lie in one allocation"):
        driver.copy(y.pointer + 16, x.pointer, 1024, driver.compute)
    with pytest.raises(DriverError, match="do not lie in one allocation"):
        driver.zero(y.pointer + 16, 1024, driver.compute)


# ---- streams


def uploaded(seed: int, *, ordered: bool) -> NDArray[np.generic]:
    """Twice what the upload stream brings, with or without an event between."""
    driver = device(seed)
    x = put(driver, np.zeros(256, np.float32))
    y = empty(driver, (256,))
    driver.synchronize(driver.compute)
    driver.copy_in(x.pointer, RAMP, driver.upload)
    if ordered:
        driver.wait(driver.compute, driver.record(driver.upload))
    call(driver, "clean", "in_place", 1, x, y, None, 256)
    return get(driver, y)


def test_a_missing_event_gives_wrong_numbers_under_some_seed() -> None:
    right = [np.array_equal(uploaded(seed, ordered=False), 2 * RAMP) for seed in range(12)]
    assert right[:2] == [False, True]
    assert {*right[2:]} == {False, True}
    assert all(np.array_equal(uploaded(seed, ordered=True), 2 * RAMP) for seed in SEEDS)


def test_a_host_array_is_read_when_the_copy_runs_and_not_before() -> None:
    driver = device()
    host = RAMP.copy()
    array = put(driver, host)
    host[:] = -1
    assert (get(driver, array) == -1).all()


def test_a_host_array_is_written_when_somebody_waits_for_it() -> None:
    driver = device()
    array = put(driver, RAMP)
    host = np.zeros(256, np.float32)
    driver.copy_out(host, array.pointer, driver.compute)
    assert not host.any()
    driver.synchronize(driver.compute)
    assert np.array_equal(host, RAMP)


def test_synchronize_waits_for_its_own_stream() -> None:
    for seed in SEEDS:
        driver = device(seed)
        array, host = empty(driver, (256,)), np.zeros(256, np.float32)
        driver.copy_in(array.pointer, RAMP, driver.upload)
        driver.copy_out(host, array.pointer, driver.upload)
        driver.synchronize(driver.upload)
        assert np.array_equal(host, RAMP)


def test_finish_waits_for_an_event_and_not_for_what_follows() -> None:
    for seed in SEEDS:
        driver = device(seed)
        array = put(driver, RAMP)
        first, second = np.zeros(256, np.float32), np.zeros(256, np.float32)
        driver.copy_out(first, array.pointer, driver.compute)
        event = driver.record(driver.compute)
        driver.copy_out(second, array.pointer, driver.compute)
        driver.finish(event)
        assert np.array_equal(first, RAMP)
        assert not second.any()


def test_a_long_queue_is_worked_off() -> None:
    driver = device()
    array = put(driver, RAMP)
    hosts = [np.zeros(256, np.float32) for _ in range(200)]
    for host in hosts:
        driver.copy_out(host, array.pointer, driver.compute)
    assert np.array_equal(hosts[0], RAMP)
    assert not hosts[-1].any()


def test_after_a_failure_nothing_queued_is_run_and_nobody_waits_for_it() -> None:
    driver = device()
    array, host = put(driver, RAMP), np.zeros(256, np.float32)
    call(driver, "broken", "skips_a_barrier", 1, array)
    driver.copy_out(host, array.pointer, driver.compute)
    event = driver.record(driver.compute)
    with pytest.raises(DriverError, match="skips_a_barrier"):
        driver.synchronize(driver.compute)
    driver.wait(driver.upload, event)
    driver.synchronize(driver.upload)
    driver.synchronize(driver.compute)
    assert not host.any()


def test_events_tell_the_time_between_them() -> None:
    driver = device()
    x = put(driver, RAMP)
    first = driver.record(driver.compute)
    call(driver, "clean", "in_place", 1, x, x, None, 256)
    last = driver.record(driver.compute)
    assert 0 < driver.elapsed_ms(first, last) < 1000


def test_a_capture_records_and_replays() -> None:
    for seed in SEEDS:
        driver = device(seed)
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
    driver = device()
    x = put(driver, RAMP)
    event = driver.record(driver.upload)

    def allocate() -> None:
        driver.allocate(256)

    works = [
        lambda: driver.copy_in(x.pointer, RAMP, driver.compute),
        lambda: driver.copy_out(RAMP.copy(), x.pointer, driver.compute),
        lambda: driver.copy(x.pointer, x.pointer + 512, 512, driver.compute),
        lambda: driver.zero(x.pointer, 1024, driver.compute),
        lambda: driver.wait(driver.compute, event),
        lambda: driver.finish(event),
        lambda: driver.synchronize(driver.compute),
        allocate,
    ]
    for work in works:
        with pytest.raises(DriverError, match="during a capture"):
            driver.capture(work)
    assert np.array_equal(get(driver, x), RAMP)
