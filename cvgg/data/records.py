"""What a feed reads from: labelled images by number, of a database or of a list of files."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from cvgg.data.database import Database
from cvgg.data.datum import Datum, read_datum
from cvgg.data.files import read_regular
from cvgg.data.images import Colour, decode, resize
from cvgg.data.lists import Entry

Image: TypeAlias = NDArray[Any]  # (c,h,w), uint8 or float32


class Records(Protocol):
    """Labelled images by number, from 0. Threads may read at the same time."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> tuple[Image, int]:
        """Image and label of record i. Raises a DataError that starts with where(i)."""
        ...

    def label(self, i: int) -> int:
        """The label alone: nothing is decoded."""
        ...

    def where(self, i: int) -> str:
        """What names record i to the user."""
        ...


def datum_image(datum: Datum, where: str, colour: Colour) -> Image:
    """The image of a Datum, decoded if need be. `colour` counts for encoded ones only."""
    if datum.encoded:
        return decode(datum.data, where, colour)
    return datum.array(where)


class DatumRecords:
    """The Datums of a database."""

    def __init__(self, database: Database, colour: Colour) -> None:
        self._database, self._colour = database, colour

    def __len__(self) -> int:
        return len(self._database)

    def read(self, i: int) -> tuple[Image, int]:
        where = self.where(i)
        datum = read_datum(self._database.get(i), where)
        return datum_image(datum, where, self._colour), datum.label

    def label(self, i: int) -> int:
        return read_datum(self._database.get(i), self.where(i)).label

    def where(self, i: int) -> str:
        return self._database.where(i)


class ListedImages:
    """The image files of a list. `root` is put in front of each path as it is, as Caffe does.

    size: (height, width) that images are brought to, None: as they are.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        source: str,
        *,
        root: str,
        colour: Colour,
        size: tuple[int, int] | None,
    ) -> None:
        self._entries, self._source = entries, source
        self._root, self._colour, self._size = root, colour, size

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, i: int) -> tuple[Image, int]:
        entry = self._entries[i]
        data = read_regular(self._root + entry.path, where=f"{self._source}:{entry.line}")
        image = decode(data, self.where(i), self._colour)
        return resize(image, *self._size) if self._size else image, entry.label

    def label(self, i: int) -> int:
        return self._entries[i].label

    def where(self, i: int) -> str:
        entry = self._entries[i]
        return f"{self._source}:{entry.line}: {self._root}{entry.path}"
