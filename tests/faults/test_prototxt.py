"""Rows 33 to 39 of the table of faults: prototxt files that cannot be obeyed."""

import os
from pathlib import Path

import pytest
from faults.places import DATA, FC, LOSS, NET, Place

CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 ... } }
"""


def net_with(change: str) -> str:
    """The small net with a convolution whose settings are `change`, at line 7."""
    return NET.replace(FC, CONV.replace("...", change) + FC)


def layers(count: int) -> str:
    relu = 'layer { name: "r%d" type: "ReLU" bottom: "fc" top: "fc" }\n'
    return NET.replace(LOSS, "\n" + "".join(relu % i for i in range(count)) + LOSS)


def deep(count: int) -> str:
    return "layer { name: 'a' include { " + "stage: 'b' " * count


NETS = {
    "33-typo": (
        NET.replace("num_output", "num_ouput"),
        r"net\.prototxt:7:25: .*num_ouput.*num_output",
    ),
    "33-unclosed": (NET + "layer {", r"net\.prototxt:10:1: 'layer' is not closed"),
    "33-overflow": (NET.replace("num_output: 9", "num_output: 4294967296"), ":7:37: num_output"),
    "33-negative": (NET.replace("num_output: 9", "num_output: -9"), ":7:37: num_output .* not -9"),
    "33-float": (NET.replace("num_output: 9", "num_output: 64.0"), ":7:37: .* not 64.0"),
    "33-twice": (NET.replace("num_output: 9", "num_output: 9 num_output: 8"), ":7:39: .* once"),
    "34-latin-1": (NET.replace("small", "sm\udce4ll"), ":1:10: not UTF-8 at byte 9"),
    "34-nul": (NET.replace("small", "sm\0ll"), r"net\.prototxt:1:10: a NUL byte"),
    "34-nul-escaped": (NET.replace('"fc" type', '"f\\000c" type'), ":6:9: name .* control char"),
    "34-escape": (NET.replace('"fc" type', '"\\033]0;x" type'), ":6:9: name .* control char"),
    "35-type": (NET.replace("InnerProduct", "InerProduct"), ':6:20: .*mean "InnerProduct"'),
    "35-bottom": (NET.replace('bottom: "fc"', 'bottom: "fd"'), ":9:46: .*bottom 'fd' is made by"),
    "35-top-twice": (NET.replace('top: "label"', 'top: "data"'), ":2:47: .*written twice"),
    "35-name-twice": (NET.replace('"loss" type', '"fc" type'), ":9:9: .*another layer has that"),
    "35-own-bottom": (NET.replace('bottom: "data"', 'bottom: "fc"'), ":6:41: layer 'fc': bottom"),
    "35-cycle": (
        NET.replace('bottom: "data"', 'bottom: "loss"'),
        ":6:41: layer 'fc': bottom 'loss'",
    ),
    "36-outputs": (
        NET.replace("num_output: 9", "num_output: 2147483648"),
        ":6:1: .*6442450944 elements; the most is 2147483647",
    ),
    "36-batch": (NET.replace("batch_size: 3", "batch_size: 99999999"), ":2:1: .* elements"),
    "36-kernel": (net_with("").replace("size: 3 ", "size: 1000000 "), ":7:.*does not fit a plane"),
    "36-stride": (net_with("stride: 0"), ":7:52: .*stride must be above 0"),
    "36-group": (net_with("group: 2"), ":7:52: .*group 2 must divide input channels 3"),
    "36-pad": (net_with("pad: 4000000000"), ":6:1: .*elements; the most is"),
    "36-dilation": (net_with("dilation: 4000000000"), ":7:37: .*does not fit a plane"),
    "36-layers": (layers(10_001), r"net\.prototxt:10007:1: 10004 layers; the most is 10000"),
    "37-many-values": (net_with("pad: 1 " * 2000), ":7:52: .*pad has 2000 values"),
    "37-deep-blocks": ("layer { " * 5000, ":1:9: 'layer' .LayerParameter. has no field 'layer'"),
    "37-deep-lists": ("layer: [ " * 5000, ":1:10: layer is a block"),
    "37-open-blocks": (deep(2000), ":1:19: 'include' is not closed"),
}


@pytest.mark.parametrize("row", NETS)
def test_a_net_that_cannot_be_is_told_at_its_line(place: Place, row: str) -> None:
    text, message = NETS[row]
    (place / "net.prototxt").write_bytes(text.encode("utf-8", "surrogateescape"))
    place.refuses(65, message)


def test_byte_order_mark_and_crlf_change_nothing__row_34(place: Place) -> None:
    text = "\ufeff" + NET.replace("\n", "\r\n")
    (place / "net.prototxt").write_bytes(text.encode())
    assert place.train().code == 0


def test_a_net_that_does_not_fit_in_memory_is_refused_before_it_is_made__rows_36_49(
    place: Place,
) -> None:
    place.replace("net.prototxt", "num_output: 9", "num_output: 400000")
    message = r"small needs [0-9,.]+ MiB for a single image and 64 MiB are there"
    place.refuses(69, message, "--memory", "64M")


SETTINGS = {
    "38-no-net": ('net: "net.prototxt"', "", 65, r"^cvgg: error: solver\.prototxt: a solver needs"),
    "38-two-nets": ("random", 'train_net: "a" random', 65, "it has net, train_net"),
    "38-no-test-iter": ("random", "test_interval: 5 random", 65, ":9:1: test_interval needs a"),
    "38-no-interval": ("random", "test_iter: 5 random", 65, ":9:1: test_iter needs a"),
    "38-policy": ('"fixed"', '"fixd"', 65, r"solver\.prototxt:5:1: lr_policy: 'fixd' is not"),
    "38-stepsize": ('"fixed"', '"step" gamma: 1', 65, ":5:1: .*needs stepsize"),
    "38-base-lr": ("0.01", "nan", 65, r"solver\.prototxt:3:1: base_lr: .* is nan"),
    "38-prefix": ('"run"', '"no/run"', 73, "snapshot_prefix 'no/run': there is no folder 'no'"),
    "38-read-only": ('"run"', '"/proc/run"', 73, "snapshot_prefix '/proc/run': cannot write"),
    "38-missing-net": ('"net.prototxt"', '"n.prototxt"', 66, ":2:1: net: no file 'n.prototxt'"),
    "39-net-device": ('"net.prototxt"', '"/dev/zero"', 65, "/dev/zero: .*not a regular file"),
    "39-net-pipe": ('"net.prototxt"', '"pipe"', 65, "pipe: .*not a regular file"),
}


@pytest.mark.parametrize("row", SETTINGS)
def test_a_setting_that_cannot_be_obeyed_is_told_before_the_first_iteration(
    place: Place, row: str
) -> None:
    old, new, code, message = SETTINGS[row]
    os.mkfifo(place / "pipe")
    place.replace("solver.prototxt", old, new)
    place.refuses(code, message)


def test_a_max_iter_below_the_snapshot_s_iteration_is_told__row_38(place: Place) -> None:
    assert place.train().code == 0
    place.replace("solver.prototxt", "max_iter: 4", "max_iter: 3")
    message = r"solver\.prototxt:6:1: max_iter is 3, but run_iter_4\.solverstate is of iteration 4"
    place.refuses(65, message, "--snapshot", "auto")


ODD = {
    "39-source-device": ('"db"', '"/dev/zero"', "/dev/zero: not a database"),
    "39-mean-device": ("scale", 'mean_file: "/dev/zero" scale', "/dev/zero: not a regular file"),
    "39-mean-pipe": ("scale", 'mean_file: "pipe" scale', "pipe: not a regular file"),
    "39-mean-folder": ("scale", 'mean_file: "db" scale', "db: Is a directory"),
}


@pytest.mark.parametrize("row", ODD)
def test_only_regular_files_are_read(place: Place, row: str) -> None:
    old, new, message = ODD[row]
    os.mkfifo(place / "pipe")
    place.replace("net.prototxt", old, new)
    place.refuses(66 if "folder" in row else 65, message)


@pytest.mark.parametrize("flag", ["--weights", "--snapshot", "--solver"])
def test_a_pipe_is_not_waited_for__row_39(place: Place, flag: str) -> None:
    os.mkfifo(place / "pipe")
    words = ["train", "--solver", "solver.prototxt", flag, "pipe"]
    place.refuses(65, "pipe: .*not a regular file", *words)


@pytest.mark.slow
def test_a_long_prototxt_is_read_in_time_and_a_longer_one_refused__row_37(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "net.prototxt").write_text(net_with("pad: 1 " * 200_000))
    place.refuses(65, "pad has 200000 values")
    (tmp_path / "net.prototxt").write_text("# x\n" * 2_500_000 + "layer {")
    place.refuses(65, ":2500001:1: 'layer' is not closed")
    (tmp_path / "net.prototxt").write_text(DATA + "#" * 16 * 2**20)
    place.refuses(65, "larger than 16 MiB")
