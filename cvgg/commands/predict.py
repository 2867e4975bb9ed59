"""cvgg predict: classes of image files."""

import argparse
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvgg.commands import arguments, logs
from cvgg.errors import DataError, MissingInputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cvgg.commands.preparation import Preparation
    from cvgg.net import Net

log = logging.getLogger("cvgg")

EXAMPLE = """example:
  cvgg predict --model prototxt/deploy_D.prototxt --weights VGG_ILSVRC_16_layers.caffemodel \\
      --mean 103.939,116.779,123.68 --short-side 256 --labels synset_words.txt cat.jpg photos/

An image is resized, its centre is cut out, and (pixels - mean) * scale goes in: blue, green, red,
from 0 to 255."""

_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg predict`."""
    parser = commands.add_parser(
        "predict",
        help="class and probability of image files",
        description="Prints the most probable classes of each image.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    add("--model", required=True, metavar="NET", help="a deploy prototxt: one Input layer")
    add("--weights", required=True, metavar="F", help="the .caffemodel of its params")
    add("--labels", metavar="F", help="names of the classes, one a line, class 0 first")
    mean = parser.add_mutually_exclusive_group()
    mean.add_argument(
        "--mean", type=_numbers, metavar="B,G,R", help="taken off each channel, or one for all"
    )
    mean.add_argument("--mean-file", metavar="F", help="a mean image (.binaryproto) to take off")
    add("--scale", type=float, default=1.0, metavar="S", help="factor after the mean (default: 1)")
    add(
        "--short-side",
        type=arguments.positive,
        metavar="N",
        help="pixels of the shorter side before the cut (default: the least that fills the input)",
    )
    add("--top", type=arguments.positive, default=5, metavar="N", help="classes (default: 5)")
    add("--output", metavar="BLOB", help="which output, if the net has several")
    add("--json", action="store_true", help="print the result as JSON")
    add("--quiet", action="store_true", help="warnings only on standard error")
    arguments.add_engine(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the classes of each image; 65 if an image could not be read."""
    from cvgg.commands.preparation import prepare_for
    from cvgg.net import Net
    from cvgg.netdef.caffe_pb2 import TEST
    from cvgg.solver import SHARE_OF_FREE

    logs.start(quiet=args.quiet)
    files = _files(args.images)
    names = _read_labels(args.labels)
    engine = arguments.engine_of(args)
    memory = args.memory or int(SHARE_OF_FREE * engine.memory_free())
    net = Net(args.model, TEST, engine=engine, backward=False, keep=False, memory=memory)
    preparation = prepare_for(net, args)
    output = _output(net, args)
    net.copy_from(args.weights)
    results = []
    for file, values in _classify(net, files, preparation, output):
        if names and len(names) != len(values):
            raise DataError(
                f"{args.labels}: {len(names)} names, but the net has {len(values)} classes"
            )
        result = _top(file, values, args.top, names)
        results.append(result)
        if not args.json:
            _show(result)
    if args.json:
        print(json.dumps(results))
    return 0 if len(results) == len(files) else DataError.exit_code


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers, as 104,117,123") from None


def _files(given: Sequence[str]) -> list[str]:
    """The image files that are named, and those in folders that are named, by their suffix."""
    files: list[str] = []
    for name in given:
        if os.path.isdir(name):
            inside = sorted(p for p in Path(name).rglob("*") if p.suffix.lower() in _SUFFIXES)
            if not inside:
                raise MissingInputError(f"{name}: no image is in this folder")
            files += map(str, inside)
        elif os.path.exists(name):
            files.append(name)
        else:
            raise MissingInputError(f"{name}: no such file")
    return files


def _read_labels(path: str | None) -> list[str]:
    """One name a line; [] without a file."""
    from cvgg.data.files import read_regular

    if path is None:
        return []
    try:
        return read_regular(path).decode().strip("\r\n").splitlines()
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: not UTF-8 at byte {fault.start}") from fault


def _output(net: "Net", args: argparse.Namespace) -> str:
    """The output blob that holds a value for each class of each image."""
    if args.output is not None and args.output not in net.outputs:
        raise UsageError(f"--output {args.output}: the outputs are {', '.join(net.outputs)}")
    if args.output is None and len(net.outputs) != 1:
        raise UsageError(
            f"{args.model}: outputs {', '.join(net.outputs)}; choose one with --output, or give "
            "the deploy prototxt"
        )
    name: str = args.output or net.outputs[0]
    shape, images = net.plan.blobs[net.plan.names[name]].shape, _input_shape(net)[0]
    if len(shape) < 2 or shape[0] != images:
        raise UsageError(
            f"{args.model}: output {name!r} of shape {' '.join(map(str, shape))} has no values for "
            f"each of {images} images"
        )
    return name


def _input_shape(net: "Net") -> tuple[int, ...]:
    return net.plan.blobs[net.plan.names[net.inputs[0]]].shape


def _classify(
    net: "Net", files: Sequence[str], preparation: "Preparation", output: str
) -> Iterator[tuple[str, "NDArray[Any]"]]:
    """(file, value of each class), as many images at a time as the net's input takes. Images that
    cannot be read are logged and left out."""
    import numpy as np

    from cvgg.data.files import read_regular
    from cvgg.data.images import Scratch

    (name,) = net.inputs
    batch = np.zeros(_input_shape(net), np.float32)
    scratch = Scratch()
    ready: list[str] = []
    for number, file in enumerate(files):
        try:
            preparation.fill(batch[len(ready)], read_regular(file), file, scratch)
            ready.append(file)
        except (DataError, MissingInputError) as fault:
            log.error("%s", fault)
        if len(ready) == len(batch) or (ready and number + 1 == len(files)):
            values = net.forward(**{name: batch})[output]
            # A net that is applied densely gives a map for each class: its mean counts.
            means = values.reshape(*values.shape[:2], -1).mean(axis=2)
            _check_sums(output, means[: len(ready)])
            yield from zip(ready, means, strict=False)
            ready = []


def _check_sums(output: str, values: "NDArray[Any]") -> None:
    """Warns if these are no probabilities: a net that ends before its Softmax."""
    if values.min() < 0 or abs(values.sum(axis=1) - 1).max() > 0.01:
        log.warning("output %r does not hold probabilities: add a Softmax layer to the net", output)


def _top(file: str, values: "NDArray[Any]", top: int, names: Sequence[str]) -> dict[str, Any]:
    """The `top` largest values, the largest first; of equals the lower class first."""
    import numpy as np

    order = np.argsort(-values, kind="stable")[:top]
    classes = [
        {"class": int(i), "label": names[i] if names else None, "probability": float(values[i])}
        for i in order
    ]
    return {"file": file, "classes": classes}


def _show(result: dict[str, Any]) -> None:
    print(result["file"])
    for each in result["classes"]:
        print(f"  {each['probability']:.4f}  {each['class']:4d}  {each['label'] or ''}".rstrip())
