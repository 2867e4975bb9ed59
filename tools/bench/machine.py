"""What the report says of the machine and of the versions."""

import os
import platform
import re
from pathlib import Path

import numpy as np
import PIL

import cvgg
from cvgg.kernels.cpu import _native

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def machine() -> dict[str, str]:
    """Line by line, in the report's words."""
    info = Path("/proc/cpuinfo").read_text()
    memory = re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text())
    return {
        "CPU": _field(info, "model name") or platform.machine(),
        "family, model, stepping": ", ".join(
            _field(info, key) or "?" for key in ("cpu family", "model", "stepping")
        ),
        "cores this process may use": str(len(os.sched_getaffinity(0))),
        "instructions": ", ".join(
            each for each in ("avx2", "fma", "avx512f") if each in _field(info, "flags").split()
        ),
        "caches": "; ".join(_caches()) or "not told",
        "memory": f"{int(memory[1]) / 1024**2:.1f} GiB" if memory else "not told",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before (1 minute)": f"{os.getloadavg()[0]:.2f}",
    }


def versions() -> dict[str, str]:
    return {
        "cvgg": cvgg.__version__,
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "Pillow": PIL.__version__,
        "compiler of cvgg's kernels": _compiler(),
        "C library": " ".join(platform.libc_ver()),
    }


def _field(info: str, key: str) -> str:
    """Of the first processor in /proc/cpuinfo."""
    found = re.search(rf"^{key}\s*: (.*)$", info, re.M)
    return found[1] if found else ""


def _caches() -> list[str]:
    """Size of each, and how many processors share it."""
    said = []
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = ((index / key).read_text().strip() for key in ("level", "type", "size"))
        letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
        shared = (index / "shared_cpu_list").read_text().strip()
        said.append(f"L{level}{letter} {size} (processors {shared})")
    return said


def _compiler() -> str:
    """Compilers leave their name in what they make."""
    found = re.search(rb"(GCC: \([^)]*\) [\d.]+|clang version [\d.]+)", _module())
    return found[1].decode() if found else "not told"


def _module() -> bytes:
    assert _native.__file__
    return Path(_native.__file__).read_bytes()
