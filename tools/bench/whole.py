"""Whole nets: cvgg beside PyTorch and, forward alone, beside onnxruntime and OpenCV."""

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.runners import (
    HERE,
    OWN,
    TORCH,
    Programs,
    Setting,
    ask_all,
    closing,
    rounds,
    start,
)

COMPILE = Setting("torch compile", "torch", "compile")
FORWARD_ONLY = (Setting("onnxruntime", "onnxruntime"), Setting("opencv", "cv2"))
WORKS = ("forward", "forward+backward")
SCRIPTS = {
    "": "bench/run_cvgg.py",
    "torch": "bench/run_torch.py",
    "onnxruntime": "bench/run_onnx.py",
    "cv2": "bench/run_opencv.py",
}


def measure(said: argparse.Namespace, programs: Programs) -> Iterator[dict[str, Any]]:
    """A result for each net, batch and kind of work."""
    for net in said.nets.split(","):
        for batch in map(int, said.batches.split(",")):
            for work in WORKS:
                yield _measure_one(said, programs, net, batch, work)


def _measure_one(
    said: argparse.Namespace, programs: Programs, net: str, batch: int, work: str
) -> dict[str, Any]:
    settings = [Setting(OWN), *TORCH, COMPILE, *(FORWARD_ONLY if work == "forward" else ())]
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        present = programs.present(settings)
        if any(each in FORWARD_ONLY for each in present):
            present = _with_model(programs, present, net, batch, Path(place))
        job = ["--net", net, "--batch", str(batch), "--work", work]
        job += ["--threads", str(said.threads)]
        own = {"torch": ["--form"], "onnxruntime": ["--model"], "cv2": ["--model"]}
        with closing([]) as runners:
            for each in present:
                value = each.form or str(Path(place) / "net.onnx")
                words = [*job, *([*own[each.module], value] if each.module else [])]
                script, python = SCRIPTS[each.module], programs.python(each)
                runners.append(start(each.name, python, script, words, each.environment))
            ask_all(runners, "go", failed)  # finds memory and code cold
            rounds(runners, said.rounds, failed)
            seconds = {runner.name: runner.seconds for runner in runners}
            peaks = {runner.name: runner.peak_mib for runner in runners}
    about = {"net": net, "batch": batch, "work": work, "threads": said.threads}
    return {**about, "seconds": seconds, "peak_mib": peaks, "failed": failed}


def _with_model(
    programs: Programs, present: list[Setting], net: str, batch: int, place: Path
) -> list[Setting]:
    """Writes place/net.onnx; where that cannot be done, the settings that need none."""
    reading = [each for each in present if each in FORWARD_ONLY]
    words = ["--net", net, "--batch", str(batch), "--out", str(place / "net.onnx")]
    python = programs.python(reading[0])
    run = subprocess.run(
        [python, str(HERE / "bench/make_onnx.py"), *words], capture_output=True, text=True
    )
    if not run.returncode:
        return present
    for each in reading:
        last = "".join(run.stderr.strip().splitlines()[-1:])
        programs.miss(each.name, f"its model could not be written by {python}: {last}")
    return [each for each in present if each not in reading]


def show(result: dict[str, Any]) -> None:
    seconds, peaks = result["seconds"], result["peak_mib"]
    own = statistics.median(seconds[OWN])
    print(f"\nVGG-{result['net']}, batch {result['batch']}, {result['work']}")
    for name, each in seconds.items():
        median = statistics.median(each)
        print(
            f"  {name:22} {1000 * median:9.1f} ms (from {1000 * min(each):.1f} to "
            f"{1000 * max(each):.1f})  {median / own:5.2f} times cvgg's  {peaks[name]:7.0f} MiB",
            flush=True,
        )
