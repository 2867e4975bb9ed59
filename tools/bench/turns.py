"""The other end of bench_cpu.py: one pass for each line that comes in."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def arguments() -> argparse.ArgumentParser:
    """What every program is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--work", choices=("forward", "forward+backward"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser


def take_turns(work: Callable[[], None]) -> None:
    """Does `work` for each line, says how long it took and how much memory was used at most."""
    for _ in sys.stdin:
        began, cpu_began = time.perf_counter(), time.process_time()
        work()
        said = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,  # of all threads
            "peak_mib": peak_mib(),
        }
        print(json.dumps(said), flush=True)


def peak_mib() -> float:
    """The largest resident set so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
