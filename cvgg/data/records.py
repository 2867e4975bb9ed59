"""What a feed reads from: labelled images by number, of a database or of a list of files."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from cvgg.data.database import Database
from cvgg.data.datum import Datum, read_datum
from cvgg.data.files import read_regular
from cvgg.data.images import Colour, Scratch, decode, resize
from cvgg.data.lists import Entry

Image: TypeAlias = NDArray[Any]  # (c,h,w), uint8 or float32


class Records(Protocol):
    """Labelled images by number, from 0. Threads may read at the same time."""

    def __len__(self) -> int: ...

    def lend(self, i: int, scratch: Scratch) -> AbstractContextManager[tuple[Image, int]]:
        """Image and label of record i, for a `with` block: the image lies in the database or in
        `scratch`, and is not there any more afterwards. Raises a DataError that starts with
        where(i)."""
        ...

    def label(self, i: int) -> int:
        """The label alone: nothing is decoded."""
        ...

    def where(self, i: int) -> str:
        """What names record i to the user."""
        ...


def read(records: Records, i: int) -> tuple[Image, int]:
    """Image, in memory of its own, and label of record i. Raises as `lend` does."""
    with records.lend(i, Scratch(0)) as (image, label):
        return image.copy(), label


def datum_image(datum: Datum, where: str, colour: Colour, scratch: Scratch | None = None) -> Image:
    """The image of a Datum, decoded if need be, into `scratch` if there is one. `colour` counts for
    encoded ones only."""
    if datum.encoded:
        return decode(datum.data, where, colour, scratch=scratch)
    return datum.array(where)


class DatumRecords:
    """The Datums of a database."""

    def __init__(self, database: Database, colour: Colour) -> None:
        self._database, self._colour = database, colour

    def __len__(self) -> int:
        return len(self._database)

    @contextmanager
    def lend(self, i: int, scratch: Scratch) -> Iterator[tuple[Image, int]]:
        where = self.where(i)
        with self._database.record(i) as record:
            datum = read_datum(record, where)
            yield datum_image(datum, where, self._colour, scratch), datum.label

    def label(self, i: int) -> int:
        with self._database.record(i) as record:
            return read_datum(record, self.where(i)).label

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

    @contextmanager
    def lend(self, i: int, scratch: Scratch) -> Iterator[tuple[Image, int]]:
        entry = self._entries[i]
        data = read_regular(self._root + entry.path, where=f"{self._source}:{entry.line}")
        image = decode(data, self.where(i), self._colour, scratch=scratch)
        yield resize(image, *self._size) if self._size else image, entry.label

    def label(self, i: int) -> int:
        return self._entries[i].label

    def where(self, i: int) -> str:
        entry = self._entries[i]
        return f"{self._source}:{entry.line}: {self._root}{entry.path}"
