"""The problems that are checked and timed: the layers of VGG, or smaller ones of the same kind."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from cvgg.netdef.prototxt import read_net

PROTOTXT = Path(__file__).resolve().parents[2] / "prototxt"


@dataclass(frozen=True)
class Conv:
    """A convolution with stride 1 whose output has the size of its input."""

    name: str
    side: int  # pixels
    c: int
    k: int
    window: int = 3
    images: int | None = None  # in the place of the scale's batch
    pooled: bool = False  # a 2x2 max-pooling follows in some net

    @property
    def pad(self) -> int:
        return self.window // 2


@dataclass(frozen=True)
class Fc:
    """A fully connected layer."""

    name: str
    c: int
    k: int


CONVS = (
    Conv("conv1_1", 224, 3, 64, pooled=True),
    Conv("conv1_2", 224, 64, 64, pooled=True),
    Conv("conv2_1", 112, 64, 128, pooled=True),
    Conv("conv2_2", 112, 128, 128, pooled=True),
    Conv("conv3_1", 56, 128, 256),
    Conv("conv3_2", 56, 256, 256, pooled=True),
    Conv("conv4_1", 28, 256, 512),
    Conv("conv4_2", 28, 512, 512, pooled=True),
    Conv("conv5_1", 14, 512, 512, pooled=True),
)
MORE_CONVS = (  # of net C, and with few pixels, as in a test of one image
    Conv("conv3_3 1x1", 56, 256, 256, window=1),
    Conv("conv5_3 1x1", 14, 512, 512, window=1),
    Conv("conv3_1, one image", 56, 128, 256, images=1),
    Conv("conv5_1, one image", 14, 512, 512, images=1, pooled=True),
)
FCS = (Fc("fc6", 25088, 4096), Fc("fc7", 4096, 4096), Fc("fc8", 4096, 1000))


@dataclass(frozen=True)
class Scale:
    """How large the problems are, and how often each is timed."""

    batch: int = 64
    convs: tuple[Conv, ...] = CONVS
    more_convs: tuple[Conv, ...] = MORE_CONVS
    fcs: tuple[Fc, ...] = FCS
    classes: int = 1000
    blob: tuple[int, int] = (256, 56)  # channels and side of the blobs of other layers
    params: int = 16_777_216  # of an update
    products: int = 50_000_000  # that one float64 reference may take
    rounds: int = 30  # timed calls of each
    flush: int = 256 << 20  # bytes written before a timed call, more than any card's L2 cache
    checked_nets: tuple[tuple[str, int], ...] = (("A", 2), ("A-LRN", 1))  # names, batches
    timed_nets: tuple[tuple[str, int], ...] = (("A", 64), ("E", 64), ("A", 256), ("E", 256))
    iterations: int = 10  # timed steps


def net_text(name: str, batch: int, *, quick: bool = False) -> str:
    """Net `name` of the paper for training on images that the net makes itself.

    quick: constant images and constant weights where there are many, which take no time to make."""
    message = read_net(PROTOTXT / f"train_val_{name}.prototxt").message
    image = 'type: "constant" value: 1' if quick else 'type: "gaussian" std: 60'
    for layer in list(message.layer):
        if layer.type == "Data" or layer.type == "Accuracy":
            message.layer.remove(layer)
        elif quick and layer.type == "InnerProduct":
            filler = layer.inner_product_param.weight_filler
            filler.Clear()
            filler.type, filler.value = "constant", 0.001
    data = f"""
      layer {{ name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {{
        shape {{ dim: {batch} dim: 3 dim: 224 dim: 224 }} shape {{ dim: {batch} }}
        data_filler {{ {image} }} data_filler {{ type: "constant" value: 7 }} }} }}
    """
    return data + text_format.MessageToString(message)


def solver_text(net: str) -> str:
    """A solver of the net with the paper's momentum and decay."""
    return f"""net_param {{ {net} }} random_seed: 1 base_lr: 0.01 lr_policy: "fixed"
      momentum: 0.9 weight_decay: 0.0005 snapshot_after_train: false"""
