"""What is asked of cvgg beside its rivals, and what was found."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.parts import Part, results
from bench.problems import problems
from bench.runners import OWN, TORCH, best_torch, ratio
from bench.whole import WORKS

PEAK_NETS, PEAK_BATCHES = ("A", "E"), (1, 8, 32)  # whose peak memory is asked for


@dataclass(frozen=True)
class Line:
    """One thing asked. `least`: what the ratio must reach; None: a goal. `found` None: nothing was
    measured. `measured` of `asked` measurements are there."""

    what: str
    least: float | None
    found: float | None
    note: str = ""
    measured: int = 1
    asked: int = 1

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        least = 1.0 if self.least is None else self.least
        held = self.found >= least
        if held and self.measured < self.asked:
            return f"{self.measured} of {self.asked} measured"
        if self.least is None:
            return "reached" if held else "not reached"
        return "held" if held else "missed"


def summary(parts: list[Part]) -> list[Line]:
    """Every line of the summary, in order."""
    nets, layers = results(parts, "nets"), results(parts, "layers")
    asked = ((8, "forward+backward", 2.3), (8, "forward", 2.6), (1, "forward", 2.0))
    lines = []
    for batch, work, least in asked:
        found = _net_ratio(nets, batch, work, compiled=False)
        lines.append(Line(f"VGG-A, batch {batch}, {work}: PyTorch's time / cvgg's", least, found))
    lines.append(_peak(nets))
    lines.append(_lowest("every 3x3 layer of the nets, each pass", layers, "3x3"))
    lines.append(_lowest("1x1, 5x5, strided, grouped, depthwise", layers, "convolution"))
    lines.append(_loader(results(parts, "loader")))
    for batch, work, _ in asked:
        found = _net_ratio(nets, batch, work, compiled=True)
        lines.append(Line(f"VGG-A, batch {batch}, {work}: torch.compile's / cvgg's", None, found))
    return lines


def _net_ratio(
    nets: Iterable[dict[str, Any]], batch: int, work: str, *, compiled: bool
) -> float | None:
    for each in nets:
        if (each["net"], each["batch"], each["work"]) == ("A", batch, work):
            seconds = each["seconds"]
            return ratio(seconds, "torch compile" if compiled else best_torch(seconds))
    return None


def _peak(nets: Iterable[dict[str, Any]]) -> Line:
    """The worst of all nets, against the setting of PyTorch that used least."""
    found, asked = [], {(net, *rest) for net in PEAK_NETS for rest in product(PEAK_BATCHES, WORKS)}
    for each in nets:
        asked.add((each["net"], each["batch"], each["work"]))
        peaks = each["peak_mib"]
        rivals = [peaks[setting.name] for setting in TORCH if setting.name in peaks]
        if rivals:
            name = f"VGG-{each['net']}, batch {each['batch']}, {each['work']}"
            found.append((min(rivals) / peaks[OWN], name))
    value, name = min(found, default=(None, ""))
    what = "peak memory: PyTorch's least / cvgg's, each net"
    return Line(what, 1.0, value, name, len(found), len(asked))


def _lowest(what: str, layers: Iterable[dict[str, Any]], group: str) -> Line:
    found = rated(layers, group)
    value, label = min(found, default=(None, ""))
    asked = sum(each.group == group for each in problems())
    return Line(f"{what}: the lowest ratio", 1.0, value, label, len(found), asked)


def rated(layers: Iterable[dict[str, Any]], group: str) -> list[tuple[float, str]]:
    """Ratio to the best of PyTorch, and label, of each layer that has one."""
    found = []
    for each in layers:
        value = ratio(each["seconds"], best_torch(each["seconds"]))
        if each["group"] == group and value is not None:
            found.append((value, each["label"]))
    return found


def _loader(loaders: list[dict[str, Any]]) -> Line:
    what = "images a second and core, against the same steps by Pillow"
    if not loaders:
        return Line(what, 1.3, None)
    cpu = loaders[0]["cpu_seconds"]
    return Line(what, 1.3, statistics.median(cpu["pillow"]) / statistics.median(cpu[OWN]))
