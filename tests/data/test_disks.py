"""Room on the disk and the kind of the disk."""

import logging
from pathlib import Path

import pytest

from cvgg.data import form
from cvgg.data.disks import network_type, warn_of_network
from cvgg.data.form import Form, as_stored, bytes_needed, exactly, short_side
from cvgg.data.imagenet import Item
from cvgg.data.images import Colour

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:44 / /net rw,relatime shared:7 master:3 - nfs4 host:/export rw,vers=4.2
31 30 0:45 / /net/local rw,relatime - xfs /dev/vdb rw
32 22 0:46 / /a\040b rw - cifs //host/share rw,username=x
33 22 0:47 / /home/me/far rw - fuse.sshfs me@host: rw
34 22 0:48 / /twice rw - nfs host:/one rw
35 22 0:49 / /twice rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/net/db", "nfs4"),
        ("/net", "nfs4"),
        ("/network/db", ""),
        ("/net/local/db", ""),
        ("/net/locals", "nfs4"),
        ("/a b/c", "cifs"),
        ("/home/me/far/away", "fuse.sshfs"),
        ("/home/me", ""),
        ("/twice/db", ""),
        ("/", ""),
    ],
)
def test_the_longest_mount_point_says_which_file_system_it_is(path: str, kind: str) -> None:
    assert network_type(MOUNTS, path) == kind


def test_a_root_from_the_network_is_found() -> None:
    assert network_type("22 1 0:20 / / rw - nfs host:/root rw\n", "/data/db") == "nfs"


def test_a_network_disk_is_a_warning_and_no_list_of_mounts_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    log = logging.getLogger("cvgg")
    monkeypatch.setattr(log, "warning", lambda text, *words: lines.append(text % words))
    mounts = tmp_path / "mountinfo"
    warn_of_network(tmp_path / "db", mounts)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    mounts.write_text(
        f"22 1 0:1 / / rw - ext4 x rw\n30 22 0:2 / {tmp_path}/disk rw - nfs4 h:/ rw\n"
    )
    warn_of_network(tmp_path / "db", mounts)
    assert lines == []
    warn_of_network(tmp_path / "link/db", mounts)
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path}/link/db: on a network file system (nfs4), which may")


def items(tmp_path: Path) -> tuple[Item, ...]:
    """A file of 700 bytes, one in an archive, one that is not there, and one to be encoded anew."""
    (tmp_path / "a.jpg").write_bytes(bytes(700))
    (tmp_path / "d.bmp").write_bytes(bytes(9000))
    return (
        Item("a.jpg", 0, str(tmp_path / "a.jpg")),
        Item("b.JPEG", 0, "x.tar", 512, 1100),
        Item("c.png", 0, str(tmp_path / "c.png")),
        Item("d.bmp", 0, str(tmp_path / "d.bmp")),
    )


def test_what_records_need_is_known_where_bytes_are_kept_or_raw(tmp_path: Path) -> None:
    some = items(tmp_path)
    assert bytes_needed(Form(as_stored()), some) == 700 + 1100
    assert bytes_needed(Form(as_stored()), ()) == 0
    assert bytes_needed(Form(exactly(5, 7), encoding="raw"), some) == 4 * 3 * 5 * 7
    grey = Form(exactly(5, 7), colour=Colour.GREY, encoding="raw")
    assert bytes_needed(grey, some) == 4 * 5 * 7
    for unknown in (
        Form(as_stored(), encoding="raw"),
        Form(as_stored(), colour=Colour.GREY),
        Form(as_stored(), encoding="png"),
        Form(short_side(5)),
        Form(exactly(5, 7)),
    ):
        assert bytes_needed(unknown, some) is None


def test_of_many_files_only_some_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "_SAMPLE", 3)
    some = items(tmp_path)[:2]
    many = some * 6 + some[:1]  # every fourth is looked at: 4 of 13, all of them the first
    assert bytes_needed(Form(as_stored()), many) == 700 * 13
