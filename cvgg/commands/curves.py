"""Draws the curves of a training: loss, other outputs such as accuracy, and the rate."""

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from cvgg.commands.training_log import Curves, Series

TRAIN = "#1f77b4"
TEST = ("#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf")
FEW = 60  # points of a curve: each can be marked


def draw_curves(curves: Curves, title: str) -> Figure:
    """Up to three panels above each other with one axis of iterations."""
    outputs = _outputs(curves, losses=False)
    panels = [
        name
        for name, there in (
            ("loss", bool(curves.loss or _outputs(curves, losses=True))),
            ("outputs", bool(outputs)),
            ("rate", bool(curves.rate)),
        )
        if there
    ]
    heights = [1.4 if panel == "rate" else 3.0 for panel in panels]
    figure = Figure(figsize=(9, 1.2 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        {"loss": _draw_loss, "outputs": _draw_outputs, "rate": _draw_rate}[panel](axis, curves)
        axis.grid(alpha=0.25)
        axis.margins(x=0.02)
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.suptitle(_plain(f"{title}: {_last_words(curves)}"))
    return figure


def _outputs(curves: Curves, *, losses: bool) -> dict[str, dict[str, Series]]:
    """{"train": {name: series}, "test": ...}: the losses, or the other outputs."""
    chosen = {}
    for kind, named in (("train", curves.train), ("test", curves.test)):
        some = {
            name: series
            for name, series in named.items()
            if series and (name in curves.losses) == losses
        }
        if some:
            chosen[kind] = some
    return chosen


def _draw_loss(axis: Axes, curves: Curves) -> None:
    if curves.loss:
        marker = "." if len(curves.loss) <= FEW else ""
        axis.plot(
            *_points(curves.loss), marker=marker, color=TRAIN, linewidth=1.2, label="train loss"
        )
    _draw_tests(axis, _outputs(curves, losses=True).get("test", {}))
    axis.set_ylabel("loss")
    axis.legend(loc="upper right")


def _draw_outputs(axis: Axes, curves: Curves) -> None:
    outputs = _outputs(curves, losses=False)
    for name, series in outputs.get("train", {}).items():
        axis.plot(*_points(series), linewidth=0.8, alpha=0.6, label=_plain(f"train {name}"))
    _draw_tests(axis, outputs.get("test", {}))
    names = [name for named in outputs.values() for name in named]
    if all(name.startswith("accuracy") for name in names):
        axis.set_ylabel("accuracy")
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ylim(0, 1)
    else:
        axis.set_ylabel("outputs")
    axis.legend(loc="lower right")


def _draw_tests(axis: Axes, named: Mapping[str, Series]) -> None:
    for i, (name, series) in enumerate(named.items()):
        size = 5 if len(series) <= FEW else 2.5
        axis.plot(
            *_points(series),
            marker="o",
            markersize=size,
            linewidth=1.2,
            color=TEST[i % len(TEST)],
            label=_plain(f"test {name}"),
        )


def _draw_rate(axis: Axes, curves: Curves) -> None:
    axis.plot(*_points(curves.rate), color="black", linewidth=1.2, drawstyle="steps-post")
    if any(value > 0 for value in curves.rate.values()):
        axis.set_yscale("log")
    axis.set_ylabel("rate")


def _points(series: Series) -> tuple[list[int], list[float]]:
    """Iterations in order and values; what is not finite becomes a gap."""
    iters = sorted(series)
    return iters, [series[i] if math.isfinite(series[i]) else math.nan for i in iters]


def _last_words(curves: Curves) -> str:
    """ "1,000 iterations, accuracy 97.5%": the last value of each test output that is no loss."""
    words = [f"{curves.last:,} iterations"]
    for name, series in _outputs(curves, losses=False).get("test", {}).items():
        value = series[max(series)]
        digits = ".1%" if name.startswith("accuracy") else ".4g"
        words.append(f"{name} {value:{digits}}")
    return ", ".join(words[:4])


def _plain(text: str) -> str:
    """Dollars would start a formula."""
    return text.replace("$", r"\$")
