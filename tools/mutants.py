"""Do the tests notice a wrong kernel? Breaks kernels/cuda one place at a time: `make mutants`.

A mutant deletes a barrier or a wait, moves a comparison's border, or adds 1 to a whole number. The
emulator's tests of the file must fail on it: those of `make test`, or else those that only `make
test-all` runs, on other seeds. A wrong result, a report of the emulator, a crash and a kernel that
never ends all count. Outcomes go to a file as they come, so a run that was stopped goes on where it
was; `--again` repeats those that survived. What no test can see counts as a survivor too."""

import argparse
import hashlib
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mutation.attempt import DEAD, REFUSED, SURVIVED, UNSURE, Attempt, attempt, get_ready
from mutation.places import (
    COMPARISON,
    CONSTANT,
    FOLDER,
    ROOT,
    SYNCHRONISATION,
    Mutant,
    mutants,
    sources_of,
)

RESULTS = ROOT / "build" / "mutants.jsonl"
ENDS = SURVIVED, DEAD, REFUSED


class Campaign:
    """Runs mutants, keeps what became of them, tells how far it is."""

    def __init__(self, results: Path, processes: int) -> None:
        self.results, self.processes = results, processes
        self.limits: dict[tuple[str, ...], float] = {}
        self.done: dict[str, str] = {}  # key of a mutant: outcome
        if results.is_file():
            for line in results.read_text(encoding="utf-8").splitlines():
                said = json.loads(line)
                self.done[said["key"]] = said["outcome"]

    def run(self, wanted: Sequence[Mutant], *, again: bool) -> None:
        skipped = {DEAD, REFUSED} | (set() if again else {SURVIVED})
        left = [each for each in wanted if self.done.get(key(each)) not in skipped]
        for sources in dict.fromkeys(tuple(sources_of(each.file)) for each in left):
            self.limits[sources] = self._measure(sources)
        began, running, at = time.monotonic(), list[Attempt](), 0
        while at < len(left) or running:
            while at < len(left) and len(running) < self.processes:
                sources = tuple(sources_of(left[at].file))
                running.append(attempt(left[at], sources, self.limits[sources]))
                at += 1
            ended = [(each, end) for each in running if (end := each.outcome())]
            for each, (outcome, spent) in ended:
                running.remove(each)
                if outcome == UNSURE:
                    self._measure(each.sources)  # ends the run, if it was not the mutant
                    outcome = DEAD
                self._keep(each.mutant, outcome, spent)
                self._tell(at - len(running), len(left), time.monotonic() - began, each, outcome)
            if not ended:
                time.sleep(0.01)

    def _measure(self, sources: tuple[str, ...]) -> float:
        """Seconds that a mutant may take; the kernels as they are must pass."""
        for _ in range(2):  # once to fill the cache
            trial = attempt(None, sources, 600)
            while (end := trial.outcome()) is None:
                time.sleep(0.05)
            outcome, spent = end
        if outcome != SURVIVED:
            raise SystemExit(f"{' '.join(sources)}: {outcome} as they are; run their tests first")
        print(f"{' '.join(sources)}: {spent:.1f} s for those that survive", flush=True)
        return 5 + 2 * spent

    def _keep(self, mutant: Mutant | None, outcome: str, spent: float) -> None:
        assert mutant is not None
        self.done[key(mutant)] = outcome
        said = {"key": key(mutant), **asdict(mutant), "outcome": outcome, "s": round(spent, 2)}
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")

    def _tell(self, done: int, of: int, spent_s: float, each: Attempt, outcome: str) -> None:
        if outcome == SURVIVED or done % 25 == 0 or done == of:
            left = (of - done) * spent_s / done / 60
            rate = f"{60 * done / spent_s:.0f} a minute, {left:.1f} minutes left"
            print(f"{done}/{of}, {rate}: {each.mutant}  {outcome}", flush=True)

    def table(self, wanted: Sequence[Mutant]) -> str:
        """By file and kind, and those that survived."""
        counted = Counter((each.file, each.kind, self.done[key(each)]) for each in wanted)
        rows = [f"{'file':22}{'kind':18}{'mutants':>8}{REFUSED:>14}{DEAD:>6}{SURVIVED:>10}"]
        for file, kind in dict.fromkeys((each.file, each.kind) for each in wanted):
            rows.append(_row(file, kind, [counted[file, kind, end] for end in ENDS]))
        for kind in (SYNCHRONISATION, COMPARISON, CONSTANT):
            ends = [
                sum(n for (_, of, e), n in counted.items() if (of, e) == (kind, end))
                for end in ENDS
            ]
            rows.append(_row("all", kind, ends))
        rows += [str(each) for each in wanted if self.done[key(each)] == SURVIVED]
        return "\n".join(rows)


def _row(file: str, kind: str, ends: Sequence[int]) -> str:
    survived, dead, refused = ends
    share = f"{100 * dead / (dead + survived):7.1f} %" if dead + survived else ""
    return f"{file:22}{kind:18}{sum(ends):8}{refused:14}{dead:6}{survived:10}{share}"


def key(mutant: Mutant) -> str:
    """Of a mutant of this text of the file: an edited file is tried anew."""
    text = mutant.of((FOLDER / mutant.file).read_text(encoding="utf-8"))
    return hashlib.sha256(f"{mutant.name}\0{text}".encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--file", action="append", help="only this file of kernels/cuda")
    parser.add_argument("--kind", choices=(SYNCHRONISATION, COMPARISON, CONSTANT))
    parser.add_argument("--sample", type=int, help="so many, drawn")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--list", action="store_true", help="name them and stop")
    parser.add_argument("--again", action="store_true", help="try those again that survived")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON lines, added to")
    given = parser.parse_args()
    files = sorted(path for path in FOLDER.glob("*.cu*") if path.suffix in (".cu", ".cuh"))
    files = [each for each in files if not given.file or each.name in given.file]
    untested = [each.name for each in files if not sources_of(each.name)]
    if untested:
        raise SystemExit(f"mutation/places.py says no tests for {' '.join(untested)}")
    wanted = [each for file in files for each in mutants(file)]
    wanted = [each for each in wanted if given.kind in (None, each.kind)]
    if given.sample is not None and given.sample < len(wanted):
        chosen = set(random.Random(given.seed).sample(range(len(wanted)), given.sample))
        wanted = [each for i, each in enumerate(wanted) if i in chosen]
    if given.list:
        print("\n".join(map(str, wanted)))
        return
    # Not the user's cache: what the mutants leave there is removed.
    home = tempfile.mkdtemp()
    os.environ["XDG_CACHE_HOME"] = home
    given.results.parent.mkdir(parents=True, exist_ok=True)
    try:
        get_ready()
        campaign = Campaign(given.results, given.processes)
        campaign.run(wanted, again=given.again)
        print(campaign.table(wanted))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
