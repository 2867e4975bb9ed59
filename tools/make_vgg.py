"""Writes prototxt/train_val_X.prototxt, deploy_X.prototxt and solver_X.prototxt: `make prototxt`.

X is A, A-LRN, B, C, D or E: the columns of table 1 in Simonyan and Zisserman, arXiv 1409.1556.
Layer names are those of the released VGG_ILSVRC_16_layers and VGG_ILSVRC_19_layers."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

WIDTHS = (64, 128, 256, 512, 512)  # filters of blocks 1 to 5
GAUSSIAN = 'type: "gaussian" std: 0.01'
GLOROT = 'type: "xavier" variance_norm: AVERAGE'


@dataclass(frozen=True)
class Column:
    """One column of table 1: per block the windows of its convolutions, in pixels."""

    name: str
    blocks: tuple[tuple[int, ...], ...]
    filler: str = GLOROT
    lrn: bool = False

    @property
    def depth(self) -> int:
        """Layers with weights: the convolutions and three fully connected ones."""
        return sum(map(len, self.blocks)) + 3


A_BLOCKS = ((3,), (3,), (3, 3), (3, 3), (3, 3))
COLUMNS = (
    Column("A", A_BLOCKS, GAUSSIAN),
    Column("A-LRN", A_BLOCKS, GAUSSIAN, lrn=True),
    Column("B", ((3, 3),) * 5),
    Column("C", ((3, 3),) * 2 + ((3, 3, 1),) * 3),
    Column("D", ((3, 3),) * 2 + ((3, 3, 3),) * 3),
    Column("E", ((3, 3),) * 2 + ((3, 3, 3, 3),) * 3),
)

PAPER = """\
# Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
# arXiv 1409.1556, table 1, column {name}: {depth} layers with weights.
#
"""
MADE = """\
#
# Made by tools/make_vgg.py: change it there.
"""
START_GAUSSIAN = """\
# Weights start from a normal distribution of standard deviation 0.01, biases from 0: section 3.1,
# where this net is shallow enough to be trained so.
"""
START_GLOROT = """\
# Weights start as Glorot and Bengio (2010) say, biases from 0: how section 3.1 trains the deeper
# nets without net A's weights. A standard deviation of 0.01 would stall them.
"""
LRN = """\
# The normalisation is that of Krizhevsky et al. (2012): k 2, n 5, alpha 1e-4, beta 0.75. Caffe
# divides alpha by n, so 5e-4 stands here.
"""
LEARNING = """\
# Biases learn at twice the rate and do not decay: Caffe's habit; the paper does not say.
#
# The databases hold images whose shorter side has 256 pixels, the training images in a random
# order. Section 3.1's random shift of colours is left out.
"""


def train_val(column: Column) -> str:
    """The net with data and loss, for TRAIN and TEST."""
    head = [
        f"# VGG net {column.name} for training and testing on ILSVRC-2012.\n#\n",
        PAPER.format(name=column.name, depth=column.depth),
        START_GAUSSIAN if column.filler == GAUSSIAN else START_GLOROT,
        LRN if column.lrn else "",
        LEARNING,
        MADE,
        f'\nname: "VGG-{column.name}"\n\n',
    ]
    data = [_data("TRAIN", 256, "    mirror: true\n"), _data("TEST", 50, "")]
    return "".join([*head, *data, *_layers(column, column.filler), END_TRAIN_VAL])


def deploy(column: Column) -> str:
    """The net from an image to the classes' probabilities."""
    head = [
        f"# VGG net {column.name} for use: 224 x 224 pixels to 1000 probabilities.\n#\n",
        PAPER.format(name=column.name, depth=column.depth),
        LRN if column.lrn else "",
        "# `data` is blue, green, red, from 0 to 255, less the mean 103.939, 116.779, 123.68.\n",
        MADE,
        f'\nname: "VGG-{column.name}"\n\n',
        INPUT,
    ]
    return "".join([*head, *_layers(column, filler=""), END_DEPLOY])


def solver(column: Column) -> str:
    """The paper's training: section 3.1."""
    return f"""\
# Trains VGG net {column.name} as section 3.1 of arXiv 1409.1556 says: 370,000 batches of 256 (74
# epochs); the rate drops to a tenth three times, each time when the accuracy on the validation
# set has stopped improving. Paths are seen from the folder that holds prototxt/ and data/.
#
# Made by tools/make_vgg.py: change it there.

net: "prototxt/train_val_{column.name}.prototxt"

type: "SGD"
momentum: 0.9
weight_decay: 0.0005
max_iter: 370000

# How long is "stopped improving"? The paper does not say. Here it is five tests, about five
# epochs, without a new best; the accuracy of a deep net may take some to begin to rise.
base_lr: 0.01
lr_policy: "plateau"
gamma: 0.1
plateau_output: "accuracy"
plateau_patience: 5
plateau_drops: 3

# 1000 batches of 50 are the whole validation set; 5000 iterations are about an epoch.
test_iter: 1000
test_interval: 5000
test_initialization: false

display: 20
average_loss: 20
snapshot: 10000
snapshot_prefix: "vgg_{column.name}"
"""


def _data(phase: str, batch: int, more: str) -> str:
    folder = {"TRAIN": "train", "TEST": "val"}[phase]
    return f"""\
layer {{
  name: "data"
  type: "Data"
  top: "data"
  top: "label"
  include {{ phase: {phase} }}
  transform_param {{
    crop_size: 224
{more}    # The training set's mean of blue, green and red.
    mean_value: 103.939
    mean_value: 116.779
    mean_value: 123.68
  }}
  data_param {{
    source: "data/imagenet_{folder}_lmdb"
    backend: LMDB
    batch_size: {batch}
  }}
}}
"""


def _layers(column: Column, filler: str) -> Iterator[str]:
    """From `data` to `fc8`. filler: of the weights; "" for a net that does not learn."""
    bottom = "data"
    for block, (width, windows) in enumerate(zip(WIDTHS, column.blocks, strict=True), start=1):
        side = 224 >> (block - 1)
        yield f"\n# Block {block}: {side} x {side} pixels.\n"
        for place, window in enumerate(windows, start=1):
            name = f"conv{block}_{place}"
            settings = [f"num_output: {width}", f"kernel_size: {window}"]
            # A window of 1 needs no border to keep the image's size.
            settings += ["pad: 1"] * (window == 3)
            yield _learned(name, "Convolution", "convolution_param", bottom, settings, filler)
            yield _in_place("ReLU", f"relu{block}_{place}", name)
            bottom = name
        if column.lrn and block == 1:
            settings = ["lrn_param { local_size: 5 alpha: 0.0005 beta: 0.75 k: 2 }"]
            yield _block("norm1", "LRN", bottom, settings)
            bottom = "norm1"
        settings = ["pooling_param { pool: MAX kernel_size: 2 stride: 2 }"]
        yield _block(f"pool{block}", "Pooling", bottom, settings)
        bottom = f"pool{block}"
    yield "\n# The classifier: 512 x 7 x 7 numbers to 1000 classes.\n"
    for number, width in ((6, 4096), (7, 4096), (8, 1000)):
        name = f"fc{number}"
        settings = [f"num_output: {width}"]
        yield _learned(name, "InnerProduct", "inner_product_param", bottom, settings, filler)
        if number < 8:
            yield _in_place("ReLU", f"relu{number}", name)
            yield _in_place(
                "Dropout", f"drop{number}", name, "dropout_param { dropout_ratio: 0.5 }"
            )
        bottom = name


def _learned(
    name: str, type: str, param: str, bottom: str, settings: list[str], filler: str
) -> str:
    """A layer with weights and biases: its settings stand in the block `param`."""
    multipliers: list[str] = []
    if filler:
        multipliers = ["param { lr_mult: 1 decay_mult: 1 }", "param { lr_mult: 2 decay_mult: 0 }"]
        settings = [
            *settings,
            f"weight_filler {{ {filler} }}",
            'bias_filler { type: "constant" value: 0 }',
        ]
    inside = [f"{param} {{", *(f"  {line}" for line in settings), "}"]
    return _block(name, type, bottom, [*multipliers, *inside])


def _block(name: str, type: str, bottom: str, lines: list[str], top: str = "") -> str:
    """A layer of one bottom and one top, named as the layer."""
    head = [f'name: "{name}"', f'type: "{type}"', f'bottom: "{bottom}"', f'top: "{top or name}"']
    return "layer {\n" + "".join(f"  {line}\n" for line in [*head, *lines]) + "}\n"


def _in_place(type: str, name: str, blob: str, setting: str = "") -> str:
    if setting:
        return _block(name, type, blob, [setting], top=blob)
    return f'layer {{ name: "{name}" type: "{type}" bottom: "{blob}" top: "{blob}" }}\n'


INPUT = """\
layer {
  name: "data"
  type: "Input"
  top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } }
}
"""

END_DEPLOY = """
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""

END_TRAIN_VAL = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }
layer {
  name: "accuracy"
  type: "Accuracy"
  bottom: "fc8"
  bottom: "label"
  top: "accuracy"
  include { phase: TEST }
}
layer {
  name: "accuracy_top5"
  type: "Accuracy"
  bottom: "fc8"
  bottom: "label"
  top: "accuracy_top5"
  include { phase: TEST }
  accuracy_param { top_k: 5 }
}
"""


def files() -> dict[str, str]:
    """The text of every file by its name."""
    made = {"train_val": train_val, "deploy": deploy, "solver": solver}
    return {
        f"{kind}_{column.name}.prototxt": text(column)
        for column in COLUMNS
        for kind, text in made.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "prototxt", help="the folder to write to"
    )
    out = parser.parse_args().out
    for name, text in files().items():
        (out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
