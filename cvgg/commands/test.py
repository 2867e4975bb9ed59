"""cvgg test: measures a trained net on its test data."""

import argparse
import json
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cvgg.commands import arguments, logs
from cvgg.commands.table import table
from cvgg.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from cvgg.net import Net, Outputs

log = logging.getLogger("cvgg")

EXAMPLE = """example:
  cvgg test --model prototxt/train_val_D.prototxt --weights vgg_D_iter_370000.caffemodel \\
      --iterations 1000"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg test`."""
    parser = commands.add_parser(
        "test",
        help="measure a trained net on its test data",
        description="Runs a net's TEST phase and gives the mean of each output over all batches.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NET", help="the net's prototxt")
    add(
        "--weights",
        required=True,
        type=arguments.names,
        metavar="F,G",
        help="the .caffemodel files that its params come from",
    )
    add(
        "--iterations",
        type=arguments.positive,
        default=50,
        metavar="N",
        help="batches to run (default: 50)",
    )
    add("--json", action="store_true", help="print the result as JSON")
    add("--quiet", action="store_true", help="warnings only on standard error")
    arguments.add_engine(parser)
    arguments.add_rules(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tests and prints the means."""
    from cvgg.net import Net
    from cvgg.netdef.caffe_pb2 import TEST
    from cvgg.solver import SHARE_OF_FREE

    logs.start(quiet=args.quiet)
    engine = arguments.engine_of(args)
    net = Net(
        args.model,
        TEST,
        engine=engine,
        level=args.level or 0,
        stages=args.stage,
        backward=False,
        keep=False,
        memory=args.memory or int(SHARE_OF_FREE * engine.memory_free()),
        seed=1,
    )
    try:
        if net.inputs:
            raise UsageError(
                f"{args.model}: its data comes from Input layers ({', '.join(net.inputs)}), so "
                "there is nothing to test on; give the train_val net, or use cvgg predict"
            )
        for path in args.weights:
            net.copy_from(path)
        means, loss = _measure(net, args.iterations)
    finally:
        net.close()
    images = (net.batch or 0) * args.iterations
    if args.json:
        print(json.dumps({"images": images, "loss": loss, "outputs": means}))
    else:
        count = f", {images:,} images" if images else ""
        rows = [("output", f"mean of {args.iterations:,} batches{count}")]
        print(table(rows + [(name, f"{value:.6g}") for name, value in means.items()]))
    return 0


def _measure(net: "Net", iterations: int) -> tuple[dict[str, float], float]:
    """The mean of each value of the outputs, and of the loss. Logs what `caffe test` logs."""
    log.info("Running for %d iterations.", iterations)
    sums: dict[str, float] = {}
    loss = 0.0
    for number in range(iterations):
        values = _named(net.run(number, draw=number, backward=False))
        if not math.isfinite(net.loss()):
            where = net.find_nonfinite(number, draw=number)
            raise TrainingError(
                f"batch {number}: the loss is {net.loss():g}; first seen in {where or 'the loss'}"
            )
        loss += net.loss()
        for name, value in values.items():
            log.info("Batch %d, %s = %.6g", number, name, value)
            sums[name] = sums.get(name, 0.0) + value
    means = {name: value / iterations for name, value in sums.items()}
    log.info("Loss: %.6g", loss / iterations)
    for name, value in means.items():
        log.info("%s = %.6g%s", name, value, _weighted(name, value, net.plan.loss_weights))
    return means, loss / iterations


def _named(outputs: "Outputs") -> dict[str, float]:
    """{name: value}, with [i] behind the name of an output of several values."""
    values: dict[str, float] = {}
    for name, array in outputs.items():
        flat: list[Any] = array.ravel().tolist()
        names = [f"{name}[{i}]" for i in range(len(flat))] if len(flat) > 1 else [name]
        values.update(zip(names, map(float, flat), strict=True))
    return values


def _weighted(name: str, value: float, weights: Mapping[str, float]) -> str:
    weight = weights.get(name.partition("[")[0], 0.0)
    return f" (* {weight:g} = {weight * value:.6g} loss)" if weight else ""
