"""How far a long command is: a line that changes on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

_log = logging.getLogger("cvgg")

_TERMINAL_S = 0.2  # seconds between two states of the line
_LOG_S = 30.0  # seconds between two lines of a log


class Progress:
    """Shows done and total, the rate and the time left; call it as progress(done, total).

    what: the counted things, as "images". stream: where a terminal's line goes; if it is no
    terminal the lines go to the logger, the last one too. total 0 means that it is not known.
    As a context manager it ends the line, so that what follows starts at a line of its own.
    """

    def __init__(
        self,
        what: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._live = self._stream.isatty()
        self._start = self._shown = clock()
        self._width = 0
        self._first = 0

    def begin(self, done: int) -> None:
        """So many were done before: they count, but not for the rate."""
        self._first = done

    def __call__(self, done: int, total: int = 0) -> None:
        now = self._clock()
        if now - self._shown < (_TERMINAL_S if self._live else _LOG_S) and done != total:
            return
        self._shown = now
        text = describe(self._what, done, total, now - self._start, first=self._first)
        if not self._live:
            _log.info("%s", text)
            return
        # Blanks wipe what a longer line left; no escape codes, so that any terminal shows it.
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0


def describe(what: str, done: int, total: int, seconds: float, *, first: int = 0) -> str:
    """ "250 of 1000 images, 125/s, 0:06 left" after so many seconds, begun at `first`."""
    rate = (done - first) / seconds if seconds > 0 else 0.0
    text = f"{done} of {total} {what}" if total else f"{done} {what}"
    if rate:
        text += f", {rate:.{0 if rate >= 10 else 1}f}/s"
    if rate and done < total:
        text += f", {duration((total - done) / rate)} left"
    elif done == total:
        text += f" in {duration(seconds)}"
    return text


def duration(seconds: float) -> str:
    """ "0:06", "12:40", "3:07:09": minutes and seconds, hours in front if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
