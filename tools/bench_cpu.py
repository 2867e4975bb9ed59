"""How fast the CPU engine is, beside PyTorch's: whole nets, one process each, taking turns.

    python tools/bench_cpu.py [--net A] [--batches 1,8] [--rounds 5] [--torch PYTHON]

Each program runs in a process of its own, warmed up once; then all take turns, round by round, so
that whatever else the machine does meets all of them. Ratios are of medians. --torch names a Python
that has torch; without it cvgg runs alone. Peak memory is the kernel's VmHWM of each process."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench import loader

HERE = Path(__file__).resolve().parent
# PyTorch gives large blocks back to the system after each use unless malloc is told otherwise.
LARGE_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
RIVALS = {
    "torch": ({}, "default"),
    "torch channels_last": ({}, "channels_last"),
    "torch large malloc": (LARGE_MALLOC, "default"),
}


@dataclass
class Runner:
    """A process that does one pass for each line it reads."""

    name: str
    process: "subprocess.Popen[str]"
    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    cpu_seconds: float = 0.0  # of the last turn, all threads

    def turn(self) -> float:
        """Seconds of one pass. Raises RuntimeError if the process has gone."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        said = json.loads(line)
        self.peak_mib, self.cpu_seconds = said["peak_mib"], said["cpu_seconds"]
        return float(said["seconds"])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="A", help="a net of the paper (default: A)")
    parser.add_argument("--batches", default="1,8", help="by commas (default: 1,8)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--torch", help="a Python that has torch")
    parser.add_argument("--json", type=Path, help="where all seconds go")
    parser.add_argument("--loader", action="store_true", help="time bench/loader.py's ways instead")
    parser.add_argument("--photos", type=Path, help="of the loader: a folder of .jpg")
    parser.add_argument("--images", type=int, default=128, help="of the loader (default: 128)")
    said = parser.parse_args()
    if said.loader:
        result = loader.measure(said, start)
        loader.show(result)
        if said.json:
            said.json.write_text(json.dumps(result, indent=1))
        return 0
    results = []
    for batch in map(int, said.batches.split(",")):
        for work in ("forward", "forward+backward"):
            results.append(measure(said, batch, work))
            show(results[-1])
            if said.json:
                said.json.write_text(json.dumps(results, indent=1))
    return 0


def measure(said: argparse.Namespace, batch: int, work: str) -> dict[str, object]:
    """All programs on one batch size and kind of work."""
    job = ["--net", said.net, "--batch", str(batch), "--work", work]
    job += ["--threads", str(said.threads)]
    runners = [start("cvgg", sys.executable, "bench/run_cvgg.py", job, {})]
    if said.torch:
        for name, (environment, form) in RIVALS.items():
            words = [*job, "--form", form]
            runners.append(start(name, said.torch, "bench/run_torch.py", words, environment))
    try:
        for runner in runners:
            runner.turn()  # finds memory and code cold
        for _ in range(said.rounds):
            for runner in runners:
                runner.seconds.append(runner.turn())
    finally:
        for runner in runners:
            runner.close()
    return {
        "net": said.net,
        "batch": batch,
        "work": work,
        "threads": said.threads,
        "seconds": {runner.name: runner.seconds for runner in runners},
        "peak_mib": {runner.name: runner.peak_mib for runner in runners},
    }


def start(
    name: str, python: str, script: str, words: list[str], environment: dict[str, str]
) -> Runner:
    process = subprocess.Popen(
        [python, str(HERE / script), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    return Runner(name, process)


def show(result: dict[str, object]) -> None:
    seconds, peaks = result["seconds"], result["peak_mib"]
    assert isinstance(seconds, dict)
    assert isinstance(peaks, dict)
    own = statistics.median(seconds["cvgg"])
    print(f"\nVGG-{result['net']}, batch {result['batch']}, {result['work']}")
    for name, each in seconds.items():
        median = statistics.median(each)
        print(
            f"  {name:22} {1000 * median:9.1f} ms (from {1000 * min(each):.1f} to "
            f"{1000 * max(each):.1f})  {median / own:5.2f} times cvgg's  {peaks[name]:7.0f} MiB"
        )


if __name__ == "__main__":
    sys.exit(main())
