"""cvgg env: versions and hardware, for bug reports."""

import argparse
import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from cvgg.commands.table import table

PACKAGES = ("numpy", "protobuf", "lmdb", "pillow", "simplejpeg", "threadpoolctl", "matplotlib")
FLAGS = ("avx", "fma", "avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that matter to kernels


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg env`."""
    parser = commands.add_parser(
        "env",
        help="versions and hardware, for bug reports",
        description="Prints versions and hardware. Nothing is sent anywhere.",
        epilog="example: cvgg env --json",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints what is there; a value of null (JSON) or "-" is not there or not known."""
    facts = {
        **_versions(),
        "blas": _blas(),
        "kernels_compiler": _compiler(),
        "cpu": _cpu(),
        "cupy": _cupy(),
        "nvrtc": _nvrtc(),
        "gpus": _gpus(),
        "driver": _driver(),
        **_machine(),
    }
    if args.json:
        print(json.dumps(facts))
    else:
        rows = [(name.replace("_", " "), _text(name, value)) for name, value in facts.items()]
        print(table(rows, left=2))
    return 0


def _text(name: str, value: Any) -> str:
    if name.startswith("memory"):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _versions() -> dict[str, Any]:
    from cvgg import __version__

    python = f"{platform.python_implementation()} {platform.python_version()}"
    found: dict[str, Any] = {
        "cvgg": __version__,
        "python": python,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()).strip() or None,
    }
    for name in PACKAGES:
        found[name] = _version(name)
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> list[str]:
    """The BLAS and OpenMP libraries that numpy and our kernels have loaded."""
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    import cvgg.kernels.cpu  # noqa: F401

    return [
        f"{each['internal_api']} {each['version'] or ''}".strip()
        + f" ({each['num_threads']} threads{_of(each.get('architecture'))})"
        for each in threadpool_info()
    ]


def _of(architecture: str | None) -> str:
    return f", {architecture}" if architecture else ""


def _compiler() -> str | None:
    """What the C++ module of the CPU kernels says it was compiled by, in its .comment section."""
    from cvgg.kernels.cpu import _native

    path = _native.__file__
    if path is None:
        return None
    found = re.search(rb"GCC: \([^)\0]*\) [\d.]+|clang version [\w.+-]+", Path(path).read_bytes())
    return found[0].decode("ascii", "replace") if found else None


def _cpu() -> str | None:
    """ "MODEL: 8 cores, avx2 fma"."""
    text = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = set(_first(r"^flags\s*: (.+)$", text).split())
    cores = {
        (_first(r"^physical id\s*: (\d+)$", part), _first(r"^core id\s*: (\d+)$", part))
        for part in text.split("\n\n")
        if "core id" in part
    }
    words = [f"{len(cores)} cores"] if cores else []
    words += [flag for flag in FLAGS if flag in flags]
    name = model[1] if model else platform.processor()
    return ", ".join([name, *words]) or None


def _machine() -> dict[str, Any]:
    """Threads that this process may use, bytes of memory."""
    from cvgg.engine import open_engine

    engine = open_engine("cpu")
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "logical_cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "threads": engine.threads,
        "memory": pages * page,
        "memory_free": engine.memory_free(),
    }


def _cupy() -> str | None:
    """CuPy's version; it is looked up, not imported, which would start the driver."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:
        return None
    names = metadata.packages_distributions().get("cupy", [])
    return ", ".join(f"{name} {_version(name)}" for name in names) or "version not known"


def _nvrtc() -> str | None:
    """The version of the compiler of the CUDA kernels; it needs no driver."""
    from cvgg.kernels.cuda.compile import CompileError, nvrtc_version

    try:
        return nvrtc_version()
    except CompileError:
        return None


def _driver() -> str | None:
    """The version of NVIDIA's kernel module."""
    return _first(r"Kernel Module.*?\s(\d[\d.]+)\s", _read("/proc/driver/nvidia/version")) or None


def _gpus() -> list[str]:
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [_first(r"^Model:\s*(.+)$", _read(file)) or "unknown" for file in files]


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else ""


def _read(path: str | Path) -> str:
    """The text of a file of /proc; "" if the system has none."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
