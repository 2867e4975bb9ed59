"""The launcher: every argument is checked and converted by the kernel's own declaration."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cvgg.kernels.cuda import launch
from cvgg.kernels.cuda.compile import Source
from cvgg.kernels.cuda.driver import DeviceArray, Launch, Properties
from cvgg.kernels.cuda.launch import Launcher, Parameter, declarations
from cvgg.kernels.cuda.table import Kernel

TEXT = """
// extern "C" __global__ void __launch_bounds__(64) commented_out(float* y) {}
extern "C" __global__ void __launch_bounds__(128, 2)
    every_kind(const float* x, OPTIONAL const int* at,  // at: may be null
               OPTIONAL float* y, unsigned char* bytes, long long* big,
               float factor, int count, unsigned word, long long size) {}
extern "C" __global__ void __launch_bounds__(32) nothing(int n) {}
"""
SOURCE = Source("kinds.cu", TEXT)
NAME = "every_kind"


class Recorder:
    """A driver that keeps what it is asked for."""

    def __init__(self) -> None:
        self.properties = Properties("recorder", "sm_90", 3, 1 << 30)
        self.device = 2
        self.compute = self.upload = None
        self.loaded: list[tuple[Source, str]] = []
        self.calls: list[Launch] = []
        self.allocated: list[int] = []

    def load(self, source: Source, name: str) -> str:
        self.loaded.append((source, name))
        return f"function {name}"

    def launch(self, call: Launch) -> None:
        self.calls.append(call)

    def allocate(self, nbytes: int) -> tuple[int, Any]:
        self.allocated.append(nbytes)
        return 0x1000, "owner"


@pytest.fixture
def driver() -> Recorder:
    return Recorder()


@pytest.fixture
def launcher(driver: Recorder, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """A launcher that knows the kernels of TEXT."""
    monkeypatch.setattr(
        launch, "KERNELS", {NAME: Kernel(NAME, "kinds.cu", registers=8, shared=0, threads=128)}
    )
    monkeypatch.setattr(launch, "read_source", lambda file: {"kinds.cu": SOURCE}[file])
    given: Any = driver
    return Launcher(given)


def array(dtype: str, pointer: int = 0x100, device: int = 2) -> DeviceArray:
    return DeviceArray(pointer, (3,), dtype, device=device)


def arguments(**changes: Any) -> list[Any]:
    """Right arguments of every_kind, in order, but for the changes."""
    right: dict[str, Any] = {
        "x": array("float32", 0x100),
        "at": array("int32", 0x200),
        "y": array("float32", 0x300),
        "bytes": array("uint8", 0x400),
        "big": array("int64", 0x500),
        "factor": 0.1,
        "count": -7,
        "word": 2**32 - 1,
        "size": 2**40,
    }
    assert changes.keys() <= right.keys()
    return list({**right, **changes}.values())


# ---- declarations


def test_a_declaration_is_read_as_it_stands_in_the_file() -> None:
    found = declarations(TEXT)
    assert list(found) == [NAME, "nothing"]
    assert [each.threads for each in found.values()] == [128, 32]
    assert found[NAME].parameters == (
        Parameter("x", "float", pointer=True, written=False, optional=False),
        Parameter("at", "int", pointer=True, written=False, optional=True),
        Parameter("y", "float", pointer=True, written=True, optional=True),
        Parameter("bytes", "unsigned char", pointer=True, written=True, optional=False),
        Parameter("big", "long long", pointer=True, written=True, optional=False),
        Parameter("factor", "float", pointer=False, written=False, optional=False),
        Parameter("count", "int", pointer=False, written=False, optional=False),
        Parameter("word", "unsigned", pointer=False, written=False, optional=False),
        Parameter("size", "long long", pointer=False, written=False, optional=False),
    )


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("double x", "k: x is of the unknown type 'double'"),
        ("unsigned* x", "k: x is of the unknown type 'unsigned'"),
        ("unsigned char x", "k: x is of the unknown type 'unsigned char'"),
        ("float** x", "k: the parameter 'float** x' is not of a known form"),
        ("float x[2]", "k: the parameter 'float x[2]' is not of a known form"),
        ("const Pair& x", "k: the parameter 'const Pair& x' is not of a known form"),
    ],
)
def test_a_parameter_of_another_form_is_refused(parameter: str, message: str) -> None:
    text = f'extern "C" __global__ void __launch_bounds__(256) k({parameter}) {{}}'
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        declarations(text)


# ---- what is launched


def test_arguments_arrive_in_the_types_that_the_kernel_declares(
    driver: Recorder, launcher: Launcher
) -> None:
    given = arguments()
    launcher.launch(NAME, (5, 3), *given)
    (call,) = driver.calls
    assert (call.function, call.name) == (f"function {NAME}", NAME)
    assert (call.grid, call.threads) == ((5, 3, 1), 128)
    assert [type(each) for each in call.arguments] == [
        *[np.uint64] * 5,
        np.float32,
        np.int32,
        np.uint32,
        np.int64,
    ]
    assert call.arguments == (
        *(0x100, 0x200, 0x300, 0x400, 0x500),
        np.float32(0.1),
        *(-7, 2**32 - 1, 2**40),
    )
    assert call.arrays == tuple(given[:5])


def test_an_optional_array_that_is_not_there_is_a_null_pointer(
    driver: Recorder, launcher: Launcher
) -> None:
    launcher.launch(NAME, 1, *arguments(at=None, y=None))
    (call,) = driver.calls
    assert call.arguments[1:3] == (0, 0)
    assert [type(each) for each in call.arguments[1:3]] == [np.uint64, np.uint64]
    assert call.arrays[1:3] == (None, None)


def test_numbers_of_every_kind_are_taken_if_they_fit(driver: Recorder, launcher: Launcher) -> None:
    whole: list[Any] = [True, 3.0, np.int64(-(2**31)), np.uint8(255), np.float64(2**31 - 1)]
    for count in whole:
        launcher.launch(NAME, 1, *arguments(count=count, factor=np.float64(1e30)))
        call = driver.calls[-1]
        assert call.arguments[6] == count
        assert type(call.arguments[6]) is np.int32
        assert call.arguments[5] == np.float32(1e30)


def test_a_kernel_is_loaded_at_its_first_launch_only(driver: Recorder, launcher: Launcher) -> None:
    for _ in range(2):
        launcher.launch(NAME, 1, *arguments())
    assert driver.loaded == [(SOURCE, NAME)]
    assert len(driver.calls) == 2


# ---- what is refused


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another dtype": ({"x": array("int32")}, "x must be float32, is int32"),
    "bytes": ({"bytes": array("float32")}, "bytes must be uint8, is float32"),
    "another dtype where null is allowed": (
        {"at": array("float32")},
        "at must be int32, is float32",
    ),
    "a host's array": (
        {"x": np.zeros(3, np.float32)},
        "x must be an array on a device, is ndarray",
    ),
    "a number for an array": ({"big": 7}, "big must be an array on a device, is int"),
    "nothing": ({"x": None}, "x must be an array on a device, is NoneType"),
    "another device": (
        {"y": array("float32", device=1)},
        "y lies on device 1, the kernel runs on 2",
    ),
    "an array for a number": (
        {"count": array("int32")},
        "count must be a number, is DeviceArray",
    ),
    "no number": ({"factor": None}, "factor must be a number, is NoneType"),
    "too large": (
        {"count": 2**31},
        "count must be a whole number that fits int, is 2147483648",
    ),
    "too small": (
        {"count": -(2**31) - 1},
        "count must be a whole number that fits int, is -2147483649",
    ),
    "below zero": ({"word": -1}, "word must be a whole number that fits unsigned, is -1"),
    "too large for 64 bits": (
        {"size": 2**63},
        "size must be a whole number that fits long long, is 9223372036854775808",
    ),
    "a fraction": ({"size": 2.5}, "size must be a whole number that fits long long, is 2.5"),
    "not a number": ({"count": float("nan")}, "count must be a whole number that fits int, is nan"),
    "infinity": ({"word": float("inf")}, "word must be a whole number that fits unsigned, is inf"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_argument_is_refused_with_the_rule(
    changes: dict[str, Any], message: str, driver: Recorder, launcher: Launcher
) -> None:
    with pytest.raises(ValueError, match=f"^{NAME}: {re.escape(message)}$"):
        launcher.launch(NAME, 1, *arguments(**changes))
    assert driver.calls == []


@pytest.mark.parametrize("change", [lambda given: given[:-1], lambda given: [*given, 1]])
def test_a_wrong_count_of_arguments_is_refused(
    change: Callable[[list[Any]], list[Any]], driver: Recorder, launcher: Launcher
) -> None:
    given = change(arguments())
    with pytest.raises(ValueError, match=f"^{NAME} takes 9 arguments, not {len(given)}$"):
        launcher.launch(NAME, 1, *given)
    assert driver.calls == []


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        (0, "0 x 1 x 1"),
        (2**31, "2147483648 x 1 x 1"),
        ((1, 65536), "1 x 65536 x 1"),
        ((1, 1, 65536), "1 x 1 x 65536"),
        ((1, 0, 1), "1 x 0 x 1"),
        ((-3, 1), "-3 x 1 x 1"),
    ],
)
def test_a_grid_that_no_card_has_is_refused(
    blocks: int | tuple[int, ...], shown: str, driver: Recorder, launcher: Launcher
) -> None:
    with pytest.raises(ValueError, match=f"^{NAME}: a grid of {shown} blocks cannot be launched$"):
        launcher.launch(NAME, blocks, *arguments())
    assert driver.calls == []


def test_the_largest_grid_is_launched(driver: Recorder, launcher: Launcher) -> None:
    launcher.launch(NAME, (2**31 - 1, 65535, 65535), *arguments())
    assert driver.calls[0].grid == (2**31 - 1, 65535, 65535)


# ---- beside launching


def test_pieces_of_the_scratch_share_one_allocation_and_end_where_it_ends(
    driver: Recorder, launcher: Launcher
) -> None:
    piece = launcher.piece(256, (3, 5), "int64")
    assert (piece.pointer, piece.shape, piece.dtype) == (0x1100, (3, 5), "int64")
    assert (piece.device, piece.owner) == (2, "owner")
    last = launcher.piece(launch.SCRATCH - 4, (1,))
    assert last.pointer == 0x1000 + launch.SCRATCH - 4
    assert driver.allocated == [launch.SCRATCH]
    with pytest.raises(ValueError, match=r"^bytes 1048573 to 1048577 of an array of 1048576$"):
        launcher.piece(launch.SCRATCH - 3, (1,))


@pytest.mark.parametrize(("size", "blocks"), [(0, 1), (1, 1), (256, 1), (257, 2), (10**9, 96)])
def test_blocks_share_the_elements_and_fill_the_card_at_most(
    size: int, blocks: int, launcher: Launcher
) -> None:
    assert launcher.blocks(size) == blocks


def test_channels_that_lie_first_are_refused_where_they_must_lie_last(launcher: Launcher) -> None:
    first = replace(array("float32"), shape=(2, 3, 5, 4))
    launcher.last("f", x=replace(first, layout="NHWC"), one_cell=array("float32"))
    with pytest.raises(ValueError, match=r"^f: dx must be NHWC, is NCHW$"):
        launcher.last("f", x=replace(first, layout="NHWC"), dx=first)
