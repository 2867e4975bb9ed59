"""MATLAB files of version 5, as far as ImageNet's meta.mat needs: numbers, text, cells and structs.

A file is a 128-byte header and elements: a tag (type, length) and a body, padded to 8 bytes. A body
of type 15 is another element, compressed by zlib. Every length is checked against what is there.
Source: MathWorks, "MAT-File Format", chapter 1 (level 5).
"""

import math
import struct
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvgg.errors import DataError

Value = str | NDArray[np.float64] | list["Value"] | list[dict[str, "Value"]]
"""Text, numbers in MATLAB's (column) order, a cell's values, or a struct array's entries."""

_HEADER = 128  # bytes
_LARGEST = 256 * 2**20  # bytes: more than this in one variable is not a meta.mat
_DEEPEST = 16  # structs and cells inside each other
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _TEXT = 1, 2, 4
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800  # bit of the array flags


def read_mat(path: str | PathLike[str]) -> dict[str, Value]:
    """The variables of a file; DataError names the file if it is of another kind or damaged."""
    return parse_mat(Path(path).read_bytes(), str(path))


def parse_mat(data: bytes, name: str) -> dict[str, Value]:
    """The variables in the bytes of a file; `name` is what an error calls it."""
    if data.startswith((b"\x89HDF", b"MATLAB 7.3")):
        raise DataError(f"{name}: MATLAB 7.3 (HDF5) file: save it as version 5 (save -v7)")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if len(data) < _HEADER or order is None:
        raise DataError(f"{name}: not a MATLAB version 5 file ({len(data)} bytes)")
    reader = _Reader(order, name)
    return dict(reader.variable(*element) for element in reader.elements(data[_HEADER:]))


class _Reader:
    """Reads elements of one byte order."""

    def __init__(self, order: str, name: str) -> None:
        self._order = order
        self._name = name

    def elements(self, data: bytes) -> list[tuple[int, bytes]]:
        """(type, body) of each element; compressed ones opened."""
        found, place = [], 0
        while place < len(data):
            kind, body, place = self._element(data, place)
            if kind == _COMPRESSED:
                kind, body, _ = self._element(self._inflate(body), 0)
            found.append((kind, body))
        return found

    def variable(self, kind: int, body: bytes, depth: int = 0) -> tuple[str, Value]:
        """Name and value of a matrix element."""
        if kind != _MATRIX:
            raise self._error(f"element of type {kind} where a matrix (14) must stand")
        if depth > _DEEPEST:
            raise self._error(f"structs and cells more than {_DEEPEST} deep")
        if not body:
            return "", np.zeros(0)
        parts = self.elements(body)
        if len(parts) < 3:
            raise self._error(f"a matrix of {len(parts)} parts needs flags, dimensions and name")
        flags, dims = self._numbers(parts[0]), self._numbers(parts[1])
        if flags.size < 1 or dims.size < 2 or (dims < 0).any():
            raise self._error(f"bad array flags or dimensions {dims.tolist()}")
        size = math.prod(int(d) for d in dims)
        name = parts[2][1].rstrip(b"\0").decode("latin-1")
        return name, self._content(int(flags[0]), size, parts[3:], depth)

    def _content(
        self, flags: int, size: int, parts: Sequence[tuple[int, bytes]], depth: int
    ) -> Value:
        kind = flags & 0xFF
        if kind == _STRUCT:
            return self._struct(size, parts, depth)
        if kind == _CELL:
            self._check_count("a cell array", len(parts), size)
            return [self.variable(*part, depth + 1)[1] for part in parts]
        if kind not in _NUMERIC and kind != _TEXT:
            raise self._error(f"array of class {kind}: only numbers, text, cells and structs")
        if flags & _COMPLEX:
            raise self._error("complex numbers")
        self._check_count("an array", len(parts), 1)
        if kind == _TEXT:
            return self._text(parts[0])
        numbers = self._numbers(parts[0])
        self._check_count("an array", numbers.size, size)
        return numbers

    def _struct(
        self, size: int, parts: Sequence[tuple[int, bytes]], depth: int
    ) -> list[dict[str, Value]]:
        """The entries of a struct array: after the field names come the fields of each entry."""
        if len(parts) < 2:
            raise self._error("a struct without field names")
        width = int(self._numbers(parts[0])[0]) if parts[0][1] else 0
        text = parts[1][1]
        if width < 1 or len(text) % width:
            raise self._error(f"field names of {len(text)} bytes in steps of {width}")
        names = [
            text[i : i + width].split(b"\0")[0].decode("latin-1")
            for i in range(0, len(text), width)
        ]
        values = parts[2:]
        self._check_count("a struct array", len(values), size * len(names))
        if not names:
            return []
        return [
            {
                key: self.variable(*part, depth + 1)[1]
                for key, part in zip(names, values[i : i + len(names)], strict=True)
            }
            for i in range(0, len(values), len(names))
        ]

    def _text(self, part: tuple[int, bytes]) -> str:
        kind, body = part
        encoding = _ENCODINGS.get(kind)
        if encoding is None:
            raise self._error(f"text stored as type {kind}")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self._order == "<" else "-be"
        try:
            return body.decode(encoding)
        except UnicodeDecodeError as error:
            raise self._error(f"text that is not {encoding}: {error.reason}") from error

    def _numbers(self, part: tuple[int, bytes]) -> NDArray[np.float64]:
        """float64 whatever they are stored as: MATLAB writes small whole numbers as bytes."""
        kind, body = part
        if kind not in _NUMBERS:
            raise self._error(f"numbers stored as type {kind}")
        dtype = np.dtype(self._order + _NUMBERS[kind])
        if len(body) % dtype.itemsize:
            raise self._error(f"{len(body)} bytes of numbers of {dtype.itemsize} bytes")
        return np.frombuffer(body, dtype).astype(np.float64)

    def _element(self, data: bytes, place: int) -> tuple[int, bytes, int]:
        """Type, body and the place behind the element at `place`."""
        if len(data) - place < 8:
            raise self._error(f"a tag needs 8 bytes, {len(data) - place} are left: cut off?")
        kind, length = struct.unpack_from(self._order + "II", data, place)
        if kind >> 16:  # the short form: length in the upper half, up to 4 bytes in the tag itself
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise self._error(f"a short element of {length} bytes (at most 4)")
            return kind, data[place + 4 : place + 4 + length], place + 8
        start = place + 8
        if length > len(data) - start:
            raise self._error(f"an element of {length} bytes, {len(data) - start} are left")
        padded = length if kind == _COMPRESSED else (length + 7) // 8 * 8
        return kind, data[start : start + length], start + padded

    def _inflate(self, body: bytes) -> bytes:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(body, _LARGEST)
        except zlib.error as error:
            raise self._error(f"compressed data: {error}") from error
        if unpacker.unconsumed_tail:
            raise self._error(f"a variable of more than {_LARGEST >> 20} MiB")
        if not unpacker.eof:
            raise self._error("compressed data end early")
        return data

    def _check_count(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise self._error(f"{what} with {found} values, its size says {wanted}")

    def _error(self, rule: str) -> DataError:
        return DataError(f"{self._name}: damaged MATLAB file: {rule}")
