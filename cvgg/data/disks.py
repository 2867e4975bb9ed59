"""The disk that a database is to lie on: has it room, and can LMDB be trusted there?"""

import logging
import os
import re
import shutil
from pathlib import Path

from cvgg.errors import CannotCreateError

_log = logging.getLogger("cvgg")

_MOUNTS = Path("/proc/self/mountinfo")  # Linux only
_NETWORK = frozenset(
    f"{prefix}{name}"
    for prefix, names in (
        ("", ("9p", "afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "nfs", "nfs4", "smb3")),
        ("fuse.", ("ceph", "gcsfuse", "glusterfs", "rclone", "s3fs", "sshfs")),
    )
    for name in names
)


def network_type(mounts: str, path: str) -> str:
    """The type of the network file system that `path` lies on, as "nfs4"; "" if it is none.

    mounts: the text of /proc/self/mountinfo: "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS ... - TYPE
    SOURCE ...", blanks in names as \\040. path: absolute, without links. Source: man 5 proc.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, types = left.split(" "), right.split(" ")
        if len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # equal: the later one covers the earlier
            longest, kind = len(point), types[0]
    return kind if kind in _NETWORK else ""


def warn_of_network(target: Path, mounts: Path = _MOUNTS) -> None:
    """A warning if `target` is to lie on a network file system."""
    try:
        text = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return
    kind = network_type(text, os.path.realpath(target.parent))
    if kind:
        _log.warning(
            "%s: on a network file system (%s), which may damage an LMDB as it is written: write "
            "it to a local disk and copy it when it is whole",
            *(target, kind),
        )


def check_room(target: Path, need: int) -> None:
    """CannotCreateError if the disk of `target` has less than `need` bytes free."""
    try:
        free = shutil.disk_usage(target.parent).free
    except OSError:  # no such folder: told where it is to be written to
        return
    if need > free:
        raise CannotCreateError(
            f"{target}: needs about {_mebibytes(need)} MiB, {free >> 20} MiB are free in "
            f"{target.parent}: make room or choose another disk"
        )


def _mebibytes(size: int) -> int:
    return -(-size // 2**20)
