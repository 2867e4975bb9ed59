"""The mean over a database: an image where all have one size, a number a channel in any case.

Sums are float64. Sums of 8-bit images are whole numbers far below 2**53, so they are exact.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvgg.data.convert import in_order
from cvgg.data.files import write_whole
from cvgg.data.records import Image, Records, read
from cvgg.errors import DataError
from cvgg.netdef.caffemodel import ModelBlob, blob_bytes

Progress = Callable[[int, int], None]


def mean_image(
    records: Records, *, threads: int = 1, progress: Progress = lambda done, total: None
) -> NDArray[np.float64]:
    """The mean of all images, (c,h,w). DataError names the first one that has another size."""
    total = np.zeros(read(records, 0)[0].shape)
    with closing(_images(records, threads)) as images:
        for number, image in enumerate(images):
            if image.shape != total.shape:
                raise DataError(
                    f"{records.where(number)}: {_times(image.shape)}, but the first image is "
                    f"{_times(total.shape)}: a mean image needs one size"
                )
            total += image
            progress(number + 1, len(records))
    return total / len(records)


def mean_values(
    records: Records, *, threads: int = 1, progress: Progress = lambda done, total: None
) -> NDArray[np.float64]:
    """The mean of each channel (c,) over all pixels of all images, of whatever size."""
    total = np.zeros(read(records, 0)[0].shape[0])
    pixels = 0
    with closing(_images(records, threads)) as images:
        for number, image in enumerate(images):
            if image.shape[0] != total.size:
                raise DataError(
                    f"{records.where(number)}: {image.shape[0]} channels, but the first image "
                    f"has {total.size}"
                )
            total += image.sum(axis=(1, 2), dtype=np.float64)
            pixels += image.shape[1] * image.shape[2]
            progress(number + 1, len(records))
    return total / pixels


def write_mean(path: Path, mean: NDArray[np.float64]) -> None:
    """Writes a mean image (c,h,w) as a .binaryproto: float32, num 1, as Caffe's tool does."""
    blob = ModelBlob((1, *mean.shape), mean.astype("<f4").tobytes())
    write_whole(path, blob_bytes(blob, legacy=True))


def _images(records: Records, threads: int) -> Generator[Image, None, None]:
    return in_order(lambda number: read(records, number)[0], range(len(records)), threads)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
