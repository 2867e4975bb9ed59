"""From a .cu file to a library of this processor; the key in the cache is the content."""

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

from cvgg.kernels.cuda.compile import Source
from cvgg.kernels.cuda.driver import DriverError
from cvgg.kernels.cuda.launch import Declaration, Parameter, declarations

Mode = Literal["fast", "race"]

FOLDER = Path(__file__).parent
RUNTIME = ("scheduler.cpp", "race.cpp", "tensor.cpp")
HEADERS = ("emulator.h", "runtime.h")
# No contraction: a*b + c is two roundings on every machine, so fma instructions change no result.
COMMON = ("-std=c++20", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE")
MODES = {
    "fast": ("-O2", "-g1"),
    # Every load and store calls __tsan_*, and every index of a shared array is checked: race.cpp
    # has these functions. Vectors stay whole, so that a float4 is one access of 16 bytes.
    "race": ("-O1", "-g1", "-fno-tree-sra", "-fsanitize=thread", "-fsanitize=bounds"),
}
_LINE = re.compile(r'#line (\d+) "([\w.]+)"\s*')
_PLACE = re.compile(r"@(0x[0-9a-f]+)")


class Module:
    """A compiled file and what it declares."""

    def __init__(self, source: Source, mode: Mode) -> None:
        self.file = source.file
        text = with_own_ptx(source)
        self.declared = declarations(text)
        self.runtime = _load(_runtime())
        launchers = "".join(_launcher(each) for each in self.declared.values())
        whole = f'namespace {{\n{text}\n}}\n#line 1 "launchers"\n{launchers}'
        # The compiler's start-up code would have a variable among the shared arrays.
        flags = (*COMMON, *_processor(), *MODES[mode], "-w", "-DEMULATOR_KERNELS", "-nostartfiles")
        include = ("-include", str(FOLDER / "emulator.h"))
        self.path = _built(whole, (*flags, *include), [_runtime()], _texts(HEADERS[:1]))
        self.library = _load(self.path)
        self.image = (ctypes.c_void_p * 3)()  # starts of code and shared arrays, end
        self.library.emulator_image(self.image)

    def places(self, report: str) -> str:
        """A report with addresses in the code turned into file and line."""

        def name(found: re.Match[str]) -> str:
            command = ["addr2line", "-e", str(self.path), found.group(1)]
            line = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            return Path(line.split(" ")[0].strip()).name or "an unknown line"

        return _PLACE.sub(name, report)


def with_own_ptx(source: Source) -> str:
    """The text with the emulator's ptx.cuh in the place of the product's, whose instructions only a
    card understands. Headers that the product's pastes stay."""
    lines: list[str] = []
    inside: list[str] = []
    for line in source.text.splitlines():
        mark = _LINE.fullmatch(line)
        if mark and mark.group(1) == "1":
            inside.append(mark.group(2))
        elif mark:
            left = inside.pop()
            if left == "ptx.cuh":
                lines += ['#line 1 "ptx.cuh"', (FOLDER / "ptx.cuh").read_text(encoding="utf-8")]
        if mark or not inside or inside[-1] != "ptx.cuh":
            lines.append(line)
    return "\n".join(lines)


def _launcher(kernel: Declaration) -> str:
    arguments = ", ".join(f"*({_type(each)}*)a[{i}]" for i, each in enumerate(kernel.parameters))
    call = f"void emulate_{kernel.name}(void** a) {{ {kernel.name}({arguments}); }}"
    return f'extern "C" __attribute__((no_sanitize("thread"))) {call}\n'


def _type(parameter: Parameter) -> str:
    const = "const " if parameter.pointer and not parameter.written else ""
    return f"{const}{parameter.type}{'*' if parameter.pointer else ''}"


@cache
def _runtime() -> Path:
    """Scheduler, race detector and tensor instructions, for both modes."""
    text = "".join(f'#include "{FOLDER / name}"\n' for name in RUNTIME)
    flags = (*COMMON, *_processor(), "-O2", "-Wall")
    return _built(text, flags, [], _texts((*RUNTIME, *HEADERS)))


def _built(text: str, flags: tuple[str, ...], libraries: list[Path], more: str) -> Path:
    """The library of this C++ text; `more` belongs to the key. Raises DriverError."""
    parts = (_compiler(), *flags, *map(str, libraries), more, text)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    # Sanitizers would bring their own libraries; the C library is named instead.
    command = ["g++", "-shared", f"-Wl,-soname,{path.name}", *flags, "-x", "c++", "-"]
    command += ["-x", "none", *map(str, libraries), "-o", unfinished]
    command += ["-nodefaultlibs", "-lstdc++", "-lm", "-lc", "-lgcc"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        Path(unfinished).unlink(missing_ok=True)
        raise DriverError(f"g++ refuses the source: {done.stderr.strip()}")
    os.replace(unfinished, path)  # whole or absent, whoever else compiles the same
    return path


def cache_folder() -> Path:
    """Where libraries are kept: XDG_CACHE_HOME/cvgg/emulator."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cvgg" / "emulator"


def _texts(names: tuple[str, ...]) -> str:
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


@cache
def _load(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


@cache
def _compiler() -> str:
    try:
        command = ["g++", "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise DriverError(f"the emulator needs g++: {error}") from None


@cache
def _processor() -> tuple[str, ...]:
    """Instructions for std::fma where the processor has them; no result depends on them."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return ()
    return ("-mavx2", "-mfma") if {"avx2", "fma"} <= set(flags) else ()
