"""cvgg compute-mean: the mean image of a database, or the mean of each channel."""

import argparse
import json

from cvgg.commands import logs
from cvgg.commands.arguments import positive
from cvgg.commands.convert_imagenet import THREADS_HELP, thread_count
from cvgg.errors import CannotCreateError


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "compute-mean",
        help="mean image (mean_file) or channel means (mean_value) of a database",
        description="With OUTPUT: writes the mean image as a .binaryproto for mean_file; all "
        "images must have one size. Without: the mean of each channel over all pixels, for "
        "mean_value. Prints the channels' means, in the order of the records (B G R).",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("database", metavar="DATABASE", help="LMDB folder")
    add("output", metavar="OUTPUT", nargs="?", help=".binaryproto to write")
    add("--threads", type=positive, metavar="N", help=THREADS_HELP)
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Computes, writes and prints."""
    from pathlib import Path

    from cvgg.commands.progress import Progress
    from cvgg.data.database import open_database
    from cvgg.data.images import Colour
    from cvgg.data.mean import mean_image, mean_values, write_mean
    from cvgg.data.records import DatumRecords

    logs.start(quiet=False)
    # Before an hour of work, not behind it.
    if args.output is not None and not Path(args.output).parent.is_dir():
        raise CannotCreateError(f"{args.output}: no folder {Path(args.output).parent}")
    threads = thread_count(args.threads)
    records = DatumRecords(open_database(args.database), Colour.AS_STORED)
    with Progress("images") as progress:
        if args.output is None:
            values = mean_values(records, threads=threads, progress=progress)
        else:
            mean = mean_image(records, threads=threads, progress=progress)
            write_mean(Path(args.output), mean)
            values = mean.mean(axis=(1, 2))
    if args.json:
        print(json.dumps({"images": len(records), "mean_value": values.tolist()}))
        return 0
    for channel, value in enumerate(values):
        print(f"mean_value channel [{channel}]: {value:.6f}")
    return 0
