"""Subcommand check: is what the card computes right, and the same each time?"""

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import cvgg
from cvgg.engine import Engine, open_engine
from cvgg.kernels.cuda.table import KERNELS
from cvgg.netdef.prototxt import read_solver

from .blobs import blob_cases
from .case import Case, Host, difference
from .device import Card
from .flat import flat_cases
from .losses import loss_cases
from .norm import norm_cases
from .products import conv_cases, fc_cases, mask_cases
from .records import Records
from .scale import Scale, net_text, solver_text

SANITIZERS = ("memcheck", "racecheck", "synccheck")
SANITIZER_S = 60.0  # at least, for one of them
NET_S = 60.0  # that a whole net may take
NET_LIMIT = 1e-3  # where a ReLU or a maximum falls the other way by rounding
SHOWN = 12  # failures in the summary


def check(card: Card, scale: Scale, records: Records, sanitized: list[str] | None = None) -> bool:
    """Everything; whether all was right. sanitized: the command that compute-sanitizer runs."""
    results = [
        records.add("functions", **each.check(card))
        for each in cases(card, scale)
        if records.reached("functions", each.name)
    ]
    missing = sorted(KERNELS.keys() - card.launched)
    records.add("kernels", launched=sorted(card.launched), not_launched=missing)
    nets = [
        records.add("nets", **whole_step(card.engine, name, batch))
        for name, batch in scale.checked_nets
        if records.reached("nets", f"net {name}", needed_s=NET_S)
    ]
    reports = list(_sanitizers(sanitized, records)) if sanitized else []
    _sum_up(records, results, nets, reports, missing)
    return all(each["right"] for each in (*results, *nets, *reports))


def cases(card: Card, scale: Scale) -> Iterator[Case]:
    """Every function of the backend, on VGG's shapes where VGG calls it."""
    for conv in (*scale.convs, *scale.more_convs):
        yield from conv_cases(card, conv, scale)
        yield from mask_cases(card, conv, scale)
        gc.collect()  # the layer's arrays, before the next one's
    for fc in scale.fcs:
        yield from fc_cases(card, fc, scale)
    for group in (blob_cases, norm_cases, loss_cases, flat_cases):
        yield from group(card, scale)
        gc.collect()


# ---- whole nets


@dataclass(frozen=True)
class Stepped:
    """What one step of a net leaves."""

    loss: float
    gradients: dict[str, Host]  # by param
    params: dict[str, Host]
    same_bytes: bool  # in every pass


def whole_step(engine: Engine, name: str, batch: int, net: str = "") -> dict[str, Any]:
    """One step of net `name` on the card and on the CPU: the largest error of a param or of its
    gradient. net: its text, if it is none of the paper's."""
    text = solver_text(net or net_text(name, batch))
    # Three passes: as they come, while they are recorded, and from the recording.
    ours, right = _step(text, engine, passes=3), _step(text, open_engine("cpu"), passes=1)
    pairs = [
        (there[key], values)
        for there, here in ((ours.gradients, right.gradients), (ours.params, right.params))
        for key, values in here.items()
    ]
    error = max(difference(*pair) for pair in pairs)
    return {
        "name": f"net {name}, batch {batch}",
        "loss": ours.loss,
        "cpu_loss": right.loss,
        "error": float(f"{error:.3g}"),
        "limit": NET_LIMIT,
        "same_bytes": ours.same_bytes,
        "right": ours.same_bytes and error <= NET_LIMIT,
    }


def _step(text: str, engine: Engine, *, passes: int) -> Stepped:
    """`passes` passes over one batch, the last of them with its update."""
    solver = cvgg.Solver(read_solver(text), engine=engine)
    net = solver.net
    seen = []
    try:
        for _ in range(passes - 1):
            net.clear_param_diffs()
            net.run(0, draw=0, backward=True)
            seen.append(np.array(engine.copy_out(net.flat.diff)))
        solver.step(1)
        flat = np.array(engine.copy_out(net.flat.diff))
        learned = np.array(engine.copy_out(net.flat.learned))
        parts = {
            each.name: slice(each.offset, each.offset + each.size)
            for each in net.plan.params
            if each.learned
        }
        return Stepped(
            net.loss(),
            {name: flat[part] for name, part in parts.items()},
            {name: learned[part] for name, part in parts.items()},
            all(np.array_equal(each.view(np.uint32), flat.view(np.uint32)) for each in seen),
        )
    finally:
        solver.close()


# ---- compute-sanitizer


def _sanitizers(command: list[str], records: Records) -> Iterator[dict[str, Any]]:
    """Each tool over all functions on small shapes, in a process of its own."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        records.add("sanitizers", name="compute-sanitizer", right=None)
        return
    for tool in SANITIZERS:
        if records.reached("sanitizers", tool, needed_s=SANITIZER_S):
            yield records.add("sanitizers", **sanitize(program, tool, command, records.left_s()))


def sanitize(program: str, tool: str, command: list[str], limit_s: float) -> dict[str, Any]:
    """One tool's verdict."""
    whole = [program, "--tool", tool, "--error-exitcode", "9", *command]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(whole, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and the program that it runs
            return {"name": tool, "right": False, "said": f"not done after {limit_s:.0f} s"}
    lines = [line for line in out.splitlines() if line.startswith("=========")]
    said = lines[-1].strip("= ") if lines else err.strip()[-200:]
    return {"name": tool, "right": process.returncode == 0, "said": said, "lines": lines[:50]}


# ---- the summary


def _sum_up(
    records: Records,
    results: list[dict[str, Any]],
    nets: list[dict[str, Any]],
    reports: list[dict[str, Any]],
    missing: list[str],
) -> None:
    wrong = [each for each in results if not each["right"]]
    records.say(f"{len(results) - len(wrong)} of {len(results)} functions are right")
    for each in sorted(results, key=lambda each: each["error"] / (each["limit"] or 1))[-1:]:
        records.say(f"largest error against its limit: {_line(each)}")
    records.say(*(f"WRONG {_line(each)}" for each in wrong[:SHOWN]))
    if len(wrong) > SHOWN:
        records.say(f"WRONG and {len(wrong) - SHOWN} more")
    records.say(f"{len(KERNELS) - len(missing)} of {len(KERNELS)} kernels were launched")
    if missing:
        records.say(f"not launched: {', '.join(missing[:8])}{' ...' * (len(missing) > 8)}")
    records.say(*(f"{'right' if each['right'] else 'WRONG'} {_line(each)}" for each in nets))
    for each in reports:
        records.say(f"{'right' if each['right'] else 'WRONG'} {each['name']}: {each['said']}")
    if not reports:
        records.say("compute-sanitizer was not run: it is not on the PATH, or no time was left")


def _line(result: dict[str, Any]) -> str:
    parts = [f"{result['name']}: {result['error']:.2g} of {result['limit']:.0e}"]
    parts += ["another result the second time"] * (not result["same_bytes"])
    parts += ["not finite"] * (not result.get("finite", True))
    return ", ".join(parts)
