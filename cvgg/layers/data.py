"""Data: batches of images and labels from an LMDB of Datum records."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cvgg.data.database import open_database
from cvgg.data.datum import read_datum
from cvgg.data.feed import Feed, Format
from cvgg.data.images import Colour
from cvgg.data.order import Order, Shuffled, Stored, draw_skip
from cvgg.data.records import DatumRecords, Records, datum_image
from cvgg.data.transform import FIELDS, Cropper, check, colour_of, read_mean
from cvgg.errors import LayerError, MissingInputError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Buffer, Own, Pass, Setting, SourceLayer
from cvgg.netdef.caffe_pb2 import DataParameter, LayerParameter, TransformationParameter
from cvgg.netdef.shapes import Shape, count, describe


@dataclass(frozen=True)
class Ordering:
    """In which order records come and how far ahead."""

    shuffle: bool
    rand_skip: int  # Caffe: skip 0 .. rand_skip - 1 records at the start
    prefetch: int  # batches


class ImageTops:
    """What layers that bring labelled images share: tops, buffers, the way from a feed to them.

    whole: (c,h,w) of an image before the cut, h and w 0 if they are not known.
    """

    def __init__(
        self, spec: LayerParameter, setting: Setting, *, batch: int, whole: Shape, dtype: str
    ) -> None:
        param = spec.transform_param
        self._spec, self._batch = spec, batch
        self._cropper = Cropper.of(param, setting.phase)
        side = param.crop_size
        image = (whole[0], side, side) if side else whole
        self._mean = read_mean(param, whole[0])
        plane = None
        if self._mean is not None and param.HasField("mean_file"):
            plane = (self._mean.shape[1], self._mean.shape[2])
        _check_plane(param, whole[1:], plane)
        self._form = Format(image, dtype, self._cropper, plane)
        images = batch if setting.images is None else setting.images
        count((images, *image))
        tops: tuple[Shape, ...] = ((images, *image), (images,))
        self.tops = tops[: len(spec.top)]
        self.buffers = [
            Buffer("images", (images, *image), dtype, lasting=True),
            Buffer("place", (images, 3), "int32", lasting=True),
        ]
        if self._mean is not None:
            self.buffers.append(Buffer("mean", self._mean.shape, lasting=True))

    def feed(self, records: Records, ordering: Ordering, *, seed: int, threads: int) -> Feed:
        """The feed of one net. Raises MissingInputError if mean_file was not there."""
        mean_file = self._spec.transform_param.mean_file
        if mean_file and self._mean is None:
            raise MissingInputError(
                f"{mean_file}: no such mean_file (in {os.getcwd()}) when the net was built; "
                f"make it with: cvgg compute-mean DB {mean_file}"
            )
        name = self._spec.name
        skip = draw_skip(ordering.rand_skip, layer=name, seed=seed)
        order: Order = Stored(len(records), skip=skip)
        if ordering.shuffle:
            order = Shuffled(len(records), layer=name, seed=seed, skip=skip)
        return Feed(
            records,
            order,
            self._form,
            batch_size=self._batch,
            layer=name,
            seed=seed,
            threads=threads,
            prefetch=ordering.prefetch,
        )

    def load(self, top: Blobs, own: Own, this: Pass) -> None:
        """Brings this pass's images and labels."""
        first, images = this.first, self.tops[0][0]
        feed: Feed = own.feed
        batch = feed.take(this.batch, first, images)
        rows = slice(first, first + images)
        own.put(own.buffers["images"], batch.images[rows])
        own.put(own.buffers["place"], batch.place[rows])
        if len(top) > 1:
            own.put(top[1].data, batch.labels[rows])
        mean = own.buffers.get("mean")
        if mean is not None and feed.mean_in is not mean:
            assert self._mean is not None
            own.put(mean, self._mean)
            feed.mean_in = mean

    def forward(self, kernels: Kernels, top: Blobs, own: Own) -> None:
        """Mean, scale and mirror."""
        kernels.transform_forward(
            own.buffers["images"],
            own.buffers["place"],
            own.buffers.get("mean"),
            top[0].data,
            scale=self._spec.transform_param.scale,
        )

    def ignored(self, own: Own, this: Pass, ignore_label: int) -> int:
        """How many labels of the whole batch are ignore_label."""
        feed: Feed = own.feed
        return int(np.count_nonzero(feed.labels(this.batch) == ignore_label))


class Data(SourceLayer):
    """Images and labels of an LMDB, in the order of the keys, or shuffled anew each epoch."""

    type = "Data"
    fields: ClassVar = {
        "data_param": frozenset(
            {
                "source", "batch_size", "backend", "rand_skip", "prefetch", "shuffle",
                "force_encoded_color",
            }
        ),
        "transform_param": FIELDS,
    }  # fmt: skip
    top_count = (1, 2)
    kernels = ("transform_forward",)
    has_backward = False

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self._param = param = spec.data_param
        check_source(param.source, param.batch_size)
        if param.backend != DataParameter.LMDB:
            raise LayerError(
                "backend LEVELDB (the default) is not supported; write backend: LMDB, and make the "
                f"LMDB with: cvgg convert-imagenet SOURCE {param.source}",
                field="backend",
            )
        transform = spec.transform_param
        check(transform)
        stored = Colour.COLOUR if param.force_encoded_color else Colour.AS_STORED
        self._colour = colour_of(transform, stored)
        self.batch_size = param.batch_size
        shape, dtype = self._format(transform.crop_size, len(transform.mean_value))
        self._images = ImageTops(spec, setting, batch=param.batch_size, whole=shape, dtype=dtype)
        self.tops, self.buffers = self._images.tops, self._images.buffers

    def _format(self, crop: int, mean_values: int) -> tuple[Shape, str]:
        """Shape (c,h,w) and dtype of the first record; with a crop_size the database may be
        missing, and the colour or the mean_values tell the channels."""
        source = self._param.source
        if crop and not os.path.lexists(source):
            told = mean_values if mean_values > 1 else 3
            channels = 1 if self._colour is Colour.GREY else told
            return (channels, 0, 0), "uint8"
        where, record = open_database(source).first()
        image = datum_image(read_datum(record, where), where, self._colour)
        return image.shape, image.dtype.name

    def open(self, *, seed: int, threads: int) -> Feed:
        records = DatumRecords(open_database(self._param.source), self._colour)
        ordering = Ordering(self._param.shuffle, self._param.rand_skip, self._param.prefetch)
        return self._images.feed(records, ordering, seed=seed, threads=threads)

    def load(self, top: Blobs, own: Own, this: Pass) -> None:
        self._images.load(top, own, this)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        self._images.forward(kernels, top, own)

    def ignored(self, own: Own, this: Pass, top: int, ignore_label: int) -> int:
        if top != 1:
            return super().ignored(own, this, top, ignore_label)
        return self._images.ignored(own, this, ignore_label)


def check_source(source: str, batch_size: int) -> None:
    """Raises LayerError if one of the two is missing."""
    if not source:
        raise LayerError("source is missing", field="source")
    if batch_size < 1:
        raise LayerError("batch_size must be above 0", field="batch_size")


def _check_plane(
    param: TransformationParameter, first: Shape, mean: tuple[int, int] | None
) -> None:
    """Raises LayerError unless crop, first image and mean image (h,w; 0 or None: not known) fit."""
    if mean and all(first) and first != mean:
        raise LayerError(
            f"mean_file {param.mean_file} is of {describe(mean)} pixels (h w), the first image of "
            f"{describe(first)}; a mean image has the size of the images before the crop",
            field="mean_file",
        )
    smallest = min(mean or first)
    if 0 < smallest < param.crop_size:
        raise LayerError(
            f"crop_size {param.crop_size} does not fit in images of "
            f"{describe(mean or first)} pixels (h w)",
            field="crop_size",
        )
