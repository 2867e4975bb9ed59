"""From a .cu file to a cubin: headers, the compiler's words, and the cache."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cvgg.kernels.cuda import compile as compiling
from cvgg.kernels.cuda.compile import (
    CompileError,
    Source,
    compile_cubin,
    cubin_file,
    nvrtc_version,
    read_source,
)

SMALL = Source("small.cu", 'extern "C" __global__ void small(float* y) { y[0] = 7.0f; }\n')
ARCHITECTURE = "sm_90"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder of its own for temporary files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "cache" / "cvgg" / "cubin"


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that NVRTC has been given so far."""
    files = []

    def count(source: Source, architecture: str) -> compiling.Cubin:
        files.append(source.file)
        return compile_cubin(source, architecture)

    monkeypatch.setattr(compiling, "compile_cubin", count)
    return files


def write(folder: Path, **files: str) -> Path:
    """Files kernel.cu from kernel_cu="..."."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def broken_at(source: Source) -> str:
    """What the compiler says, which must refuse the source."""
    with pytest.raises(CompileError) as error:
        compile_cubin(source, ARCHITECTURE)
    return str(error.value)


# ---- headers


def test_a_header_is_pasted_once_however_often_it_is_included(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "kernels",
        kernel_cu='#include "outer.cuh"\n#include "inner.cuh"\nint last;\n',
        outer_cuh='#include "inner.cuh"\nint outer;\n',
        inner_cuh="int inner;\n",
    )
    text = read_source("kernel.cu", [folder]).text
    assert [text.count(f"int {word};") for word in ("inner", "outer", "last")] == [1, 1, 1]
    assert "#include" not in text
    assert text.index("inner;") < text.index("outer;") < text.index("last;")


def test_the_first_folder_that_has_a_header_gives_it(tmp_path: Path) -> None:
    one = write(tmp_path / "one", kernel_cu='#include "a.cuh"\n#include "b.cuh"\n', b_cuh="int b1;")
    two = write(tmp_path / "two", a_cuh="int a2;", b_cuh="int b2;", kernel_cu="")
    text = read_source("kernel.cu", [one, two]).text
    assert "a2" in text
    assert "b1" in text
    assert "b2" not in text


def test_a_header_that_is_nowhere_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "kernels", kernel_cu='#include "gone.cuh"\n')
    with pytest.raises(CompileError, match=rf"^gone\.cuh: in none of {folder}$"):
        read_source("kernel.cu", [folder])


@pytest.mark.parametrize(
    ("broken", "place"), [("kernel.cu", 8), ("outer.cuh", 4), ("inner.cuh", 2)]
)
def test_the_compiler_names_the_line_of_the_file_that_is_wrong(
    broken: str, place: int, tmp_path: Path
) -> None:
    texts = {
        "kernel.cu": '// 1\n#include "outer.cuh"\n\n#include "inner.cuh"\n\n\n// 7\nint last;\n',
        "outer.cuh": '#include "inner.cuh"\n\n// 3\nint outer;\n',
        "inner.cuh": "// 1\nint inner;\n// 3\n",
    }
    texts[broken] = texts[broken].replace("int ", "strange ")
    folder = write(tmp_path / "kernels", **{n.replace(".", "_"): t for n, t in texts.items()})
    said = broken_at(read_source("kernel.cu", [folder]))
    assert said.startswith(f"kernel.cu for {ARCHITECTURE}: {broken}({place}): error: ")
    assert "strange" in said


# ---- NVRTC


def test_a_cubin_is_machine_code_and_the_log_has_what_ptxas_says() -> None:
    cubin = compile_cubin(SMALL, ARCHITECTURE)
    assert cubin.code.startswith(b"\x7fELF")
    assert b"small" in cubin.code
    assert "Compiling entry function 'small' for 'sm_90'" in cubin.log
    assert "0 bytes spill stores" in cubin.log


def test_an_architecture_that_the_compiler_does_not_know_is_an_error_with_its_words() -> None:
    with pytest.raises(CompileError, match=r"small\.cu for sm_12: .*architecture"):
        compile_cubin(SMALL, "sm_12")


def test_without_nvrtc_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    for call in (nvrtc_version, lambda: cubin_file(SMALL, ARCHITECTURE)):
        with pytest.raises(CompileError) as error:
            call()
        assert str(error.value).startswith("NVRTC cannot be loaded (")
        assert str(error.value).endswith("; install cvgg[cuda13] or cvgg[cuda12]")
        assert "\n" not in str(error.value)


def test_the_version_is_two_numbers() -> None:
    major, minor = nvrtc_version().split(".")
    assert int(major) >= 12
    assert int(minor) >= 0


# ---- the cache


def test_a_cubin_is_made_once_and_found_again(cache: Path, compiles: list[str]) -> None:
    path = cubin_file(SMALL, ARCHITECTURE)
    assert path.parent == cache
    assert path.read_bytes() == compile_cubin(SMALL, ARCHITECTURE).code
    assert cubin_file(SMALL, ARCHITECTURE) == path
    assert compiles == ["small.cu"]
    assert list(cache.iterdir()) == [path]


def test_whatever_changes_the_machine_code_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "kernels", kernel_cu='#include "h.cuh"\nint k;\n', h_cuh="int h;")

    def key(architecture: str = ARCHITECTURE) -> str:
        return compiling._key(read_source("kernel.cu", [folder]), architecture)

    keys = [key(), key("sm_80")]
    write(folder, h_cuh="int g;")
    keys.append(key())
    write(folder, kernel_cu='#include "h.cuh"\nint l;\n')
    keys.append(key())
    monkeypatch.setattr(compiling, "OPTIONS", (*compiling.OPTIONS, "-lineinfo"))
    keys.append(key())
    monkeypatch.setattr(compiling, "nvrtc_version", lambda: "99.9")
    keys.append(key())
    keys.append(compiling._key(replace(read_source("kernel.cu", [folder]), file="other.cu"), "x"))
    assert len(set(keys)) == len(keys)
    assert keys[-2] == key()


def test_a_cubin_appears_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.replace

    def watch(made: Path, path: Path) -> None:
        seen.append((made.parent, made.read_bytes(), path.exists()))
        real(made, path)

    monkeypatch.setattr(os, "replace", watch)
    cubin_file(SMALL, ARCHITECTURE)
    # A rename within one folder is one step, and all was there before it.
    assert seen == [(cache, compile_cubin(SMALL, ARCHITECTURE).code, False)]


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, compiles: list[str]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        path = cubin_file(SMALL, ARCHITECTURE)
        assert path.parent == tmp_path / "temporary"
        assert path.read_bytes().startswith(b"\x7fELF")
    assert len(compiles) == 2
    assert (tmp_path / "cache").is_file()


def test_a_cache_that_becomes_full_leaves_a_cubin_all_the_same(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    path = cubin_file(SMALL, ARCHITECTURE)
    assert path.parent == tmp_path / "temporary"
    assert path.read_bytes().startswith(b"\x7fELF")


def test_a_source_that_does_not_compile_leaves_nothing_in_the_cache(cache: Path) -> None:
    with pytest.raises(CompileError, match=r"^wrong\.cu for sm_90: wrong\.cu\(1\): error: "):
        cubin_file(Source("wrong.cu", "wrong"), ARCHITECTURE)
    assert not cache.exists()


def test_without_xdg_cache_home_the_cache_lies_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert compiling.cache_folder() == tmp_path / "home" / ".cache" / "cvgg" / "cubin"
