"""From a .cu file to a cubin: headers pasted in, NVRTC, and a cache that the content is the key of.

NVRTC needs no driver and no card, so a laptop and CI compile for every architecture."""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UnavailableError

FOLDER = Path(__file__).parent
OPTIONS = ("-std=c++17", "-lineinfo", "--ptxas-options=-v", "-default-device")
_INCLUDE = re.compile(r'^#include "([\w.]+)"[ \t]*$', re.MULTILINE)


class CompileError(UnavailableError):
    """NVRTC is not there, or refuses a source."""


@dataclass(frozen=True)
class Source:
    """A .cu file in one piece: `text` includes nothing more."""

    file: str
    text: str


@dataclass(frozen=True)
class Cubin:
    """Machine code for one architecture, and what the compiler said of it."""

    code: bytes
    log: str


def read_source(file: str, folders: Sequence[Path] = (FOLDER,)) -> Source:
    """`file` with every `#include "..."` replaced by the text of the first folder that has it, each
    header once; #line keeps the compilers' places right."""
    pasted: set[str] = set()

    def paste(name: str) -> str:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise CompileError(f"{name}: in none of {', '.join(map(str, folders))}")
        text = path.read_text(encoding="utf-8")

        def include(found: re.Match[str]) -> str:
            header = found.group(1)
            after = text.count("\n", 0, found.start()) + 2
            if header in pasted:
                return ""
            pasted.add(header)
            return f'{paste(header)}\n#line {after} "{name}"'

        return f'#line 1 "{name}"\n{_INCLUDE.sub(include, text)}'

    return Source(file, paste(file))


def compile_cubin(source: Source, architecture: str) -> Cubin:
    """Machine code for `architecture`, "sm_90". Raises CompileError with the compiler's words."""
    nvrtc = _nvrtc()
    options = [f"-arch={architecture}", *OPTIONS]
    program = _checked(
        nvrtc.nvrtcCreateProgram(source.text.encode(), source.file.encode(), 0, [], [])
    )
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
        log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        said = log.rstrip(b"\0").decode(errors="replace").strip()
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CompileError(f"{source.file} for {architecture}: {said}")
        code = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc.nvrtcGetCUBIN(program, code))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return Cubin(bytes(code), said)


def cubin_file(source: Source, architecture: str) -> Path:
    """A file with the machine code: from the cache if it is there, kept there otherwise. Where the
    cache cannot be written, a temporary file."""
    path = cache_folder() / f"{_key(source, architecture)}.cubin"
    if path.is_file():
        return path
    code = compile_cubin(source, architecture).code
    made: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = _write(code, path.parent)
        os.replace(made, path)  # whole or absent, whoever else compiles the same
    except OSError:
        if made is not None:
            made.unlink(missing_ok=True)
        return _write(code, None)
    return path


def _write(code: bytes, folder: Path | None) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".cubin", delete=False) as file:
        file.write(code)
    return Path(file.name)


def cache_folder() -> Path:
    """Where cubins are kept: XDG_CACHE_HOME/cvgg/cubin."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cvgg" / "cubin"


def nvrtc_version() -> str:
    """ "13.0". Raises CompileError if NVRTC is not there."""
    major, minor = _checked(_nvrtc().nvrtcVersion(), 2)
    return f"{major}.{minor}"


def _key(source: Source, architecture: str) -> str:
    parts = (nvrtc_version(), architecture, *OPTIONS, source.file, source.text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise CompileError(
            f"NVRTC cannot be loaded ({error}); install cvgg[cuda13] or cvgg[cuda12]"
        ) from None
    return nvrtc


def _checked(answer: tuple[Any, ...], values: int = 1) -> Any:
    """The values of an answer of cuda.bindings, whose first element is the status."""
    status, *rest = answer
    if status.value:
        raise CompileError(f"NVRTC: {status.name}")
    return rest[0] if values == 1 and rest else tuple(rest)
