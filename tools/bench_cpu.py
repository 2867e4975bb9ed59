"""How fast the CPU engine is beside its rivals: whole nets, layers one by one, images coming in.

    python tools/bench_cpu.py [--nets A,E] [--layers] [--loader] [--torch PYTHON] [--rivals PYTHON]
                              [--rounds 5] [--json FILE] [--from FILE] [--report FILE]

Each program runs in a process of its own, warmed up once; then all take turns, round by round, so
that whatever else the machine does meets all of them. Ratios are of medians. --torch names a Python
that has torch, --rivals one that has onnx, onnxruntime and OpenCV; what is not there is told as
missing, and cvgg runs without it. Peak memory is the kernel's VmHWM of each process. What is
measured goes to --json; --from adds what such files hold, so that parts can be measured at
different times; --report writes all of it in Markdown. With --from and no part nothing is run."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import layers, loader, vgg, whole
from bench.machine import machine, versions
from bench.parts import Part, command, load, save
from bench.report import report
from bench.runners import GoneError, Programs, Setting, start

Measure = Callable[[argparse.Namespace, Programs], Iterator[dict[str, Any]]]
Show = Callable[[dict[str, Any]], None]


def images(said: argparse.Namespace, programs: Programs) -> Iterator[dict[str, Any]]:
    """The loader's one result. Where torch is missing, the way `files` stacks by numpy."""
    if not programs.present([Setting("torch in the way 'files'", "torch")]):
        said = argparse.Namespace(**{**vars(said), "torch": None})
    yield loader.measure(said, start)


PARTS: dict[str, tuple[Measure, Show]] = {
    "nets": (whole.measure, whole.show),
    "layers": (layers.measure, layers.show),
    "loader": (images, loader.show),
}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", help="whole nets of the paper, by commas: A,E (default: A)")
    parser.add_argument("--batches", default="1,8", help="of whole nets (default: 1,8)")
    parser.add_argument("--layers", action="store_true", help="layers one by one")
    parser.add_argument("--only", default="", help="layers with this in their name")
    parser.add_argument("--loader", action="store_true", help="the ways of bench/loader.py")
    parser.add_argument("--photos", type=Path, help="of the loader: a folder of .jpg")
    parser.add_argument("--images", type=int, default=128, help="of the loader (default: 128)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--torch", help="a Python that has torch")
    parser.add_argument("--rivals", help="a Python that has onnx, onnxruntime and OpenCV")
    parser.add_argument("--json", type=Path, help="where all seconds go")
    parser.add_argument(
        "--from", type=Path, action="append", default=[], dest="sources", help="such a file"
    )
    parser.add_argument("--report", type=Path, help="where the tables go, in Markdown")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    parser = arguments()
    said = parser.parse_args(words)
    if not (said.nets or said.layers or said.loader or said.sources):
        said.nets = "A"
    check(parser, said)
    parts = [part for path in said.sources for part in load(path)]
    for kind in PARTS:
        if getattr(said, kind):
            parts.append(begun(kind, said, words))
            try:
                measure(parts, said)
            except GoneError as error:
                raise SystemExit(f"{kind}: {error}; nothing is compared without it") from None
    if said.json:
        save(said.json, parts)
    if said.report:
        try:
            said.report.write_text(report(parts))
        except OSError as error:
            raise SystemExit(f"{said.report}: {error.strerror}") from None
    return 0


def check(parser: argparse.ArgumentParser, said: argparse.Namespace) -> None:
    """Before anything takes its time."""
    for net in (said.nets or "").split(","):
        if net and net not in vgg.LAYERS:
            parser.error(f"--nets {said.nets}: {net} is none of {', '.join(vgg.LAYERS)}")
    if not all(each.isdecimal() and int(each) for each in said.batches.split(",")):
        parser.error(f"--batches {said.batches}: whole numbers above 0, by commas")
    for name in ("rounds", "threads", "images"):
        if getattr(said, name) < 1:
            parser.error(f"--{name} {getattr(said, name)}: at least 1")


def begun(kind: str, said: argparse.Namespace, words: Sequence[str]) -> Part:
    """A part with no results yet."""
    return {
        "kind": kind,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command(words),
        "rounds": said.rounds,
        "threads": said.threads,
        "machine": machine(),
        "versions": versions(),
        "missing": {},
        "results": [],
    }


def measure(parts: list[Part], said: argparse.Namespace) -> None:
    """Fills the last part; what is there is saved after each result."""
    part = parts[-1]
    pythons = {"torch": said.torch, "onnxruntime": said.rivals, "cv2": said.rivals}
    programs = Programs(pythons)
    run, show = PARTS[part["kind"]]
    own = part["versions"]
    for result in run(said, programs):
        show(result)
        part["results"].append(result)
        part["versions"] = own | programs.versions
        part["missing"] = programs.missing
        if said.json:
            save(said.json, parts)


if __name__ == "__main__":
    sys.exit(main())
