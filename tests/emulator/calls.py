"""One launch, as the runtime wants it."""

import ctypes
import threading

from cvgg.kernels.cuda.driver import ITEM_BYTES, DriverError, Launch

from .build import Mode

_REPORT_BYTES = 2048
_ONE_AT_A_TIME = threading.Lock()  # the runtime has one processor


class _Array(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("item", ctypes.c_int),
        ("written", ctypes.c_int),
        ("name", ctypes.c_char_p),
    )


class _Call(ctypes.Structure):
    _fields_ = (
        ("body", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("threads", ctypes.c_uint),
        ("seed", ctypes.c_uint64),
        ("order", ctypes.c_int),
        ("late", ctypes.c_int),
        ("race", ctypes.c_int),
        ("arrays", ctypes.c_int),
        ("array", ctypes.c_void_p),
        ("image", ctypes.c_void_p * 3),
        ("dynamic", ctypes.c_uint64),
        ("report", ctypes.c_char_p),
        ("report_bytes", ctypes.c_uint64),
    )


def run(call: Launch, mode: Mode, seed: int, turn: int) -> None:
    """Runs a launch, the `turn`-th of a device with this seed. Raises DriverError with what its
    kernel did wrong."""
    module, declared = call.function.module, call.function.declared
    slots = [each.tobytes() for each in call.arguments]
    pointers = (ctypes.c_char_p * max(1, len(slots)))(*slots)
    arrays = _arrays(call)
    report = ctypes.create_string_buffer(_REPORT_BYTES)
    what = _Call(
        body=ctypes.cast(getattr(module.library, f"emulate_{declared.name}"), ctypes.c_void_p),
        arguments=ctypes.cast(pointers, ctypes.c_void_p),
        grid=call.grid,
        threads=call.threads,
        seed=seed * 1_000_003 + turn,
        order=_order(seed),
        late=seed >> 1 & 1,
        race=mode == "race",
        arrays=len(arrays),
        array=ctypes.cast(arrays, ctypes.c_void_p),
        image=module.image,
        dynamic=call.function.dynamic,
        report=ctypes.cast(report, ctypes.c_char_p),
        report_bytes=_REPORT_BYTES,
    )
    with _ONE_AT_A_TIME:
        failed = module.runtime.emulator_run(ctypes.byref(what))
    if failed:
        text = report.value.decode(errors="replace")
        raise DriverError(f"{call.name}, {module.places(text)}")


def _order(seed: int) -> int:
    """In order, backwards; then at random, and for odd seeds those woken go on first."""
    return seed if seed < 2 else 2 + seed % 2


def _arrays(call: Launch) -> "ctypes.Array[_Array]":
    pointers = [each for each in call.function.declared.parameters if each.pointer]
    known = [
        _Array(a.pointer, a.nbytes, ITEM_BYTES[a.dtype], p.written, p.name.encode())
        for p, a in zip(pointers, call.arrays, strict=True)
        if a is not None
    ]
    return (_Array * len(known))(*known)
