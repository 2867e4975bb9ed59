"""The report in Markdown: a summary, what it was measured on, and a table of each part."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from bench.loader import HEIGHT, WAYS, WIDTH
from bench.parts import Part, merged, results
from bench.problems import GROUPS
from bench.runners import OWN, TORCH, best_torch, ratio
from bench.summary import rated, summary

HEAD = """\
# The CPU engine's speed

Made by `make bench` (tools/bench_cpu.py). Every program runs in a process of its own; all take
turns, round by round. Times are medians, with the lowest and the highest in brackets. A ratio is
the rival's median over cvgg's: above 1 cvgg is faster. "PyTorch" is the best of three settings: as
it comes, channels_last, and with malloc told to keep large blocks.
"""
TITLES = {"nets": "Whole nets", "layers": "Layers one by one", "loader": "The data pipeline"}
ABOUT = {
    "nets": """\
Images of 3x224x224, weights random; forward is the TEST phase. Peak memory is VmHWM, the largest
resident set of each process, the making of the net counted.""",
    "layers": """\
Weights are transformed in the call, workspaces made beforehand. A turn is as many calls as take
20 ms, after one that is not timed; all use the same arrays.""",
    "loader": f"""\
JPEGs of {WIDTH}x{HEIGHT}: short side to 256, the middle 224x224, less the mean, float32. `cvgg`,
`pillow` and `pillow box` read LMDB; `files` is a loader as PyTorch's users write it: Pillow,
threads and a file an image. The rate of one core counts the CPU time of all threads.""",
}

Result = dict[str, Any]


def report(parts: list[Part]) -> str:
    """The whole text."""
    parts = merged(parts)
    lines = [HEAD, "## Asked and found", "", *_summary(parts), ""]
    writers: dict[str, Callable[[list[Result]], list[str]]] = {
        "nets": _nets,
        "layers": _layers,
        "loader": _loader,
    }
    for kind, write in writers.items():
        lines += [f"## {TITLES[kind]}", "", ABOUT[kind], ""]
        own = [part for part in parts if part["kind"] == kind]
        for part in own:
            lines += _measured(part)
        lines += write(results(parts, kind)) if own else ["Not measured."]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _summary(parts: list[Part]) -> list[str]:
    rows = []
    for line in summary(parts):
        least = "a goal: at least 1" if line.least is None else f"at least {line.least:g}"
        found = "" if line.found is None else f"{line.found:.2f}"
        note = f" ({line.note})" if line.note else ""
        rows.append([line.what, least, found + note, line.verdict])
    return table(["what", "asked", "found", ""], rows)


def _measured(part: Part) -> list[str]:
    """When, where and how."""
    lines = [f"Measured {part['when']}, {part['rounds']} rounds, {part['threads']} threads:", ""]
    lines += [f"    {part['command']}", ""]
    said = [*part["machine"].items(), *part["versions"].items()]
    lines += [f"- {name}: {value}" for name, value in said]
    lines += [f"- missing: {name}: {reason}" for name, reason in part["missing"].items()]
    return [*lines, ""]


def milliseconds(seconds: Sequence[float] | None) -> str:
    """The median, the lowest and the highest; the shortest turns are told to a microsecond."""
    if not seconds:
        return "missing"
    median = 1000 * statistics.median(seconds)
    digits = 3 if median < 1 else 2 if median < 10 else 1
    low, high = (f"{1000 * each:.{digits}f}" for each in (min(seconds), max(seconds)))
    return f"{median:.{digits}f} ({low}–{high})"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _best(seconds: dict[str, list[float]]) -> list[str]:
    """PyTorch's best setting: its time, its name, the ratio."""
    best = best_torch(seconds)
    if best is None:
        return ["missing", "", ""]
    form = best.removeprefix("torch").strip() or "default"
    return [milliseconds(seconds[best]), form, _times(ratio(seconds, best))]


# ---- nets
def _nets(found: list[Result]) -> list[str]:
    rivals = ["torch compile", "onnxruntime", "opencv"]
    head = ["net, batch, work", "cvgg, ms", "PyTorch, ms", "its setting", "ratio"]
    head += [text for name in rivals for text in (f"{name}, ms", "ratio")]
    rows = []
    for each in found:
        seconds = each["seconds"]
        row = [_name(each), milliseconds(seconds[OWN]), *_best(seconds)]
        for name in rivals:
            if name in rivals[1:] and each["work"] != "forward":
                row += ["", ""]
            else:
                row += [milliseconds(seconds.get(name)), _times(ratio(seconds, name))]
        rows.append(row)
    lines = [*table(head, rows), "", "All settings of PyTorch, ms:", ""]
    settings = [setting.name for setting in TORCH]
    times = [
        [_name(each), *(milliseconds(each["seconds"].get(name)) for name in settings)]
        for each in found
    ]
    lines += [*table(["net, batch, work", *settings], times), "", "Peak memory, MiB:", ""]
    everyone = [OWN, *settings, *rivals]
    peaks = [
        [_name(each), *(_mib(each["peak_mib"].get(name)) for name in everyone)] for each in found
    ]
    return [*lines, *table(["net, batch, work", *everyone], peaks), *_failures(found)]


def _name(result: Result) -> str:
    return f"{result['net']}, {result['batch']}, {result['work']}"


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _failures(found: list[Result]) -> list[str]:
    """Rivals that ended before their time, each once."""
    said = {reason for each in found for reason in each["failed"].values()}
    return ["", *(f"- {reason}" for reason in sorted(said))] if said else []


# ---- layers
def _layers(found: list[Result]) -> list[str]:
    lines: list[str] = []
    for group, title in GROUPS.items():
        own = [each for each in found if each["group"] == group]
        if not own:
            continue
        head = ["layer, batch, pass", "cvgg, ms", "PyTorch, ms", "its setting", "ratio"]
        rows = [
            [each["label"], milliseconds(each["seconds"][OWN]), *_best(each["seconds"])]
            for each in own
        ]
        lines += [f"### {title}", "", *table(head, rows), "", *below_one(own, group), ""]
    return [*lines[:-1], *_failures(found)]


def below_one(found: list[Result], group: str) -> list[str]:
    """How many are slower than PyTorch, and which."""
    ratios = rated(found, group)
    if not ratios:
        return ["PyTorch did not run."]
    below = sorted(each for each in ratios if each[0] < 1)
    lines = [f"Below 1.0: {len(below)} of {len(ratios)}."]
    return lines + [f"- {label}: {value:.2f}" for value, label in below]


# ---- loader
def _loader(found: list[Result]) -> list[str]:
    lines: list[str] = []
    for each in found:
        cpu, clock, count = each["cpu_seconds"], each["seconds"], each["images"]
        lines += [f"{count} images, {each['source']}, {each['bytes'] / 1000:.0f} kB each.", ""]
        own = statistics.median(cpu[OWN])
        rows = []
        for way in WAYS:
            median = statistics.median(cpu[way])
            spread = f"{count / max(cpu[way]):.0f}–{count / min(cpu[way]):.0f}"
            rate = f"{count / median:.0f} ({spread})"
            by_clock = f"{count / statistics.median(clock[way]):.0f}"
            rows.append([way, rate, f"{median / own:.2f}", by_clock])
        head = ["way", "images a second and core", "ratio", "images a second, all threads"]
        lines += table(head, rows)
    return lines
