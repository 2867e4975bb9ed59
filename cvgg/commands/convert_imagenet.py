"""cvgg convert-imagenet: a database from folders, a list, or ImageNet's archives."""

import argparse
import json
import os
from typing import TYPE_CHECKING

from cvgg.commands import logs
from cvgg.commands.arguments import positive
from cvgg.errors import UsageError

if TYPE_CHECKING:
    from cvgg.data.convert import Form

_DESCRIPTION = """\
Makes an LMDB database, as data layers read it, from
  a folder with a folder for each class (the classes in byte order are labels 0, 1, ...);
  a folder of images and --labels with a list of lines "path label", the paths inside the folder;
  ILSVRC2012_img_train.tar, as it is handed out, not unpacked;
  ILSVRC2012_img_val.tar or its folder, and --labels with ILSVRC2012_devkit_t12.tar.gz,
  LOC_val_solution.csv or Caffe's val.txt.

A file's own bytes are stored when nothing changes them. The database appears when it is whole;
until then it is DATABASE.partial, from which --resume goes on.
"""


THREADS_HELP = "threads that decode (default: one a CPU)"


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "convert-imagenet",
        help="make an LMDB database from folders, a list, or ImageNet's archives",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="folder or tar of the images, or a list file with --root")
    add("database", metavar="DATABASE", help="folder to make; it must not be there")
    add("--root", metavar="FOLDER", help="SOURCE is a list `path label`; its paths count from here")
    add("--labels", metavar="FILE", help="list, devkit or CSV that gives each image its label")
    add(
        "--classes",
        metavar="FILE",
        help="file with a class a line (synset_words.txt) that fixes the labels: needed for the "
        "same labels where not every class has images",
    )
    add("--short-side", type=positive, metavar="N", help="shorter side in pixels, ratio kept")
    add("--resize-width", type=positive, metavar="N", help="width in pixels, with --resize-height")
    add("--resize-height", type=positive, metavar="N", help="height in pixels, with --resize-width")
    add(
        "--resize-filter",
        choices=("antialias", "caffe"),
        default="antialias",
        help="bilinear, smoothed where it shrinks; or as convert_imageset (default: antialias)",
    )
    add("--gray", action="store_true", help="one channel; otherwise gray images get three")
    add(
        "--encoding",
        choices=("same", "jpg", "png", "raw"),
        default="same",
        help="what a record holds: an image file, or pixels (default: the file's own format)",
    )
    add("--shuffle", action="store_true", help="random order instead of the list's")
    add("--seed", type=int, default=1, metavar="N", help="of the random order (default: 1)")
    add(
        "--skip-damaged",
        action="store_true",
        help="leave out images that cannot be read, and list them; otherwise they are an error",
    )
    add(
        "--resume",
        action="store_true",
        help="go on where a conversion with the same source and options was stopped",
    )
    add("--threads", type=positive, metavar="N", help=THREADS_HELP)
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Converts and prints what was written."""
    from pathlib import Path

    from cvgg.commands.progress import Progress
    from cvgg.data.convert import check_target, convert
    from cvgg.data.imagenet import read_source

    log = logs.start(quiet=False)
    form = _form(args)
    check_target(Path(args.database), resume=args.resume)
    if args.root and args.labels:
        raise UsageError("--root says that SOURCE is a list; --labels would be a second one")
    place, labels = (args.root, args.source) if args.root else (args.source, args.labels)
    source = read_source(
        Path(place),
        Path(labels) if labels else None,
        Path(args.classes) if args.classes else None,
    )
    log.info("%d images, %d classes known", len(source.items), len(source.classes))
    if not args.shuffle and not labels:
        log.warning(
            "the records follow class by class: train with data_param { shuffle: true }, or use "
            "--shuffle"
        )
    with Progress("images") as progress:
        result = convert(
            source,
            Path(args.database),
            form,
            threads=thread_count(args.threads),
            shuffle=args.seed if args.shuffle else None,
            skip_damaged=args.skip_damaged,
            resume=args.resume,
            taken_over=progress.begin,
            progress=progress,
        )
    if args.json:
        facts = {"database": args.database, "records": result.records, "kept": result.kept}
        print(json.dumps(facts | {"skipped": result.skipped}))
        return 0
    print(
        f"{args.database}: {result.records} records, {result.kept} with the file's own bytes, "
        f"{len(result.skipped)} images skipped"
    )
    for reason in result.skipped:
        print(f"skipped: {reason}")
    return 0


def thread_count(asked: int | None) -> int:
    """Threads to use: as asked, or one for each CPU that this process may use."""
    return asked or len(os.sched_getaffinity(0))


def _form(args: argparse.Namespace) -> "Form":
    from cvgg.data.convert import Form, as_stored, exactly, resize_as_caffe, short_side
    from cvgg.data.images import Colour, resize

    if (args.resize_width is None) != (args.resize_height is None):
        raise UsageError("--resize-width and --resize-height go together; or use --short-side")
    if args.short_side is not None and args.resize_width is not None:
        raise UsageError("--short-side cannot go with --resize-width and --resize-height")
    size, about = as_stored(), "as stored"
    if args.short_side is not None:
        size, about = short_side(args.short_side), f"short side {args.short_side}"
    elif args.resize_width is not None:
        size = exactly(args.resize_height, args.resize_width)
        about = f"{args.resize_height}x{args.resize_width}"
    return Form(
        size,
        {"antialias": resize, "caffe": resize_as_caffe}[args.resize_filter],
        Colour.GREY if args.gray else Colour.COLOUR,
        args.encoding,
        about if about == "as stored" else f"{about}, {args.resize_filter}",
    )
