"""Protobuf's wire format: walks the fields of a message in place, and writes tags and lengths.

Every length is checked against its message before anything is sliced or allocated.
Source: protobuf.dev/programming-guides/encoding."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DataError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a field's content is stored
WIDTHS = {FIXED64: 8, FIXED32: 4}  # bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `end` of a file: a message, or the content of a field."""

    data: memoryview
    start: int
    end: int
    path: str

    @property
    def view(self) -> memoryview:
        return self.data[self.start : self.end]

    def fields(self) -> Iterator["Field"]:
        """The fields in the order of the file. Raises DataError at the first that cannot be."""
        position = self.start
        while position < self.end:
            tag, content = self._varint(position)
            number, wire = tag >> 3, tag & 7
            value = 0
            if wire == VARINT:
                value, end = self._varint(content)
            elif wire == BYTES:
                length, content = self._varint(content)
                end = content + length
            elif wire in WIDTHS:
                end = content + WIDTHS[wire]
            else:
                raise self._damaged(position, f"wire type {wire} is not used by Caffe")
            if not number:
                raise self._damaged(position, "a field's number is 0")
            if end > self.end:
                needed, left = end - content, self.end - content
                raise self._damaged(position, f"a field needs {needed} bytes, {left} are left")
            whole = Span(self.data, position, end, self.path)
            yield Field(number, wire, value, whole, Span(self.data, content, end, self.path))
            position = end

    def varints(self) -> Iterator[int]:
        """The numbers of a packed field, or the one of a VARINT; unsigned."""
        position = self.start
        while position < self.end:
            value, position = self._varint(position)
            yield value

    def _varint(self, position: int) -> tuple[int, int]:
        """(value, where the next byte stands). A varint has at most 10 bytes, 7 bits each."""
        value = 0
        for index, byte in enumerate(self.data[position : min(position + 10, self.end)]):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
        if position + 10 > self.end:
            raise self._damaged(position, "a number goes on behind the end")
        raise self._damaged(position, "a number has more than 10 bytes")

    def _damaged(self, position: int, why: str) -> DataError:
        return DataError(f"{self.path}: damaged, cut off or not Caffe's: byte {position}: {why}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `content` without and `whole` with tag and length; `value` of a VARINT."""

    number: int
    wire: int
    value: int
    whole: Span
    content: Span

    @property
    def text(self) -> str:
        """The content as a string; bytes that are not UTF-8 are shown as escapes."""
        return str(self.content.view, "utf-8", "backslashreplace")


def varint(value: int) -> bytes:
    """The bytes of an unsigned number."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def prefix(number: int, length: int) -> bytes:
    """What stands before the content of a BYTES field: tag and length."""
    return varint(number << 3 | BYTES) + varint(length)
