"""The command line: `cvgg COMMAND ...`. Commands are modules of cvgg.commands, loaded when they are
named."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from cvgg.errors import Error

COMMANDS = {
    "train": "train a net as a solver prototxt says",
    "test": "measure a trained net on its test data",
    "time": "time each layer, forward and backward",
    "summary": "shapes, params, MACs and memory of a net, with nothing allocated",
    "predict": "class and probability of image files",
    "convert-imagenet": "make an LMDB database from images",
    "compute-mean": "mean image and mean values of a database",
    "dataset": "look at a database: info, check, show",
    "plot": "draw the curves of a training log, or conv filters",
    "env": "versions and hardware, for bug reports",
    "demo": "draw images, train a small VGG net on them, test it",
}

EPILOG = """exit codes: 0 done, 1 training failed, 2 wrong usage, 65 bad data, 66 input missing, 69
device missing or too small, 73 output cannot be made, 74 input/output error, 75 try again,
130/141/143 signals"""


class Parser(argparse.ArgumentParser):
    """Errors in one line; no abbreviations, so that a new flag never changes what an old line
    means."""

    def __init__(self, *args: object, **keywords: object) -> None:
        keywords.setdefault("allow_abbrev", False)
        super().__init__(*args, **keywords)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"cvgg: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `cvgg ... | head` ends quietly
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        args = _parse(given)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Error as fault:
        print(f"cvgg: error: {fault}", file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MemoryError as fault:
        print(f"cvgg: error: out of memory: {fault}; give less to it by --memory", file=sys.stderr)
        return 69


def _parse(given: list[str]) -> argparse.Namespace:
    """Only the module of the command that is named is imported."""
    from cvgg import __version__

    root = Parser(prog="cvgg", description="A Caffe for today: nets in prototxt.", epilog=EPILOG)
    root.add_argument("--version", action="version", version=f"cvgg {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    given = [_canonical(word) for word in given]
    named = next((word for word in given if not word.startswith("-")), "")
    if named in COMMANDS:
        import_module(f"cvgg.commands.{named.replace('-', '_')}").register(commands)
    else:
        for command, text in COMMANDS.items():
            commands.add_parser(command, help=text)
    return root.parse_args(given)


def _canonical(word: str) -> str:
    """Caffe's spellings of a flag or command, -test_iter=5 or convert_imagenet, in ours:
    --test-iter=5."""
    flag, equals, value = word.partition("=")
    name = flag.lstrip("-")
    if flag.startswith("-") and len(name) > 1 and not name[0].isdigit() and name[0] != ".":
        return f"--{name.replace('_', '-')}{equals}{value}"
    dashed = word.replace("_", "-")
    return dashed if dashed in COMMANDS else word
