"""What is timed of layers: each 3x3 layer of the paper's nets, and the other kinds of layer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

PASSES = ("forward", "backward-data", "backward-weights")
BOTH_WAYS = ("forward", "backward")


@dataclass(frozen=True)
class Problem:
    """One layer, one pass. `sizes` of each kind:
    conv          c k size (of the square image) window stride pad dilation group
    pool          c size window stride
    lrn, relu     c size
    dropout, loss c
    fc            c k
    update        none: all params of VGG-A
    """

    name: str
    kind: str
    group: str  # what is asked of it: see GROUPS
    batch: int
    work: str
    sizes: dict[str, int]

    @property
    def label(self) -> str:
        """Its name in tables, and what --only looks into."""
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.name}{batch}, {self.work}"

    @property
    def side(self) -> int:
        """Rows of a convolution's or a pooling's result; a pooling's last window may hang over the
        edge, as Caffe has it."""
        s = self.sizes
        if self.kind == "pool":
            return -((s["window"] - s["size"]) // s["stride"]) + 1
        reach = s["dilation"] * (s["window"] - 1) + 1
        return (s["size"] + 2 * s["pad"] - reach) // s["stride"] + 1


GROUPS = {
    "3x3": "3x3 convolutions of the paper's nets",
    "convolution": "Other convolutions",
    "other": "Other layers",
}
# channels in and out, size of the image
VGG_3X3 = (
    (3, 64, 224),
    (64, 64, 224),
    (64, 128, 112),
    (128, 128, 112),
    (128, 256, 56),
    (256, 256, 56),
    (256, 512, 28),
    (512, 512, 28),
    (512, 512, 14),
)
OTHER_CONVOLUTIONS = (
    ("1x1", {"c": 256, "k": 256, "size": 56, "window": 1}),
    ("1x1", {"c": 512, "k": 512, "size": 14, "window": 1}),
    ("1x1 stride 2", {"c": 256, "k": 512, "size": 56, "window": 1, "stride": 2}),
    ("3x3 stride 2", {"c": 128, "k": 256, "size": 56, "window": 3, "stride": 2, "pad": 1}),
    ("3x3 dilation 2", {"c": 256, "k": 256, "size": 28, "window": 3, "pad": 2, "dilation": 2}),
    ("3x3 depthwise", {"c": 128, "k": 128, "size": 56, "window": 3, "pad": 1, "group": 128}),
    ("5x5", {"c": 64, "k": 64, "size": 56, "window": 5, "pad": 2}),
    ("5x5 group 2", {"c": 96, "k": 256, "size": 27, "window": 5, "pad": 2, "group": 2}),
    ("7x7 stride 2", {"c": 3, "k": 64, "size": 224, "window": 7, "stride": 2, "pad": 3}),
)
POOLINGS = (
    ("max pooling 2x2 / 2", {"c": 64, "size": 224, "window": 2, "stride": 2}),
    ("max pooling 2x2 / 2", {"c": 256, "size": 56, "window": 2, "stride": 2}),
    ("max pooling 3x3 / 2", {"c": 96, "size": 55, "window": 3, "stride": 2}),
)
FULL = ((25088, 4096), (4096, 4096))


def problems(only: str = "") -> list[Problem]:
    """All in the order of the tables, or those whose label has `only` in it."""
    return [each for each in _all() if only in each.label]


def _all() -> Iterator[Problem]:
    for c, k, size in VGG_3X3:
        for batch in (1, 8):
            yield from _conv(
                "3x3", "3x3", batch, {"c": c, "k": k, "size": size, "window": 3, "pad": 1}
            )
    for name, sizes in OTHER_CONVOLUTIONS:
        yield from _conv(name, "convolution", 8, sizes)
    for name, sizes in POOLINGS:
        whole = f"{name} {sizes['c']}@{sizes['size']}"
        yield from _other(whole, "pool", 8, BOTH_WAYS, sizes)
    yield from _other("LRN across channels 64@224", "lrn", 8, BOTH_WAYS, {"c": 64, "size": 224})
    for c, k in FULL:
        for batch in (1, 8, 32):
            yield from _other(f"fully connected {c}->{k}", "fc", batch, PASSES, {"c": c, "k": k})
    for batch in (8, 32):
        yield from _other("softmax loss 1000", "loss", batch, BOTH_WAYS, {"c": 1000})
    yield from _other("ReLU 64@224", "relu", 8, BOTH_WAYS, {"c": 64, "size": 224})
    for batch in (8, 32):
        yield from _other("dropout 4096", "dropout", batch, BOTH_WAYS, {"c": 4096})
    for work in ("SGD", "norm of the gradient, SGD"):
        yield from _other("update of VGG-A's params", "update", 0, (work,), {})


def _conv(name: str, group: str, batch: int, sizes: dict[str, int]) -> Iterator[Problem]:
    usual = {"stride": 1, "pad": 0, "dilation": 1, "group": 1}
    whole = f"{name} {sizes['c']}->{sizes['k']}@{sizes['size']}"
    first = Problem(whole, "conv", group, batch, "", usual | sizes)
    for work in PASSES:
        yield replace(first, work=work)


def _other(
    name: str, kind: str, batch: int, works: tuple[str, ...], sizes: dict[str, int]
) -> Iterator[Problem]:
    for work in works:
        yield Problem(name, kind, "other", batch, work, sizes)
