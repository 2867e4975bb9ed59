"""The other end of runners.py: what a program does for each line that comes in."""

import argparse
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from problems import Problem

LEAST_SECONDS = 0.02  # of the calls that are timed together


def arguments() -> argparse.ArgumentParser:
    """What every program of whole nets is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--work", choices=("forward", "forward+backward"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser


def take_turns(work: Callable[[], Any]) -> None:
    """Does `work` for each line, says how long it took and how much memory was used at most."""
    out = answers()
    for _ in sys.stdin:
        began, cpu_began = time.perf_counter(), time.process_time()
        work()
        said = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,  # of all threads
        }
        answer(out, said)


def solve_problems(make: Callable[[Problem], Callable[[], Any]]) -> None:
    """A line that is a problem: `make` gives the function to be timed, and it is found out how many
    calls take LEAST_SECONDS. Any other line: so many calls, seconds of one. A call before them is
    not timed: whoever had the turn before has left the caches full of its own."""
    out = answers()
    call, calls = None, 1
    for line in sys.stdin:
        if line.startswith("{"):
            call = None  # its arrays go before the next come
            gc.collect()
            call = make(Problem(**json.loads(line)))
            calls = calls_for(call)
            answer(out, {"calls": calls})
        else:
            assert call, "a problem comes first"
            call()
            answer(out, {"seconds": seconds_of(call, calls) / calls})


def calls_for(call: Callable[[], Any]) -> int:
    call()  # finds memory and code cold
    calls = 1
    while (seconds := seconds_of(call, calls)) < LEAST_SECONDS:
        calls = max(calls + 1, math.ceil(calls * min(100.0, 1.1 * LEAST_SECONDS / seconds)))
    return calls


def seconds_of(call: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - began


def answers() -> TextIO:
    """Where answers go. From now on what libraries print goes to stderr and is no answer."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def answer(out: TextIO, said: dict[str, Any]) -> None:
    out.write(json.dumps({"cpu_seconds": 0.0, "peak_mib": peak_mib(), **said}) + "\n")
    out.flush()


def peak_mib() -> float:
    """The largest resident set so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
