"""The command line: `cvgg COMMAND ...`. Commands are modules of cvgg.commands, loaded when they are
named."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn, TextIO

from cvgg.errors import Error, InputOutputError

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
    # Images are measured before they are decoded, and refused in a line of ours.
    warnings.filterwarnings("ignore", message="Image size .* decompression bomb")
    _open_missing()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        args = _parse(given)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except Error as fault:
        return _fail(str(fault), fault.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _drop(sys.stdout)
        return 128 + signal.SIGPIPE
    except MemoryError as fault:
        return _fail(f"out of memory: {fault}; give less to it by --memory", 69)
    except OSError as fault:  # those of files are Errors: it is the disk behind standard output
        _drop(sys.stdout)
        file = f"{fault.filename}: " if fault.filename is not None else ""
        return _fail(f"{file}{fault.strerror or fault}", InputOutputError.exit_code)
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr)


def _fail(message: str, code: int) -> int:
    """One line on standard error, if it can be written; the exit code."""
    with suppress(OSError):
        print(f"cvgg: error: {message}", file=sys.stderr)
    return code


def _drop(stream: TextIO) -> None:
    """What could not be written is not tried again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_missing() -> None:
    """Standard streams that are closed lead nowhere: the next file that is opened would get their
    number, and messages would be written into it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


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
