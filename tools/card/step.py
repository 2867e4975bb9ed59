"""Subcommand step: a whole training step of VGG nets, beside torch, eager and compiled."""

import gc
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import cvgg
from cvgg.netdef.prototxt import read_solver

from .device import Card
from .records import Records
from .scale import Scale, net_text, solver_text
from .timing import spread
from .torch_side import Torch

COLUMNS = {  # widths of the convolutions of each block: table 1 of the paper
    "A": ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    "E": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
WARM = 3  # steps that do not count: kernels compile, the graph is recorded
NET_S, COMPILE_S = 60.0, 100.0  # that a net may take, and torch.compile


def step(card: Card, scale: Scale, records: Records, torch: Torch | None) -> None:
    """Times every net and batch."""
    for name, batch in scale.timed_nets:
        if records.reached("steps", f"net {name}, batch {batch}", needed_s=NET_S):
            row: dict[str, Any] = {"name": name, "batch": batch}
            net = net_text(name, batch, quick=True)
            row["ours"] = _attempt(partial(ours, card, net, scale.iterations))
            if torch is not None:
                measure = partial(theirs, torch, name, batch, scale.iterations)
                row["eager"] = _attempt(partial(measure, compiled=False))
                torch.forget()
                if records.left_s() > COMPILE_S:
                    row["compiled"] = _attempt(partial(measure, compiled=True))
                    torch.forget()
            records.add("steps", **row)
    _sum_up(records)


def ours(card: Card, net: str, iterations: int) -> dict[str, Any]:
    """Milliseconds of an iteration of our solver: forward, backward, update."""
    solver = cvgg.Solver(read_solver(solver_text(net)), engine=card.engine)
    try:

        def once() -> None:
            solver.step(1)
            card.engine.synchronize()

        times = _measure(once, iterations)
        return {**times, "micro_batches": len(solver.net.micro_batches)}
    finally:
        solver.close()


def theirs(
    torch: Torch, name: str, batch: int, iterations: int, *, compiled: bool
) -> dict[str, Any]:
    """The same of torch's."""
    work = torch.step(COLUMNS[name], batch, compiled=compiled)
    return _measure(work, iterations)


def _measure(once: Callable[[], Any], iterations: int) -> dict[str, float]:
    for _ in range(WARM):
        once()
    times = []
    for _ in range(iterations):
        start = perf_counter()
        once()
        times.append(1000 * (perf_counter() - start))
    return spread(times)


def _attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, or why it was not: a net that does not fit must not end the run."""
    try:
        return measure()
    except (cvgg.Error, RuntimeError) as error:
        return {"failed": (str(error).strip() or type(error).__name__).splitlines()[0]}
    finally:
        gc.collect()


# ---- the summary


def _sum_up(records: Records) -> None:
    rows = [["net", "batch", "ms", "images/s", "torch eager, ms", "compiled, ms", "ratios"]]
    for row in records.found.get("steps", []):
        ms, eager, compiled = (row.get(key, {}).get("ms") for key in ("ours", "eager", "compiled"))
        ratios = [f"{other / ms:.2f}" for other in (eager, compiled) if other and ms]
        rows.append(
            [
                row["name"],
                str(row["batch"]),
                f"{ms:.1f}" if ms else "failed",
                f"{1000 * row['batch'] / ms:.0f}" if ms else "",
                f"{eager:.1f}" if eager else "",
                f"{compiled:.1f}" if compiled else "",
                " ".join(ratios),
            ]
        )
    records.say_table(rows, left=1)
    for row in records.found.get("steps", []):
        for key in ("ours", "eager", "compiled"):
            if "failed" in row.get(key, {}):
                records.say(f"{row['name']}, batch {row['batch']}, {key}: {row[key]['failed']}")
