"""cvgg time: how long each layer takes, forward and backward."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cvgg.commands import arguments, logs
from cvgg.commands.progress import Progress
from cvgg.commands.table import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cvgg.binding import Binding
    from cvgg.engine import Engine
    from cvgg.net import Net

EXAMPLE = """example:
  cvgg time --model prototxt/deploy_D.prototxt --phase TEST --iterations 10

A net with a data layer needs its database; one with Input layers is given random numbers."""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg time`."""
    parser = commands.add_parser(
        "time",
        help="time each layer, forward and backward",
        description="Medians of the time that each layer takes, forward and, in phase TRAIN, "
        "backward.\nOne more pass runs first and does not count.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NET", help="the net's prototxt")
    add(
        "--iterations",
        type=arguments.positive,
        default=50,
        metavar="N",
        help="batches to time (default: 50)",
    )
    add(
        "--phase",
        type=str.upper,
        choices=("TRAIN", "TEST"),
        default="TRAIN",
        help="TEST: forward only, as a test net runs (default: TRAIN)",
    )
    add("--json", action="store_true", help="print the result as JSON")
    add("--quiet", action="store_true", help="warnings only on standard error")
    arguments.add_engine(parser)
    arguments.add_rules(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Seconds:
    """What was measured: forward and backward (iterations, steps), load (iterations,); the passes
    of micro-batches are summed."""

    load: "NDArray[Any]"
    forward: "NDArray[Any]"
    backward: "NDArray[Any]"


@dataclass(frozen=True)
class Row:
    """Medians of one layer, in milliseconds."""

    name: str
    type: str
    forward_ms: float
    backward_ms: float


def run(args: argparse.Namespace) -> int:
    """Times and prints the medians."""
    from cvgg.net import Net
    from cvgg.netdef.caffe_pb2 import TEST, TRAIN
    from cvgg.solver import SHARE_OF_FREE

    logs.start(quiet=args.quiet)
    engine = arguments.engine_of(args)
    train = args.phase == "TRAIN"
    net = Net(
        args.model,
        TRAIN if train else TEST,
        engine=engine,
        level=args.level or 0,
        stages=args.stage,
        backward=train,
        keep=False,
        memory=args.memory or int(SHARE_OF_FREE * engine.memory_free()),
        seed=1,
    )
    try:
        seconds = _measure(net, args.iterations)
    finally:
        net.close()
    result = _result(net, seconds)
    if args.json:
        shown = {**result, "layers": [asdict(row) for row in result["layers"]]}
        print(json.dumps({"phase": args.phase, "iterations": args.iterations, **shown}))
    else:
        _show(result)
    return 0


def _measure(net: "Net", iterations: int) -> Seconds:
    """Times `iterations` batches, and one before them that does not count: it finds memory and code
    cold."""
    import numpy as np

    steps = len(net.plan.steps)
    seconds = Seconds(
        np.zeros(iterations), np.zeros((iterations, steps)), np.zeros((iterations, steps))
    )
    cold = Seconds(np.zeros(1), np.zeros((1, steps)), np.zeros((1, steps)))
    random = np.random.default_rng(1)
    values = {
        name: random.standard_normal(net.plan.blobs[net.plan.names[name]].shape, np.float32)
        for name in net.inputs
    }
    with Progress("iterations") as progress:
        _iteration(net, 0, values, cold, 0)
        for number in range(iterations):
            _iteration(net, number + 1, values, seconds, number)
            progress(number + 1, iterations)
    return seconds


def _iteration(
    net: "Net", batch: int, values: Mapping[str, "NDArray[Any]"], seconds: Seconds, row: int
) -> None:
    """Batch number `batch` through the net, in as many passes as memory asks for."""
    from cvgg.layers.base import Pass
    from cvgg.plan.micro import offsets

    engine = net.engine
    net.clear_param_diffs()
    for first, images in zip(offsets(net.micro_batches), net.micro_batches, strict=True):
        this = Pass(batch, batch, first, images)
        start = perf_counter()
        binding = net.prepare(this)
        engine.synchronize()
        seconds.load[row] += perf_counter() - start
        for name, array in values.items():
            engine.copy_in(binding.blobs[binding.plan.names[name]].data, array)
        _run(binding, engine, seconds.forward[row], seconds.backward[row])


def _run(
    binding: "Binding", engine: "Engine", forward: "NDArray[Any]", backward: "NDArray[Any]"
) -> None:
    """One pass; adds the seconds of each step to `forward` and `backward`. The engine's own clock
    takes the times, so that nobody waits between two steps."""
    kernels = engine.kernels
    marks = [engine.mark()]
    for call in binding.calls:
        call.step.layer.forward(kernels, call.bottoms, call.tops, call.own)
        marks.append(engine.mark())
    binding.fill_diffs(engine)
    back = [i for i, call in reversed(list(enumerate(binding.calls))) if call.step.backward]
    back_marks = [engine.mark()]
    for call in (binding.calls[i] for i in back):
        call.step.layer.backward(
            kernels, call.tops, call.step.propagate_down, call.bottoms, call.own
        )
        back_marks.append(engine.mark())
    for i, (first, last) in enumerate(pairwise(marks)):
        forward[i] += engine.seconds(first, last)
    for i, (first, last) in zip(back, pairwise(back_marks), strict=True):
        backward[i] += engine.seconds(first, last)


def _result(net: "Net", seconds: Seconds) -> dict[str, Any]:
    """Medians over the iterations. A total is the median of sums, not the sum of medians."""
    import numpy as np

    forward, backward = (
        1000 * np.median(part, axis=0) for part in (seconds.forward, seconds.backward)
    )
    whole = np.median((seconds.forward + seconds.backward).sum(axis=1))
    batch = net.batch or _first_axis(net)
    return {
        "engine": net.engine.name,
        "threads": net.engine.threads,
        "batch": batch,
        "micro_batches": len(net.micro_batches),
        "layers": [
            Row("+".join(node.name for node in step.nodes), step.layer.type, *map(_rounded, times))
            for step, *times in zip(net.plan.steps, forward, backward, strict=True)
        ],
        "forward_ms": _rounded(1000 * np.median(seconds.forward.sum(axis=1))),
        "backward_ms": _rounded(1000 * np.median(seconds.backward.sum(axis=1))),
        "load_ms": _rounded(1000 * np.median(seconds.load)),
        "images_per_s": _rounded(batch / whole),
    }


def _rounded(number: float) -> float:
    """A clock has no more digits than these."""
    return round(float(number), 4)


def _first_axis(net: "Net") -> int:
    """Images of a batch of a net whose source layers do not say."""
    shape = net.plan.blobs[net.plan.steps[0].tops[0]].shape
    return shape[0] if shape else 1


def _show(result: Mapping[str, Any]) -> None:
    rows: Sequence[Row] = (
        *result["layers"],
        Row("total", "", result["forward_ms"], result["backward_ms"]),
    )
    cells = [["layer", "type", "forward, ms", "backward, ms"]]
    cells += [[r.name, r.type, f"{r.forward_ms:,.3f}", f"{r.backward_ms:,.3f}"] for r in rows]
    if not result["backward_ms"]:
        cells = [row[:3] for row in cells]
    print(table(cells, left=2))
    parts = f", in {result['micro_batches']} micro-batches" if result["micro_batches"] > 1 else ""
    print(
        f"\n{result['images_per_s']:,.1f} images/s, batch {result['batch']:,}{parts}; "
        f"{result['load_ms']:,.3f} ms more to bring a batch's data in"
    )
