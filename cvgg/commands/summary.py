"""cvgg summary: shapes, params, multiply-adds and memory of a net, with nothing allocated."""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cvgg.commands import logs
from cvgg.commands.arguments import add_rules, positive
from cvgg.commands.table import table
from cvgg.errors import UsageError

if TYPE_CHECKING:
    from cvgg.commands.survey import Choice, Row, Survey

EXAMPLE = """examples:
  cvgg summary prototxt/train_val_D.prototxt
  cvgg summary prototxt/solver_D.prototxt --batch 64

The database need not be there if the net has a crop_size."""

MEMORY = ("params", "gradients", "history", "blobs", "workspace", "lasting")

# A line that only a solver has: no net and no layer has a field of such a name.
_SOLVER = re.compile(
    r"^\s*(net|train_net|net_param|train_net_param|base_lr|lr_policy|max_iter)\s*[:{]", re.MULTILINE
)


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg summary`."""
    parser = commands.add_parser(
        "summary",
        help="shapes, params, MACs and memory of a net, with nothing allocated",
        description="Shapes, params, multiply-adds (MACs: of one image, forward) and memory of a "
        "net,\nwith nothing allocated.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("net", metavar="NET", help="the prototxt of a net or of a solver")
    parser.add_argument(
        "--phase",
        type=str.lower,
        choices=("train", "test", "both"),
        default="both",
        help="default: both; a net that has one phase only needs its name here",
    )
    parser.add_argument(
        "--batch", type=positive, metavar="N", help="images of a batch, whatever the net says"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_rules(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the summary."""
    from cvgg.commands.survey import survey
    from cvgg.engine import open_engine

    logs.start(quiet=False)
    traits = open_engine("cpu").traits
    surveys = [survey(choice, traits, args.batch) for choice in _choices(args)]
    if len(surveys) > 1 and not surveys[0].trained:
        del surveys[0]  # a net without a loss, such as a deploy net, is not trained
    if args.json:
        result = {"file": args.net, "phases": [_facts(each) for each in surveys]}
        print(json.dumps(result))
        return 0
    print(f"{surveys[0].net or 'a net without a name'} ({args.net})\n")
    print(_layers(surveys))
    print(f"\n{_totals(surveys[0])}\n")
    print(_memory(surveys))
    return 0


def _choices(args: argparse.Namespace) -> "list[Choice]":
    """The nets to describe: one net in its phases, or those of a solver."""
    from cvgg.commands.survey import PHASES, Choice
    from cvgg.netdef.prototxt import read_net, read_solver
    from cvgg.solver.settings import find_nets

    wanted = [phase for phase in PHASES if args.phase in (phase.lower(), "both")]
    if not _is_solver(args.net):
        net = read_net(args.net)
        return [Choice(phase, net, args.level or 0, args.stage) for phase in wanted]
    nets = find_nets(read_solver(args.net))
    level = nets.train.level if args.level is None else args.level
    choices = [Choice("TRAIN", nets.train.netdef, level, (*nets.train.stages, *args.stage))]
    choices += [Choice("TEST", each.netdef, each.level, each.stages) for each in nets.test]
    chosen = [choice for choice in choices if choice.phase in wanted]
    if not chosen:
        raise UsageError(f"--phase test: the solver {args.net} has no test net")
    return chosen


def _is_solver(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return bool(_SOLVER.search(file.read(1 << 20)))
    except OSError:
        return False  # read_net says what is wrong with it


def _merged(surveys: "Sequence[Survey]") -> "list[tuple[str, Row]]":
    """The layers of all surveys in order, those that are alike once: ("" or the phase, layer)."""
    rows: list[tuple[set[str], Row]] = []
    for survey in surveys:
        new: list[tuple[set[str], Row]] = []  # they go in front of the next layer that is alike
        for row in survey.rows:
            same = next((i for i, (_, other) in enumerate(rows) if other.key == row.key), None)
            if same is None:
                new.append(({survey.phase}, row))
                continue
            rows[same][0].add(survey.phase)
            rows[same:same] = new
            new = []
        rows += new
    phases = {survey.phase for survey in surveys}
    return [("" if had == phases else min(had), row) for had, row in rows]


def _layers(surveys: "Sequence[Survey]") -> str:
    merged = _merged(surveys)
    cells = [["layer", "type", "phase", "top", "params", "MACs"]]
    for phase, row in merged:
        params = "shared" if row.shared else f"{row.params:,}" if row.params else ""
        tops = ", ".join(" x ".join(map(str, shape)) or "scalar" for shape in row.tops.values())
        cells.append([row.name, row.type, phase, tops, params, f"{row.macs:,}" if row.macs else ""])
    if not any(phase for phase, _ in merged):
        cells = [[*row[:2], *row[3:]] for row in cells]
    return table(cells, left=len(cells[0]) - 2)


def _totals(survey: "Survey") -> str:
    fixed = survey.params - survey.learned
    more = f", {fixed:,} of them not learned" if fixed else ""
    return f"{survey.params:,} params{more}; {survey.macs:,} MACs an image, forward"


def _memory(surveys: "Sequence[Survey]") -> str:
    most = max(survey.memory.total for survey in surveys)
    unit, size = ("MiB", 2**20) if most >= 2**24 else ("KiB", 2**10)
    phases = [f"{survey.phase}, batch {survey.batch:,}" for survey in surveys]
    cells = [[f"memory, {unit}", *phases]]
    for name in (*MEMORY, "total"):
        amounts = [getattr(survey.memory, name) for survey in surveys]
        cells.append([name, *(f"{amount / size:,.1f}" for amount in amounts)])
    return table(cells)


def _facts(survey: "Survey") -> dict[str, Any]:
    """Memory in bytes, params in elements."""
    return {
        "phase": survey.phase,
        "net": survey.net,
        "batch": survey.batch,
        "params": survey.params,
        "learned": survey.learned,
        "macs": survey.macs,
        "memory": {**asdict(survey.memory), "total": survey.memory.total},
        "layers": [
            {
                "name": row.name,
                "type": row.type,
                "tops": row.tops,
                "params": row.params,
                "macs": row.macs,
            }
            for row in survey.rows
        ],
    }
