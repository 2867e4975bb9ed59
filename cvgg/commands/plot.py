"""cvgg plot: draws the curves of a training, or the filters of a convolution."""

import argparse
import io
import os
from typing import TYPE_CHECKING

from cvgg.commands import logs
from cvgg.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLE = """examples:
  cvgg plot vgg_D.metrics.jsonl
  cvgg plot caffe.log --out curves.svg
  cvgg plot --weights vgg_D_iter_370000.caffemodel --layer conv1_1 --out filters.png"""

FORMATS = ("png", "svg", "pdf")
DOTS = 100  # an inch


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg plot`."""
    parser = commands.add_parser(
        "plot",
        help="draw the curves of a training log, or conv filters",
        description="Draws loss, accuracy and rate from PREFIX.metrics.jsonl or from a log of cvgg "
        "train or\ncaffe train; or, with --weights, the filters of a convolution.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("log", nargs="?", metavar="LOG", help="PREFIX.metrics.jsonl, or a log")
    add("--weights", metavar="F", help="a .caffemodel, to draw filters instead")
    add("--layer", metavar="NAME", help="whose filters (default: the first convolution's)")
    add(
        "--out",
        metavar="FILE",
        help=f"{', '.join(FORMATS)} by its suffix (default: curves.png, filters.png)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draws and writes the picture."""
    logs.start(quiet=False)
    if (args.log is None) == (args.weights is None):
        raise UsageError("plot takes a LOG, or --weights F, one of the two")
    if args.layer is not None and args.weights is None:
        raise UsageError("--layer goes with --weights")
    out = args.out or ("curves.png" if args.weights is None else "filters.png")
    form = os.path.splitext(out)[1].lstrip(".").lower()
    if form not in FORMATS:
        raise UsageError(f"--out {out}: the suffix must be one of {', '.join(FORMATS)}")
    _write(_draw(args), out, form)
    print(out)
    return 0


def _draw(args: argparse.Namespace) -> "Figure":
    try:
        import matplotlib  # noqa: F401
    except ImportError as fault:
        raise UnavailableError("cvgg plot needs matplotlib: pip install cvgg[plot]") from fault
    if args.weights is not None:
        from cvgg.commands.filters import draw_filters

        return draw_filters(args.weights, args.layer)
    from cvgg.commands.curves import draw_curves
    from cvgg.commands.training_log import read_log

    title = os.path.basename(args.log)
    for suffix in (".jsonl", ".metrics", ".log"):
        title = title.removesuffix(suffix)
    return draw_curves(read_log(args.log), title)


def _write(figure: "Figure", out: str, form: str) -> None:
    from cvgg.data.files import write_whole

    stream = io.BytesIO()
    figure.savefig(stream, format=form, dpi=DOTS)
    write_whole(out, [stream.getvalue()])
