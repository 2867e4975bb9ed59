"""Do the databases fit the solver? Labels against classes, records against test_iter."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cvgg.data.convert import FACTS
from cvgg.data.database import open_database
from cvgg.data.feed import Feed
from cvgg.data.files import read_regular
from cvgg.data.images import Colour
from cvgg.data.records import DatumRecords
from cvgg.errors import DataError
from cvgg.layers.base import Pass
from cvgg.net import Net
from cvgg.netdef.caffe_pb2 import LayerParameter

log = logging.getLogger("cvgg")

DATABASE, LIST = "Data", "ImageData"  # types of layers that bring labels of records


@dataclass(frozen=True)
class _Use:
    """A layer that compares labels of a source with scores. step, source: numbers in the plan.
    Labels from 0 to classes - 1 are right, and `ignored` if it is not None."""

    step: int
    source: int
    layer: str
    classes: int
    ignored: int | None

    def wrong(self, label: float) -> bool:
        return not 0 <= label < self.classes and label != self.ignored

    def message(self, where: str, label: float) -> str:
        return (
            f"{where}: label {label:g}, but layer {self.layer!r} has scores of {self.classes} "
            f"classes (0 to {self.classes - 1})"
        )


def check_labels(net: Net) -> None:
    """Raises DataError for the first record of a database whose label no score stands for. Looks
    at the largest label that the converter noted; a database without a note is not read through."""
    for use in _uses(net):
        spec = _spec(net, use.source)
        if spec.type != DATABASE:
            continue
        database = open_database(spec.data_param.source)
        if not use.wrong(_largest_label(Path(database.path))):
            continue
        records = DatumRecords(database, Colour.AS_STORED)
        for i in range(len(records)):
            if use.wrong(label := records.label(i)):
                raise DataError(use.message(records.where(i), label))


def wrong_label(net: Net, batch: int, draw: int) -> str:
    """The first record of a batch whose label no score stands for, in words; "" if all do."""
    for use in _uses(net):
        this = Pass(draw, batch, 0, net.micro_batches[0])
        feed: Feed = net.prepare(this).calls[use.source].own.feed
        for row, label in enumerate(feed.labels(batch).tolist()):
            if use.wrong(label):
                return use.message(feed.where(batch, row), label)
    return ""


def tell_records(net: Net, test_iter: int) -> None:
    """Says how much of each database a test sees, unless it is every record once."""
    for step in net.plan.steps:
        spec = step.nodes[0].spec
        if spec.type != DATABASE:
            continue
        records = len(open_database(spec.data_param.source))
        images = test_iter * spec.data_param.batch_size
        if images != records:
            log.info(
                "Layer %r: a test takes %d images (%d batches of %d) from %d records: %s",
                *(step.name, images, test_iter, spec.data_param.batch_size, records),
                f"{images - records} of them again" if images > records else "not all",
            )


def _uses(net: Net) -> Iterator[_Use]:
    plan = net.plan
    for step, (source, _) in plan.label_sources.items():
        if _spec(net, source).type not in (DATABASE, LIST):
            continue
        spec = plan.steps[step].nodes[0].spec
        losing = spec.type == "SoftmaxWithLoss"
        axis = spec.softmax_param.axis if losing else spec.accuracy_param.axis
        param = spec.loss_param if losing else spec.accuracy_param
        classes = plan.blobs[plan.steps[step].bottoms[0]].shape[axis]
        ignored = param.ignore_label if param.HasField("ignore_label") else None
        yield _Use(step, source, plan.steps[step].name, classes, ignored)


def _spec(net: Net, step: int) -> LayerParameter:
    return net.plan.steps[step].nodes[0].spec


def _largest_label(folder: Path) -> int:
    """What the converter noted about a database; 0 if another program made it."""
    path = folder / FACTS
    if not path.exists():
        return 0
    try:
        return int(json.loads(read_regular(path))["largest_label"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as fault:
        raise DataError(f"{path}: not what convert-imagenet writes: {fault!r}") from fault
