"""What a card computes and how fast: for whoever has one.

    python tools/gpu_check.py check     is it right, and the same each time?
    python tools/gpu_check.py layers    each layer of VGG, beside cuDNN through torch
    python tools/gpu_check.py step      whole training steps of nets A and E, beside torch

Each ends within 8 minutes, writes its numbers to gpu_check_COMMAND.json as it goes, and prints a
summary last. torch is used if it is installed."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from card.check import cases, check
from card.device import Card
from card.layers import layers
from card.records import Records
from card.scale import Conv, Fc, Scale
from card.step import step
from card.torch_side import Torch, find_torch

from cvgg.cli import main as cvgg_main
from cvgg.errors import Error
from cvgg.kernels.cuda import Driver

BELOW = ("cvgg", "driver", "CuPy", "NVRTC")  # versions in the summary's first line

SMALL = Scale(
    batch=3,
    convs=(
        Conv("small", 8, 3, 8, pooled=True),
        Conv("wide", 6, 68, 72, pooled=True),
        Conv("deep", 4, 204, 72),
        Conv("narrow", 12, 8, 64, pooled=True),
    ),
    more_convs=(Conv("1x1", 5, 8, 4, window=1),),
    fcs=(Fc("fours", 68, 72), Fc("odd", 35, 10)),
    classes=10,
    blob=(6, 4),
    params=1000,
    rounds=3,
    flush=1000,
    checked_nets=(),
    timed_nets=(),
    iterations=2,
)
"""Every function in a second or two: for compute-sanitizer, which is slow."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    driver: Driver | None = None,
    scale: Scale | None = None,
) -> int:
    """driver, scale: for the tests, which have no card. Returns the exit code."""
    said = _parser().parse_args(arguments)
    try:
        card = Card(driver or _card(said.gpu), said.seed)
        if said.command == "small":
            return int(not small(card))
        return _run(said, card, scale or _scale(said))
    except Error as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return error.exit_code


def small(card: Card) -> bool:
    """Every function on small shapes, with the choices for this card and for one with a single
    multiprocessor, which has large tiles; whether all was right."""
    properties = card.driver.properties
    wrong = []
    for count in (properties.multiprocessors, 1):
        card.driver.properties = replace(properties, multiprocessors=count)
        wrong += [each.name for each in cases(card, SMALL) if not each.check(card)["right"]]
    card.driver.properties = properties
    print(f"wrong: {', '.join(wrong) or 'nothing'}")
    return not wrong


def environment() -> dict[str, Any]:
    """What `cvgg env` says."""
    with redirect_stdout(StringIO()) as text:
        cvgg_main(["env", "--json"])
    facts: dict[str, Any] = json.loads(text.getvalue())
    return facts


def _run(said: argparse.Namespace, card: Card, scale: Scale) -> int:
    around = environment()
    facts = {"command": said.command, "seed": said.seed, **card.facts(), "environment": around}
    path = said.json or Path(f"gpu_check_{said.command}.json")
    torch: Torch | str = "" if said.command == "check" else find_torch(said.gpu, scale.flush)
    if isinstance(torch, Torch):
        facts["torch"] = torch.version
    records = Records(path, facts)
    below = ", ".join(f"{name} {around[name.lower()] or '-'}" for name in BELOW)
    records.say(f"{facts['card']}, {facts['architecture']}; {below}")
    right = True
    theirs = torch if isinstance(torch, Torch) else None
    if said.command == "check":
        command = [sys.executable, __file__, "small", "--gpu", str(said.gpu)]
        right = check(card, scale, records, command)
    else:
        records.say(*([torch] if isinstance(torch, str) else [f"torch {torch.version}"]))
        {"layers": layers, "step": step}[said.command](card, scale, records, theirs)
    print(records.finish())
    return int(not right)


def _parser() -> argparse.ArgumentParser:
    about: Any = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    add = parser.add_argument
    add("command", choices=("check", "layers", "step", "small"), metavar="check | layers | step")
    add("--gpu", type=int, default=0, metavar="N", help="number of the card (default: 0)")
    add("--batch", type=int, metavar="N", help="images of a layer's batch (default: 64)")
    add("--seed", type=int, default=1, metavar="N", help="of random numbers (default: 1)")
    add("--json", type=Path, metavar="FILE", help="default: gpu_check_COMMAND.json")
    return parser


def _scale(said: argparse.Namespace) -> Scale:
    return Scale(batch=said.batch) if said.batch else Scale()


def _card(number: int) -> Driver:
    from cvgg.kernels.cuda.cupy_driver import CupyDriver

    return CupyDriver(number)


if __name__ == "__main__":
    sys.exit(main())
