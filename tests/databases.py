"""Small LMDBs of Datum for tests."""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from cvgg.data.datum import Datum, datum_bytes


def write_lmdb(path: Path, records: Mapping[bytes, bytes]) -> str:
    """Makes an LMDB of these records and gives its path."""
    environment = lmdb.open(str(path), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    environment.close()
    return str(path)


def write_checksums(path: str) -> None:
    """Puts the file of checksums beside the records that are there now."""
    environment = lmdb.open(path, readonly=True, lock=False)
    with environment.begin() as transaction:
        values = [zlib.crc32(value) for _, value in transaction.cursor()]
    environment.close()
    (Path(path) / "crc32").write_bytes(np.array(values, "<u4").tobytes())


def write_images(path: Path, images: Iterable[NDArray[np.uint8]], *, label: int = 0) -> str:
    """Makes an LMDB of raw images (c,h,w); record i has the key %08d and the label `label` + i."""
    records = {}
    for i, image in enumerate(images):
        c, h, w = image.shape
        datum = Datum(c, h, w, image.tobytes(), label + i)
        records[b"%08d" % i] = datum_bytes(datum)
    return write_lmdb(path, records)


def numbered(count: int, shape: tuple[int, int, int], *, first: int = 0) -> list[NDArray[np.uint8]]:
    """Images whose pixels all differ from their neighbours and from those of the other images."""
    size = int(np.prod(shape))
    return [
        (np.arange(size) * 7 + 31 * (first + i)).astype(np.uint8).reshape(shape)
        for i in range(count)
    ]
