"""ImageData: batches of images and labels from files that a list names."""

from collections.abc import Sequence
from typing import ClassVar

from cvgg.data.feed import Feed
from cvgg.data.images import Colour
from cvgg.data.lists import read_list
from cvgg.data.records import ListedImages, read
from cvgg.data.transform import FIELDS, check, colour_of
from cvgg.errors import LayerError
from cvgg.kernels.interface import Kernels
from cvgg.layers.base import Blobs, Own, Pass, Setting, SourceLayer
from cvgg.layers.data import ImageTops, Ordering, check_source
from cvgg.netdef.caffe_pb2 import LayerParameter
from cvgg.netdef.shapes import Shape

_PREFETCH = 4  # batches; ImageDataParameter has no field for it


class ImageData(SourceLayer):
    """Images and labels of a list with lines of `path label`, in its order, or shuffled anew each
    epoch."""

    type = "ImageData"
    fields: ClassVar = {
        "image_data_param": frozenset(
            {
                "source", "batch_size", "rand_skip", "shuffle", "new_height", "new_width",
                "is_color", "root_folder",
            }
        ),
        "transform_param": FIELDS,
    }  # fmt: skip
    top_count = (1, 2)
    kernels = ("transform_forward",)
    has_backward = False

    def __init__(self, spec: LayerParameter, bottoms: Sequence[Shape], setting: Setting) -> None:
        self._param = param = spec.image_data_param
        check_source(param.source, param.batch_size)
        if bool(param.new_height) != bool(param.new_width):
            missing = "new_width" if param.new_height else "new_height"
            raise LayerError("write both new_height and new_width", field=missing)
        check(spec.transform_param)
        of_param = Colour.COLOUR if param.is_color else Colour.GREY
        self._colour = colour_of(spec.transform_param, of_param)
        self.batch_size = param.batch_size
        whole = self._whole(spec.transform_param.crop_size)
        self._images = ImageTops(spec, setting, batch=param.batch_size, whole=whole, dtype="uint8")
        self.tops, self.buffers = self._images.tops, self._images.buffers

    def _whole(self, crop: int) -> Shape:
        """(c,h,w) of the images before the cut; read from the first one only if nothing else tells
        it."""
        param = self._param
        channels = 1 if self._colour is Colour.GREY else 3
        if param.new_height or crop:
            return channels, param.new_height, param.new_width
        image, _ = read(self._records(), 0)
        return image.shape

    def _records(self) -> ListedImages:
        param = self._param
        size = (param.new_height, param.new_width) if param.new_height else None
        return ListedImages(
            read_list(param.source),
            param.source,
            root=param.root_folder,
            colour=self._colour,
            size=size,
        )

    def open(self, *, seed: int, threads: int) -> Feed:
        ordering = Ordering(self._param.shuffle, self._param.rand_skip, _PREFETCH)
        return self._images.feed(self._records(), ordering, seed=seed, threads=threads)

    def load(self, top: Blobs, own: Own, this: Pass) -> None:
        self._images.load(top, own, this)

    def forward(self, kernels: Kernels, bottom: Blobs, top: Blobs, own: Own) -> None:
        self._images.forward(kernels, top, own)

    def ignored(self, own: Own, this: Pass, top: int, ignore_label: int) -> int:
        if top != 1:
            return super().ignored(own, this, top, ignore_label)
        return self._images.ignored(own, this, ignore_label)
