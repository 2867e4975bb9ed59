"""What the driver of the product asks of CuPy, seen by a stand-in for CuPy."""

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cupy import BAD_ADDRESS, FREE, NO_IMAGE, NO_MEMORY, TOTAL, CUDARuntimeError, FakeCupy

from cvgg.errors import OutOfMemoryError
from cvgg.kernels.cuda import cupy_driver
from cvgg.kernels.cuda.compile import CompileError, Source
from cvgg.kernels.cuda.cupy_driver import CupyDriver
from cvgg.kernels.cuda.driver import DriverError, Launch, Properties

SOURCE = Source("some.cu", "text")


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCupy:
    """Two cards; compiling gives some.cubin."""
    fake = FakeCupy((9, 0), (8, 6))
    monkeypatch.setitem(sys.modules, "cupy", fake)

    def cubin_file(source: Source, architecture: str) -> Path:
        fake.calls.append(("compile", source, architecture))
        return tmp_path / "some.cubin"

    monkeypatch.setattr(cupy_driver, "cubin_file", cubin_file)
    return fake


@pytest.fixture
def driver(cupy: FakeCupy) -> CupyDriver:
    made = CupyDriver()
    cupy.calls.clear()
    return made


def said(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which must be one line."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# ---- opening a card


def test_a_card_is_opened_with_two_streams_of_its_own_that_never_wait_for_others(
    cupy: FakeCupy,
) -> None:
    driver = CupyDriver(1)
    assert driver.device == 1
    assert driver.properties == Properties("Card 1", "sm_86", 132, TOTAL)
    assert cupy.streams == [driver.compute, driver.upload]
    for stream in cupy.streams:
        assert stream.non_blocking
        assert ("use", 1) in stream.made_after  # or it would belong to another card


def test_no_cupy_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DriverError) as error:
        CupyDriver()
    assert said(error).startswith("CuPy cannot be loaded (")
    assert said(error).endswith("; install cvgg[cuda13], or cvgg[cuda12] for an older driver")


def test_a_broken_cupy_is_one_line_too_whatever_it_says_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "\\n=====\\nFailed to import CuPy.\\n\\nOriginal error:\\n  libcudart is not there\\n==="
    )
    (tmp_path / "cupy.py").write_text(f'raise ImportError("{words}")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DriverError) as error:
        CupyDriver()
    assert "libcudart is not there" in said(error)


def test_no_driver_is_one_line_with_what_cuda_says(cupy: FakeCupy) -> None:
    words = "cudaErrorInsufficientDriver: CUDA driver version is insufficient"
    cupy.fail["getDeviceCount"] = CUDARuntimeError(35, words)
    with pytest.raises(DriverError) as error:
        CupyDriver()
    assert said(error) == f"no usable NVIDIA driver: {words}"


def test_a_driver_that_sees_no_card_is_one_line(cupy: FakeCupy) -> None:
    cupy.capabilities = ()
    with pytest.raises(DriverError) as error:
        CupyDriver()
    assert said(error) == "the NVIDIA driver sees no card"


def test_a_number_without_a_card_is_one_line_with_those_that_have_one(cupy: FakeCupy) -> None:
    with pytest.raises(DriverError) as error:
        CupyDriver(2)
    assert said(error) == "there is no GPU 2: GPUs here are numbered 0 to 1"
    assert cupy.calls == []


def test_too_old_a_card_is_one_line_that_says_which_would_do(cupy: FakeCupy) -> None:
    cupy.capabilities = ((7, 5), (7, 0))
    assert CupyDriver(0).properties.architecture == "sm_75"
    with pytest.raises(DriverError) as error:
        CupyDriver(1)
    assert said(error) == ("GPU 1 (Card 1) has compute capability 7.0; cvgg needs 7.5 or later")


# ---- kernels


def test_a_source_is_compiled_once_for_the_cards_architecture_and_loaded_from_its_file(
    cupy: FakeCupy, driver: CupyDriver, tmp_path: Path
) -> None:
    driver.load(SOURCE, "one")
    driver.load(SOURCE, "two")
    assert cupy.calls == [
        ("compile", SOURCE, "sm_90"),
        ("RawModule", str(tmp_path / "some.cubin")),
        ("get_function", "one"),
        ("get_function", "two"),
    ]


def test_a_kernel_is_launched_on_the_compute_stream_with_the_scalars_as_they_are(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    function = driver.load(SOURCE, "one")
    cupy.calls.clear()
    arguments = np.uint64(0x7F00), np.float32(0.1), np.int32(-7), np.uint32(8), np.int64(2**40)
    driver.launch(Launch(function, "one", (5, 3, 2), 128, arguments, (None,)))
    ((name, stream, *rest),) = cupy.calls
    assert (name, stream) == ("launch", driver.compute)
    assert rest == ["one", (5, 3, 2), (128, 1, 1), arguments]
    # CuPy gives the kernel the bytes of a scalar, so its type is the parameter's.
    assert [type(each) for each in rest[-1]] == [type(each) for each in arguments]
    assert cupy.current == []


def test_what_the_compiler_refuses_is_passed_on(
    cupy: FakeCupy, driver: CupyDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Source, architecture: str) -> Path:
        raise CompileError(f"{source.file} for {architecture}: no")

    monkeypatch.setattr(cupy_driver, "cubin_file", refuse)
    with pytest.raises(CompileError, match=r"^some\.cu for sm_90: no$"):
        driver.load(SOURCE, "one")
    assert cupy.calls == []


# ---- memory


def test_memory_belongs_to_an_object_that_frees_it(cupy: FakeCupy, driver: CupyDriver) -> None:
    pointer, owner = driver.allocate(1000)
    assert cupy.calls == [("Memory", 1000)]
    assert (pointer, type(pointer)) == (owner.ptr, int)


def test_no_bytes_are_a_null_pointer(cupy: FakeCupy, driver: CupyDriver) -> None:
    assert driver.allocate(0) == (0, None)
    assert cupy.calls == []


def test_what_does_not_fit_is_said_with_what_is_free(cupy: FakeCupy, driver: CupyDriver) -> None:
    cupy.fail["Memory"] = NO_MEMORY
    with pytest.raises(OutOfMemoryError) as error:
        driver.allocate(7_000_000)
    assert (error.value.asked, error.value.free) == (7_000_000, FREE)
    assert said(error) == "7,000,000 bytes asked for, 5,000,000 free"


def test_an_earlier_fault_that_an_allocation_meets_is_not_called_lack_of_memory(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    cupy.fail["Memory"] = BAD_ADDRESS
    with pytest.raises(DriverError) as error:
        driver.allocate(7_000_000)
    assert said(error) == f"GPU 0: {BAD_ADDRESS}"


def test_pinned_memory_is_seen_as_an_array_that_keeps_it(driver: CupyDriver) -> None:
    array = driver.pinned(1000)
    gc.collect()
    assert (array.shape, array.dtype) == ((1000,), np.uint8)
    array[:] = 7
    assert array.sum() == 7000
    assert array.base is not None


def test_free_memory_is_what_cuda_says(driver: CupyDriver) -> None:
    assert driver.memory_free() == FREE


def test_copies_go_the_right_way_on_the_stream_that_is_given(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    host = np.arange(7, dtype=np.int64)
    at = host.ctypes.data
    driver.copy_in(0x100, host, driver.upload)
    driver.copy_out(host, 0x200, driver.compute)
    driver.copy(0x300, 0x400, 12, driver.upload)
    driver.zero(0x500, 20, driver.compute)
    compute, upload = driver.compute.ptr, driver.upload.ptr
    assert compute != upload
    assert cupy.calls == [
        ("memcpyAsync", 0x100, at, 56, 1, upload),
        ("memcpyAsync", at, 0x200, 56, 2, compute),
        ("memcpyAsync", 0x300, 0x400, 12, 3, upload),
        ("memsetAsync", 0x500, 0, 20, compute),
    ]


# ---- order


def test_an_event_is_recorded_on_one_stream_and_awaited_by_another(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    event = driver.record(driver.upload)
    driver.wait(driver.compute, event)
    driver.finish(event)
    assert cupy.calls == [
        ("record", event, driver.upload),
        ("wait_event", driver.compute, event),
        ("finish", event),
    ]


def test_elapsed_time_is_that_of_two_events(cupy: FakeCupy, driver: CupyDriver) -> None:
    first, last = driver.record(driver.compute), driver.record(driver.compute)
    assert first is not last
    assert driver.elapsed_ms(first, last) == 2.5
    assert cupy.calls[-1] == ("elapsed", first, last)


def test_synchronize_waits_for_the_stream_that_is_given(cupy: FakeCupy, driver: CupyDriver) -> None:
    driver.synchronize(driver.upload)
    assert cupy.calls == [("synchronize", driver.upload)]


def test_a_fault_on_the_card_is_one_line_wherever_it_comes_up(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    function, event = driver.load(SOURCE, "one"), driver.record(driver.compute)
    call = Launch(function, "one", (1, 1, 1), 32, (), ())
    host = np.zeros(3, np.float32)
    graph = driver.capture(lambda: None)
    places = {
        "synchronize": lambda: driver.synchronize(driver.compute),
        "finish": lambda: driver.finish(event),
        "launch": lambda: driver.launch(call),
        "launch graph": graph.launch,
        "memcpyAsync": lambda: driver.copy_in(0x100, host, driver.compute),
        "memsetAsync": lambda: driver.zero(0x100, 4, driver.compute),
        "record": lambda: driver.record(driver.compute),
        "memGetInfo": driver.memory_free,
        "alloc_pinned_memory": lambda: driver.pinned(7),
    }
    for name, work in places.items():
        cupy.fail = {name: BAD_ADDRESS}
        with pytest.raises(DriverError) as error:
            work()
        assert said(error) == f"GPU 0: {BAD_ADDRESS}"


def test_machine_code_that_the_driver_refuses_is_one_line(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    cupy.fail["get_function"] = NO_IMAGE
    with pytest.raises(DriverError) as error:
        driver.load(SOURCE, "one")
    assert said(error) == f"GPU 0: {NO_IMAGE}"


# ---- graphs


def test_work_is_captured_on_the_compute_stream_and_launched_there(
    cupy: FakeCupy, driver: CupyDriver
) -> None:
    function = driver.load(SOURCE, "one")
    cupy.calls.clear()
    call = Launch(function, "one", (1, 1, 1), 32, (), ())
    graph = driver.capture(lambda: driver.launch(call))
    graph.launch()
    names = [(name, stream) for name, stream, *_ in cupy.calls[:3]]
    assert names == [
        ("begin_capture", driver.compute),
        ("launch", driver.compute),
        ("end_capture", driver.compute),
    ]
    ((name, captured, stream),) = cupy.calls[3:]
    assert (name, stream) == ("launch graph", driver.compute)
    assert captured.cupy is cupy
    assert cupy.current == []


@pytest.mark.parametrize("ending_fails", [False, True])
def test_a_capture_ends_even_if_the_work_fails_and_the_works_error_is_what_is_seen(
    cupy: FakeCupy, driver: CupyDriver, *, ending_fails: bool
) -> None:
    if ending_fails:  # as it does where the work broke the capture
        cupy.fail["end_capture"] = CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated")

    def work() -> Any:
        raise ValueError("the work's own")

    with pytest.raises(ValueError, match=r"^the work's own$"):
        driver.capture(work)
    assert not cupy.streams[0].capturing
    assert cupy.current == []
