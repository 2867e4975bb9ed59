"""What Python users see of a net's blobs: numpy arrays, wherever the memory is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvgg.blob import Blob
from cvgg.engine.base import Engine
from cvgg.errors import UsageError
from cvgg.kernels.interface import Array

Host = NDArray[Any]


class Kept(Mapping[str, "Seen"]):
    """The blobs of a net by name; one whose memory is used again is an error that says so."""

    def __init__(self, blobs: Mapping[str, "Seen"], kept: Mapping[str, bool]) -> None:
        self._blobs, self._kept = blobs, kept

    def __getitem__(self, name: str) -> "Seen":
        if name in self._kept and not self._kept[name]:
            raise UsageError(
                f"blob {name!r} is not kept: this net uses its memory again during a pass; "
                "a net of your own, cvgg.Net(model), keeps every blob"
            )
        return self._blobs[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._blobs if self._kept[name])

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass
class _Copy:
    """An array of the device on the host, and what it held when both were equal."""

    array: Array
    host: Host
    known: Host
    current: bool  # no pass has run since

    def fetch(self, engine: Engine) -> None:
        if not self.current and not self.changed:
            np.copyto(self.host, engine.copy_out(self.array))
            np.copyto(self.known, self.host)
            self.current = True

    @property
    def changed(self) -> bool:
        """Whether the user wrote into it; by bytes, since no NaN equals another."""
        host, known = (each.reshape(-1).view(np.uint8) for each in (self.host, self.known))
        return not np.array_equal(host, known)

    def write_back(self, engine: Engine) -> None:
        if self.changed:
            engine.copy_in(self.array, self.host)
            np.copyto(self.known, self.host)
        self.current = False


class HostBlob:
    """A blob of a device. `data` and `diff` are copies on the host: fetched where they are asked
    for after a pass, written back before the next one if they were changed."""

    def __init__(self, there: Blob, mirror: "Mirror") -> None:
        self.name, self.shape = there.name, there.shape
        self._there, self._mirror = there, mirror

    @property
    def data(self) -> Host:
        return self._mirror.fetch(self._there.data)

    @property
    def diff(self) -> Host | None:
        there = self._there.diff
        return None if there is None else self._mirror.fetch(there)


Seen: TypeAlias = Blob | HostBlob


class Mirror:
    """The host's copies of one net's arrays."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._copies: dict[tuple[int, tuple[int, ...]], _Copy] = {}

    def of(self, blob: Blob) -> Seen:
        """The blob as users see it."""
        return blob if self._engine.on_host else HostBlob(blob, self)

    def of_all(self, blobs: Mapping[str, Sequence[Blob]]) -> dict[str, list[Seen]]:
        return {name: [self.of(blob) for blob in each] for name, each in blobs.items()}

    def fetch(self, array: Array) -> Host:
        """The values on the host; the same array each time."""
        key = array.pointer, array.shape
        if key not in self._copies:
            host = np.empty(array.shape, array.dtype)
            self._copies[key] = _Copy(array, host, host.copy(), current=False)
        copy = self._copies[key]
        copy.fetch(self._engine)
        return copy.host

    def write_back(self) -> None:
        """Before a pass: what users changed goes to the device."""
        for copy in self._copies.values():
            copy.write_back(self._engine)

    def forget(self) -> None:
        """The arrays are others now."""
        self._copies.clear()
