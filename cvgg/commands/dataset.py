"""cvgg dataset: what a database holds, whether every record can be read, and how it looks."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvgg.commands import logs
from cvgg.commands.arguments import positive
from cvgg.commands.convert_imagenet import THREADS_HELP, thread_count
from cvgg.errors import CannotCreateError, DataError, UsageError

if TYPE_CHECKING:
    from cvgg.data.database import Database
    from cvgg.data.records import DatumRecords

_MOST_TILES = 10000  # a larger sheet has more pixels than viewers take


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the parser of the command and its three parts."""
    parser = commands.add_parser(
        "dataset",
        help="look into an LMDB database: info, check, show",
        description="Looks into an LMDB database of images.",
        allow_abbrev=False,
    )
    parts = parser.add_subparsers(metavar="info|check|show", required=True)
    info = _part(parts, "info", "records, labels, size", run_info)
    check = _part(parts, "check", "verify every record; exit 65 if one is damaged", run_check)
    show = _part(parts, "show", "write a contact sheet (PNG)", run_show)
    for part in (info, check):
        part.add_argument("--json", action="store_true", help="print the result as JSON")
    check.add_argument("--threads", type=positive, metavar="N", help=THREADS_HELP)
    add = show.add_argument
    add("output", metavar="OUTPUT", help="PNG to write")
    add("--count", type=positive, default=50, metavar="N", help="images (default: 50)")
    add("--columns", type=positive, default=10, metavar="N", help="images in a row (default: 10)")
    first = "show the records from number N (default: spread over the database)"
    add("--first", type=int, metavar="N", help=first)


def _part(parts: Any, name: str, help: str, run: Any) -> argparse.ArgumentParser:
    part: argparse.ArgumentParser = parts.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False
    )
    part.add_argument("database", metavar="DATABASE", help="LMDB folder")
    part.set_defaults(run=run)
    return part


def run_info(args: argparse.Namespace) -> int:
    """Prints what the database holds."""
    from cvgg.data.database import open_database
    from cvgg.data.datum import read_datum
    from cvgg.data.images import Colour
    from cvgg.data.records import datum_image

    logs.start(quiet=False)
    database = open_database(args.database)
    facts = _facts(database)
    where, record = database.first()
    key = where.removeprefix(f"{database.path}[").removesuffix("]")
    datum = read_datum(record, where)
    image = datum_image(datum, where, Colour.AS_STORED)
    counts = facts.get("counts") or _count_labels(database)
    labels = sorted(map(int, counts))
    few, many = min(counts.values()), max(counts.values())
    size = (Path(args.database) / "data.mdb").stat().st_size
    if args.json:
        result = {
            "records": len(database),
            "bytes": size,
            "first_key": key,
            "first_image": image.shape,
            "encoded": datum.encoded,
            "labels": {"least": labels[0], "largest": labels[-1], "different": len(labels)},
            "images_per_class": {"least": few, "most": many},
            "made": facts,
        }
        print(json.dumps(result))
        return 0
    print(f"records  {len(database)}, {size / 1e6:.1f} MB, the first is {key}")
    print(f"labels   {labels[0]} to {labels[-1]}: {len(labels)} classes, {few} to {many} images")
    kind = "encoded" if datum.encoded else "raw"
    print(f"image    {'x'.join(map(str, image.shape))} (the first), {kind}")
    if facts:
        left_out = len(facts.get("skipped", ()))
        print(
            f"made     size {facts.get('size')}, encoding {facts.get('encoding')}, "
            f"{left_out} images skipped"
        )
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Holds every record against its checksum, decodes it and prints the damaged ones."""
    from cvgg.commands.progress import Progress
    from cvgg.data.convert import in_order
    from cvgg.data.database import open_database
    from cvgg.data.images import Colour
    from cvgg.data.records import DatumRecords

    logs.start(quiet=False)
    database = open_database(args.database)
    facts = _facts(database)
    bad: list[str] = []
    labels: Counter[str] = Counter()
    shapes: Counter[tuple[int, ...]] = Counter()
    records = DatumRecords(database, Colour.AS_STORED)
    looks = in_order(lambda i: _look(records, i), range(len(records)), thread_count(args.threads))
    with Progress("records") as progress:
        for number, look in enumerate(looks):
            if isinstance(look, DataError):
                bad.append(str(look))
            else:
                shapes[look[0]] += 1
                labels[str(look[1])] += 1
            progress(number + 1, len(database))
    channels = sorted({shape[0] for shape in shapes})
    if len(channels) > 1:
        bad.append(f"{database.path}: images of {channels} channels in one database")
    if not bad and dict(labels) != facts.get("counts", dict(labels)):
        bad.append(f"{database.path}: the labels are not those that its cvgg.json counts")
    if args.json:
        print(json.dumps({"records": len(database), "sizes": len(shapes), "faults": bad}))
    else:
        for message in bad:
            print(message)
        verdict = f"{len(bad)} faults" if bad else "all can be read"
        print(f"{database.path}: {len(database)} records, {len(shapes)} sizes: {verdict}")
    return DataError.exit_code if bad else 0


def run_show(args: argparse.Namespace) -> int:
    """Writes the contact sheet."""
    import numpy as np

    from cvgg.data.database import open_database
    from cvgg.data.files import write_whole
    from cvgg.data.images import Colour
    from cvgg.data.records import DatumRecords, read
    from cvgg.data.sheet import contact_sheet

    logs.start(quiet=False)
    database = open_database(args.database)
    if args.count > _MOST_TILES:
        raise UsageError(f"--count must be at most {_MOST_TILES}, is {args.count}")
    if not Path(args.output).parent.is_dir():
        raise CannotCreateError(f"{args.output}: no folder {Path(args.output).parent}")
    count = min(args.count, len(database))
    numbers = np.linspace(0, len(database) - 1, count).astype(int).tolist()
    if args.first is not None:
        if not 0 <= args.first < len(database):
            raise UsageError(f"--first must lie in 0 to {len(database) - 1}, is {args.first}")
        numbers = list(range(args.first, min(args.first + args.count, len(database))))
    classes = _facts(database).get("classes", [])
    records = DatumRecords(database, Colour.AS_STORED)
    tiles = []
    for number in numbers:
        image, label = read(records, number)
        if image.dtype != np.uint8 or image.shape[0] not in (1, 3):
            shape = "x".join(map(str, image.shape))
            raise DataError(f"{database.where(number)}: {shape} {image.dtype} is no picture")
        known = 0 <= label < len(classes)
        tiles.append((image, f"{label} {classes[label]}" if known else str(label)))
    write_whole(args.output, [contact_sheet(tiles, columns=args.columns)])
    print(f"{args.output}: {len(tiles)} of {len(database)} images")
    return 0


def _look(records: "DatumRecords", number: int) -> "tuple[tuple[int, ...], int] | DataError":
    """Shape and label of a record, or what is wrong with it."""
    from cvgg.data.images import Scratch

    try:
        with records.lend(number, Scratch(0)) as (image, label):
            return image.shape, label
    except DataError as fault:
        return fault


def _facts(database: "Database") -> dict[str, Any]:
    """What the converter wrote about the database; {} for one that another program made."""
    from cvgg.data.convert import FACTS
    from cvgg.data.files import read_regular

    path = Path(database.path) / FACTS
    if not path.exists():
        return {}
    try:
        facts = json.loads(read_regular(path))
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: not JSON: {fault}") from fault
    if not isinstance(facts, dict) or facts.get("records") != len(database):
        raise DataError(f"{path}: does not belong to this database of {len(database)} records")
    return facts


def _count_labels(database: "Database") -> Counter[str]:
    from cvgg.commands.progress import Progress
    from cvgg.data.images import Colour
    from cvgg.data.records import DatumRecords

    records = DatumRecords(database, Colour.AS_STORED)
    counts: Counter[str] = Counter()
    with Progress("records") as progress:
        for number in range(len(database)):
            counts[str(records.label(number))] += 1
            progress(number + 1, len(database))
    return counts
