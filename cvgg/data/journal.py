"""The journal of a conversion: which one it is and how far it has come.

It lies beside the records and is written whole after each batch of them, so that a conversion that
was stopped can go on. Its last state is what cvgg.json says of the database.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cvgg.data.files import read_regular, write_whole
from cvgg.data.partial import FACTS, JOURNAL
from cvgg.errors import DataError

_LONG = {"source": "other images or labels", "classes": "other classes"}  # not shown by value


class Journal:
    """job: what is converted and how, as JSON has it; the same for each part of a conversion.

    counts: records of each label. kept: records with the file's own bytes. skipped: why, for each
    image that was left out.
    """

    def __init__(self, job: Mapping[str, object]) -> None:
        self.job = dict(job)
        self.counts: Counter[int] = Counter()
        self.kept = 0
        self.skipped: list[str] = []

    @property
    def records(self) -> int:
        return self.counts.total()

    @property
    def images(self) -> int:
        """Those that are done: each is a record or is skipped."""
        return self.records + len(self.skipped)

    def facts(self) -> dict[str, object]:
        """All of it, at least one record, in the form of cvgg.json."""
        return {
            "records": self.records,
            "largest_label": max(self.counts),
            "counts": {str(label): self.counts[label] for label in sorted(self.counts)},
            **self.job,
            "kept": self.kept,
            "skipped": self.skipped,
        }

    def write(self, folder: Path) -> None:
        """Replaces what was written before. Raises CannotCreateError or InputOutputError."""
        write_whole(folder / JOURNAL, [json.dumps(self.facts()).encode()])

    def take_over(self, folder: Path) -> bool:
        """Goes on from the journal in `folder`; False if there is none.

        DataError if it is another conversion's, or damaged.
        """
        # A conversion that was stopped just before its folder got the name has no journal any more.
        found = [folder / name for name in (JOURNAL, FACTS) if (folder / name).exists()]
        if not found:
            return False
        try:
            facts = json.loads(read_regular(found[0]))
            job = {name: facts[name] for name in self.job}
            counts = {int(label): int(count) for label, count in facts["counts"].items()}
            kept, skipped = int(facts["kept"]), [str(reason) for reason in facts["skipped"]]
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),  # a number too large, brackets too deep
        ) as fault:
            raise DataError(
                f"{found[0]}: damaged: remove {folder} and start from the beginning"
            ) from fault
        self._compare(job, folder)
        self.counts, self.kept, self.skipped = Counter(counts), kept, skipped
        return True

    def _compare(self, job: Mapping[str, object], folder: Path) -> None:
        others = [
            _LONG.get(name) or f"{name} {_shown(job[name])} there, {_shown(wanted)} now"
            for name, wanted in self.job.items()
            if job[name] != wanted
        ]
        if others:
            raise DataError(
                f"{folder}: left by another conversion: {', '.join(others)}: give the same source "
                "and options, or remove it"
            )


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)
