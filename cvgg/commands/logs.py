"""Where log lines go: standard error and files, in glog's form, which Caffe's tools read."""

import logging
import os
import sys
from datetime import datetime

from cvgg.errors import CannotCreateError

LETTERS = {"DEBUG": "I", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "F"}


class GlogFormatter(logging.Formatter):
    """ "I1125 08:01:53.123456  4242 solver.py:97] text"."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created)
        head = (
            f"{LETTERS[record.levelname]}{when:%m%d %H:%M:%S}.{when.microsecond:06d} "
            f"{os.getpid():5d} {record.filename}:{record.lineno}] "
        )
        return "\n".join(head + line for line in record.getMessage().splitlines())


class _ForgivingHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """A log that cannot be written (a full disk, a closed pipe) must not stop a training."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drops the line."""


def start(*, quiet: bool) -> logging.Logger:
    """The logger "cvgg", writing to standard error; with `quiet`, warnings only."""
    logger = logging.getLogger("cvgg")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = _ForgivingHandler(sys.stderr)
    handler.setFormatter(GlogFormatter())
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(handler)
    return logger


def add_file(path: str) -> logging.Handler:
    """Appends every line to `path` too. Raises CannotCreateError."""
    try:
        file = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    except OSError as fault:
        raise CannotCreateError(f"log file {path}: {fault.strerror}") from fault
    handler = _ForgivingHandler(file)
    handler.setFormatter(GlogFormatter())
    logging.getLogger("cvgg").addHandler(handler)
    return handler
