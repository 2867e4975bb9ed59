"""What a run has found so far: kept in a file as it goes, summed up at the end."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from cvgg.commands.table import table

LIMIT_S = 8 * 60  # of a subcommand
MOST_LINES = 40  # of a summary


class Records:
    """Results by section. The file is whole at any moment, whatever happens to the run."""

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any],
        clock: Callable[[], float] = monotonic,
        limit_s: float = LIMIT_S,
    ) -> None:
        """facts: the command and the card."""
        self.path, self._clock, self._limit_s = path, clock, limit_s
        self._start = clock()
        self.found: dict[str, Any] = {**facts, "finished": False}
        self.summary: list[str] = []
        self._write()

    def add(self, section: str, /, **row: Any) -> dict[str, Any]:
        """One result; it is in the file when this returns."""
        self.found.setdefault(section, []).append(row)
        self._write()
        return row

    def left_s(self) -> float:
        """Seconds until the run should end."""
        return self._limit_s - (self._clock() - self._start)

    def reached(self, section: str, name: str, needed_s: float = 0.0) -> bool:
        """Whether there is time to begin `name`, which takes needed_s; keeps those that must be
        left out."""
        if self.left_s() > needed_s:
            return True
        self.add("not_reached", section=section, name=name)
        return False

    def say(self, *lines: str) -> None:
        """Adds lines to the summary."""
        self.summary += [line for text in lines for line in text.splitlines()]

    def say_table(self, rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
        self.say(table(rows, left=left))

    def finish(self) -> str:
        """The summary, in MOST_LINES lines at most."""
        missing = [row["name"] for row in self.found.get("not_reached", [])]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            self.say(f"no time was left for {', '.join(missing[:3])}{more}")
        seconds = self._clock() - self._start
        last = f"{seconds:,.0f} s; all numbers: {self.path}"
        lines = self.summary
        if len(lines) >= MOST_LINES:
            cut = len(lines) - (MOST_LINES - 2)
            lines = [*lines[: MOST_LINES - 2], f"... {cut} more lines in the file"]
        self.found.update(finished=True, seconds=round(seconds, 3), summary=self.summary)
        self._write()
        return "\n".join([*lines, last])

    def _write(self) -> None:
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        os.replace(unfinished, self.path)
