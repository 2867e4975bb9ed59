"""Flags that several commands share, and what they mean."""

import argparse
import logging

from cvgg.engine import Engine, best_engine, open_engine
from cvgg.errors import UnavailableError, UsageError

log = logging.getLogger("cvgg")

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(text: str) -> int:
    """Bytes from "12G", "800M", "1.5G" or a plain number."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        value = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 800M or 12G") from None
    if not 0 < value < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return int(value)


def names(text: str) -> tuple[str, ...]:
    """("a", "b") from "a,b"; empty parts are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--gpu, --cpu, --threads and --memory."""
    group = parser.add_argument_group("where it runs")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--gpu", metavar="N", help="the GPU of this number")
    which.add_argument("--cpu", action="store_true", help="the CPU, whatever the solver says")
    which.add_argument(
        "--direct",
        action="store_true",
        help="the CPU, convolution without Winograd: slower, more exact",
    )
    group.add_argument(
        "--threads", type=positive, metavar="N", help="threads of kernels, BLAS and decoding"
    )
    group.add_argument(
        "--memory",
        type=size,
        metavar="SIZE",
        help="bytes it may use, as 12G; a larger batch is cut into micro-batches",
    )


def add_rules(parser: argparse.ArgumentParser) -> None:
    """--level and --stage: what include and exclude rules are matched against."""
    group = parser.add_argument_group("rules of the net")
    group.add_argument(
        "--level", type=int, metavar="N", help="the level for min_level and max_level"
    )
    group.add_argument("--stage", type=names, default=(), metavar="A,B", help="stages, by commas")


def engine_of(args: argparse.Namespace, *, gpu_asked: bool | None = None) -> Engine:
    """The engine that the flags name; else what `gpu_asked` (a written solver_mode) says; else the
    best there is.

    Logs which one it is, and why.
    """
    if args.gpu is not None:
        if args.gpu == "all":
            raise UnavailableError(
                "--gpu all: several GPUs are not there yet; name one, as --gpu 0"
            )
        if not args.gpu.isdecimal():
            raise UsageError(f"--gpu {args.gpu}: the number of a GPU, as 0")
        name, why = f"cuda:{args.gpu}", "--gpu"
    elif args.cpu or args.direct:
        name, why = ("cpu:direct", "--direct") if args.direct else ("cpu", "--cpu")
    elif gpu_asked is not None:
        name, why = ("cuda" if gpu_asked else "cpu"), "solver_mode"
    else:
        name, why = best_engine()
    try:
        engine = open_engine(name, threads=args.threads)
    except UnavailableError as error:
        if why != "solver_mode":
            raise
        raise UnavailableError(
            f"{error}; the solver says solver_mode: GPU, --cpu overrules it"
        ) from None
    log.info("Engine %s, %d threads (%s)", engine.name, engine.threads, why)
    return engine
