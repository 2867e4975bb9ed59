"""Layers one by one: cvgg's kernels beside PyTorch's, problem by problem and round by round.

One process for cvgg and one for each setting of PyTorch; each makes the same problem, with arrays
of its own, and then all take turns. A turn is as many calls as take 20 ms, and one before them that
is not timed; all calls of a problem use the same arrays."""

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bench.problems import Problem, problems
from bench.runners import (
    OWN,
    TORCH,
    Programs,
    Runner,
    Setting,
    ask_all,
    best_torch,
    closing,
    ratio,
    rounds,
    start,
)

SCRIPTS = {"": "bench/run_layers_cvgg.py", "torch": "bench/run_layers_torch.py"}


def measure(said: argparse.Namespace, programs: Programs) -> Iterator[dict[str, Any]]:
    """A result for each problem whose label has --only in it."""
    wanted = problems(said.only)
    if not wanted:
        raise SystemExit(f"--only {said.only}: no layer is called so")
    failed: dict[str, str] = {}
    with closing([]) as runners:
        for each in programs.present([Setting(OWN), *TORCH]):
            words = [str(said.threads), *([each.form] if each.form else [])]
            script, python = SCRIPTS[each.module], programs.python(each)
            runners.append(start(each.name, python, script, words, each.environment))
        for problem in wanted:
            yield _measure_one(problem, said.rounds, runners, failed)


def _measure_one(
    problem: Problem, count: int, runners: list[Runner], failed: dict[str, str]
) -> dict[str, Any]:
    said = ask_all(runners, json.dumps(asdict(problem)), failed)
    for runner in runners:
        runner.seconds = []
    rounds(runners, count, failed)
    return {
        "label": problem.label,
        "group": problem.group,
        "calls": {name: each["calls"] for name, each in said.items()},
        "seconds": {runner.name: runner.seconds for runner in runners},
        "failed": dict(failed),
    }


def show(result: dict[str, Any]) -> None:
    seconds = result["seconds"]
    line = f"{result['label']:55} cvgg {1000 * statistics.median(seconds[OWN]):9.3f} ms"
    if best := best_torch(seconds):
        median = 1000 * statistics.median(seconds[best])
        line += f"  {best:19} {median:9.3f} ms  {ratio(seconds, best):6.2f} times cvgg's"
    print(line, flush=True)
