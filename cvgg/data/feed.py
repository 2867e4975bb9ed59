"""Brings batches of images: threads read and decode the next ones while the net computes."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.data.images import Scratch
from cvgg.data.order import Order
from cvgg.data.records import Image, Records
from cvgg.data.transform import Cropper, draw
from cvgg.errors import DataError
from cvgg.netdef.shapes import Shape

log = logging.getLogger("cvgg")

_PARTS = 4  # pieces of work a thread and batch: fewer wait at the end, more cost time to hand out


@dataclass(frozen=True)
class Batch:
    """A batch of B images in host memory, cut to size, as stored: no mean, no scale, not mirrored.

    images: uint8 or float32 (B,c,h,w).  place: int32 (B,3), row and column of the cut and mirror 0
    or 1.  labels: float32 (B,).
    """

    images: NDArray[Any]
    place: NDArray[np.int32]
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class Format:
    """What the images of a batch are: `image` (c,h,w) after the cut; `whole` (h,w) before it, if a
    mean image asks for one size."""

    image: Shape
    dtype: str
    cropper: Cropper
    whole: tuple[int, int] | None = None


class Feed:
    """Batches by number; any may be asked for, those that follow the last one are made ahead.

    `waited_s`: seconds that take() has waited. `images`: how many have been delivered.
    """

    def __init__(
        self,
        records: Records,
        order: Order,
        form: Format,
        *,
        batch_size: int,
        layer: str,
        seed: int,
        threads: int,
        prefetch: int,
    ) -> None:
        self.waited_s = 0.0
        self.images = 0
        self.mean_in: Any = None  # the array that the layer has written its mean into
        self._records, self._order, self._form = records, order, form
        self._batch_size, self._layer, self._seed = batch_size, layer, seed
        self._parts, self._prefetch = _PARTS * threads, prefetch
        self._scratch = [Scratch() for _ in range(threads)]  # for whichever threads work
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"feed of {layer}")
        if len(records) < batch_size:
            log.info(
                "Layer %r: a batch of %d from %d records: some come more than once",
                *(layer, batch_size, len(records)),
            )
        self._jobs: dict[int, _Job] = {}
        self._free: list[Batch] = []
        self._share: tuple[int, int] | None = None  # the rows that were asked for last time
        self._last = -1

    def take(self, batch: int, first: int = 0, images: int | None = None) -> Batch:
        """Batch number `batch`, valid until take() is asked for another one.

        first, images: the rows that are wanted, where a worker or a micro-batch needs only some;
        the others hold anything. Raises what went wrong in a thread, with the record's name.
        """
        stop = self._batch_size if images is None else first + images
        began = time.perf_counter()
        if batch != self._last and self._last in self._jobs:
            self._share = self._jobs[self._last].asked
        self._last = batch
        self._drop_others(range(batch, batch + self._prefetch + 1))
        job = self._job(batch)
        job.asked = (min(first, job.asked[0]), max(stop, job.asked[1]))
        self._start(job, first, stop)
        share = self._share or job.asked
        for number in range(batch, batch + self._prefetch + 1):
            self._start(self._job(number), *share)
        for rows, future in job.parts:
            if rows[0] < stop and rows[-1] >= first:
                future.result()
        self.waited_s += time.perf_counter() - began
        self.images += stop - first
        return job.batch

    def labels(self, batch: int) -> NDArray[np.float32]:
        """The labels (B,) of batch number `batch`; no image is decoded."""
        job = self._jobs.get(batch)
        if job is not None and job.ready:
            return job.batch.labels.copy()
        records = self._order.records(self._positions(batch))
        return np.array([self._records.label(int(i)) for i in records], np.float32)

    def where(self, batch: int, row: int) -> str:
        """What names the record of one row of a batch to the user."""
        return self._records.where(int(self._order.records(self._positions(batch))[row]))

    def close(self) -> None:
        """Ends the threads; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _positions(self, batch: int) -> NDArray[np.int64]:
        return batch * self._batch_size + np.arange(self._batch_size, dtype=np.int64)

    def _job(self, number: int) -> "_Job":
        if number not in self._jobs:
            batch = self._free.pop() if self._free else self._empty()
            self._jobs[number] = _Job(batch, self._positions(number))
        return self._jobs[number]

    def _empty(self) -> Batch:
        size = self._batch_size
        return Batch(
            np.empty((size, *self._form.image), self._form.dtype),
            np.empty((size, 3), np.int32),
            np.empty(size, np.float32),
        )

    def _drop_others(self, wanted: range) -> None:
        """Frees the memory of batches that are not `wanted`, once no thread writes to it."""
        for number in [number for number in self._jobs if number not in wanted]:
            job = self._jobs.pop(number)
            wait_for([future for _, future in job.parts if not future.cancel()])
            self._free.append(job.batch)

    def _start(self, job: "_Job", first: int, stop: int) -> None:
        """Hands those of the rows first .. stop to the threads that have not been yet."""
        rows = first + np.flatnonzero(~job.started[first:stop])
        job.started[rows] = True
        for part in np.array_split(rows, min(self._parts, len(rows)) or 1):
            if len(part):
                job.parts.append((part, self._pool.submit(self._fill, job, part)))

    def _fill(self, job: "_Job", rows: NDArray[np.intp]) -> None:
        """Reads, decodes and cuts images; runs in a thread."""
        scratch = self._scratch.pop()
        try:
            self._fill_with(scratch, job, rows)
        finally:
            self._scratch.append(scratch)

    def _fill_with(self, scratch: Scratch, job: "_Job", rows: NDArray[np.intp]) -> None:
        positions = job.positions[rows]
        words: Sequence[Any] = [None] * len(rows)
        if self._form.cropper.draws:
            words = list(draw(positions, layer=self._layer, seed=self._seed))
        for row, i, word in zip(rows, self._order.records(positions).tolist(), words, strict=True):
            with self._records.lend(i, scratch) as (image, label):
                self._check(image, i)
                _, height, width = self._form.image
                place = self._form.cropper.place(image.shape[1], image.shape[2], word)
                top, left, _ = place
                job.batch.images[row] = image[:, top : top + height, left : left + width]
                job.batch.place[row] = place
                job.batch.labels[row] = label

    def _check(self, image: Image, i: int) -> None:
        """Raises DataError if record i does not fit the batch."""
        form = self._form
        channels, height, width = form.image
        if form.cropper.crop and form.whole is None:
            fits = image.shape[1] >= height and image.shape[2] >= width
            wanted = f"at least {height}x{width} pixels (crop_size)"
        else:
            height, width = form.whole or (height, width)
            fits = image.shape[1:] == (height, width)
            wanted = f"{height}x{width} pixels" + (" (mean_file)" if form.whole else "")
        if not fits or image.shape[0] != channels:
            raise DataError(
                f"{self._records.where(i)}: the image is of {'x'.join(map(str, image.shape))} "
                f"(c x h x w), but layer {self._layer!r} takes {channels} channels and {wanted}"
            )
        if image.dtype != form.dtype:
            raise DataError(
                f"{self._records.where(i)}: the pixels are {image.dtype}, but those of the first "
                f"record were {form.dtype} when the net was built"
            )


@dataclass
class _Job:
    """A batch in the making."""

    batch: Batch
    positions: NDArray[np.int64]
    parts: list[tuple[NDArray[np.intp], Future[None]]] = field(default_factory=list)
    asked: tuple[int, int] = (2**31, 0)  # rows that take() was asked for
    started: NDArray[np.bool_] = field(init=False)

    @property
    def ready(self) -> bool:
        """Are all rows there?"""
        done = (future.done() and not future.exception() for _, future in self.parts)
        return bool(self.started.all()) and all(done)

    def __post_init__(self) -> None:
        self.started = np.zeros(len(self.positions), np.bool_)
