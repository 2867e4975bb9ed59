"""Files that appear whole, and reading that does not block."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvgg.data.files import read_regular, write_whole
from cvgg.errors import CannotCreateError, DataError, InputOutputError, MissingInputError


def test_write_whole_joins_the_parts_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "model", [b"ab", memoryview(b"cde"), bytearray(b"f")])
    assert (tmp_path / "model").read_bytes() == b"abcdef"
    assert os.listdir(tmp_path) == ["model"]


def test_write_whole_gives_the_file_the_rights_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_whole(tmp_path / "model", [b"a"])
    finally:
        os.umask(old)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o640


def test_write_whole_keeps_the_old_file_if_a_part_fails(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"old")

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "model", parts())
    assert (tmp_path / "model").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]


def test_write_whole_syncs_the_file_before_it_gets_its_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def note_replace(source: str, target: str) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_whole(tmp_path / "model", [b"a"])
    assert calls == ["file", "rename", "folder"]


def test_write_whole_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "model")
    write_whole(tmp_path / "link", [b"a"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "model").read_bytes() == b"a"


def test_write_whole_does_not_replace_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotCreateError, match="not a regular file"):
        write_whole(tmp_path / "pipe", [b"a"])


def test_write_whole_says_that_the_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match=r"none/model: cannot be made: No such file"):
        write_whole(tmp_path / "none" / "model", [b"a"])


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, CannotCreateError), (errno.EIO, InputOutputError)]
)
def test_write_whole_tells_no_room_from_a_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match="model: writing failed"):
        write_whole(tmp_path / "model", [b"a"])
    assert os.listdir(tmp_path) == []


def test_read_regular_gives_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0x")
    assert read_regular(tmp_path / "a") == b"\0x"


def test_read_regular_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: not a regular file"):
        read_regular(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["none", "nul\0"])
def test_read_regular_names_what_is_missing_and_where_it_was_asked_for(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(MissingInputError, match=f"list:3: .*{name}: (no such|cannot)"):
        read_regular(f"{tmp_path}/{name}", where="list:3")


def test_a_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a regular file"):
        read_regular(tmp_path)
