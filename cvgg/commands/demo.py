"""cvgg demo: draws shapes, trains a small VGG net on them, tests it, and leaves pictures.

It types the commands that a user would type, and shows them.
"""

import argparse
import json
import os
import time
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from cvgg.commands import arguments, logs
from cvgg.errors import CannotCreateError, TrainingError

NETS = ("demo_vgg", "demo_linear")
PREFIX = "demo_vgg"


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of `cvgg demo`."""
    parser = commands.add_parser(
        "demo",
        help="draw images, train a small VGG net on them, test it",
        description="Draws ten classes of shapes into LMDB databases, trains a small VGG net on "
        "them, tests it, and leaves curves, filters and a contact sheet.",
        epilog="example: cvgg demo --out shapes",
    )
    parser.add_argument(
        "--out", default="cvgg-demo", metavar="FOLDER", help="folder to make (cvgg-demo)"
    )
    arguments.add_engine(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when everything was written."""
    from cvgg.commands.progress import Progress
    from cvgg.data.shapes import write_databases

    logs.start(quiet=False)
    start = time.monotonic()
    folder = _new_folder(Path(args.out))
    home = Path.cwd()
    os.chdir(folder)  # the demo's prototxts name their files from here
    try:
        print(f"Drawing the images into {args.out}/data/shapes", flush=True)
        with Progress("images") as progress:
            write_databases(Path("data/shapes"), progress=progress)
        _type("dataset", "show", "data/shapes/train_lmdb", "images.png")
        _type("train", "--solver", "prototxt/demo_vgg_solver.prototxt", *_engine_words(args))
        model = max(Path().glob(f"{PREFIX}_iter_*.caffemodel"), key=os.path.getmtime)
        pictures = ["images.png"]
        if find_spec("matplotlib") is None:
            print("Curves and filters need matplotlib: pip install 'cvgg[plot]', then cvgg plot")
        else:
            _type("plot", f"{PREFIX}.metrics.jsonl", "--out", "curves.png")
            _type("plot", "--weights", str(model), "--out", "filters.png")
            pictures += ["curves.png", "filters.png"]
        accuracy = _last_accuracy(Path(f"{PREFIX}.metrics.jsonl"))
    finally:
        os.chdir(home)
    print(
        f"\nTest accuracy {accuracy:.1%} after {time.monotonic() - start:.0f} s. "
        f"Look at {', '.join(f'{args.out}/{name}' for name in pictures)}.\n"
        f"Next: cd {args.out}, change prototxt/demo_vgg_train_val.prototxt, train again."
    )
    return 0


def _new_folder(folder: Path) -> Path:
    """Makes `folder` and copies the demo's prototxts into it."""
    try:
        folder.mkdir(parents=True)
        (folder / "prototxt").mkdir()
    except OSError as fault:
        raise CannotCreateError(
            f"{folder}: {fault.strerror}; remove it, or name another folder by --out"
        ) from fault
    for entry in files("cvgg.prototxt").iterdir():
        if entry.name.startswith(NETS):
            (folder / "prototxt" / entry.name).write_text(entry.read_text())
    return folder


def _type(command: str, *words: str) -> None:
    """Runs a command of cvgg as if it had been typed."""
    print(f"\n$ cvgg {command} {' '.join(words)}", flush=True)
    parser = argparse.ArgumentParser(prog="cvgg")
    import_module(f"cvgg.commands.{command}").register(parser.add_subparsers())
    args = parser.parse_args([command, *words])
    if code := args.run(args):
        raise TrainingError(f"cvgg {command} ended with exit code {code}")


def _engine_words(args: argparse.Namespace) -> list[str]:
    words = [f"--{name}" for name in ("cpu", "direct") if getattr(args, name)]
    for name in ("gpu", "threads", "memory"):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name}", str(value)]
    return words


def _last_accuracy(metrics: Path) -> float:
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    tests = [record for record in records if record["event"] == "test"]
    return float(tests[-1]["outputs"]["accuracy"])
