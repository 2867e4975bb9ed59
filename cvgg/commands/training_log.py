"""The curves in the log of a training: cvgg's PREFIX.metrics.jsonl, or lines as Caffe has them."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cvgg.data.files import read_regular
from cvgg.errors import DataError

Series: TypeAlias = dict[int, float]  # iteration -> value
Point: TypeAlias = tuple[str, str, int, float]  # curve's kind, name, iteration, value

_TESTING = re.compile(r"Iteration (\d{1,18}), Testing net \(#(\d{1,9})\)")
_LOSS = re.compile(r"Iteration (\d{1,18})(?: \(.*\))?, loss = (\S+)")
_RATE = re.compile(r"Iteration (\d{1,18}), lr = (\S+)")
_SCORE = re.compile(r"Test (score #\d+): (\S+)")  # the first Caffe
_OUTPUT = re.compile(r"(Train|Test) net output #\d+: (.+?) = (\S+)( \(\* .* loss\))?")


@dataclass
class Curves:
    """loss: the train net's, smoothed as the solver says. train, test: outputs by name."""

    loss: Series = field(default_factory=dict)
    rate: Series = field(default_factory=dict)
    train: dict[str, Series] = field(default_factory=dict)
    test: dict[str, Series] = field(default_factory=dict)
    losses: set[str] = field(default_factory=set)  # names of outputs that are losses

    @property
    def last(self) -> int:
        """The last iteration that any curve has."""
        return max(max(series) for series in self._all() if series)

    def add(self, kind: str, name: str, iter: int, value: float) -> None:
        """A point of the curve `kind` ("loss", "rate", "train", "test"). A training that was
        resumed repeats iterations: the later line counts."""
        if kind in ("train", "test"):
            outputs: dict[str, Series] = getattr(self, kind)
            series = outputs.setdefault(name, {})
        else:
            series = getattr(self, kind)
        series[iter] = value

    def rewind(self, iter: int) -> None:
        """Forgets what lies behind `iter`: the training went on from there once more."""
        for series in self._all():
            for late in [i for i in series if i > iter]:
                del series[late]

    def _all(self) -> Iterator[Series]:
        yield from (self.loss, self.rate, *self.train.values(), *self.test.values())


def read_log(path: str) -> Curves:
    """The curves of a log file. Raises MissingInputError, or DataError if no training is in it."""
    text = read_regular(path).decode("utf-8", "replace")
    lines = text.splitlines()
    curves = Curves()
    points = _of_records(path, lines) if text.lstrip().startswith("{") else _of_caffe(lines)
    now = 0
    for kind, name, at, value in points:
        if at < now:
            curves.rewind(at)
        now = at
        curves.add(kind, name.removesuffix(_MARK), at, value)
        if name.endswith(_MARK) or "loss" in name.lower():
            curves.losses.add(name.removesuffix(_MARK))
    if not any(curves._all()):
        raise DataError(
            f"{path}: no line of a training is in it; give a PREFIX.metrics.jsonl or a log of "
            "cvgg train or caffe train"
        )
    return curves


_MARK = "\0"  # behind the name of an output that the log calls a loss


def _of_records(path: str, lines: list[str]) -> Iterator[Point]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record: dict[str, Any] = json.loads(line)
            yield from _of_record(record)
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),  # a number too large, brackets too deep
        ) as fault:
            if number == len(lines):
                return  # the process ended while it wrote
            raise DataError(f"{path}:{number}: no record of a training: {fault}") from fault


def _of_record(record: dict[str, Any]) -> Iterator[Point]:
    """What one line of metrics.jsonl says; see cvgg.solver.report."""
    at = int(record["iter"])
    if record["event"] == "train":
        yield "loss", "", at, float(record["loss"])
        yield "rate", "", at, float(record["lr"])
    net = int(record.get("net", 0))
    if record["event"] in ("train", "test"):
        for name, value in record["outputs"].items():
            yield record["event"], _of_net(name, net), at, float(value)


def _of_caffe(lines: Iterable[str]) -> Iterator[Point]:
    train = test = net = 0
    seen: dict[str, int] = {}  # how often a name came in this group of outputs
    for line in lines:
        if found := _TESTING.search(line):
            test, net = int(found[1]), int(found[2])
            seen = {}
        elif found := _LOSS.search(line):
            train = int(found[1])
            seen = {}
            yield "loss", "", train, _number(found[2])
        elif found := _RATE.search(line):
            yield "rate", "", int(found[1]), _number(found[2])
        elif found := _SCORE.search(line):
            yield "test", _of_net(found[1], net), test, _number(found[2])
        elif found := _OUTPUT.search(line):
            kind, name, mark = found[1].lower(), found[2], _MARK if found[4] else ""
            seen[name] = seen.get(name, -1) + 1
            if seen[name]:
                name = f"{name}[{seen[name]}]"
            where = (name, train) if kind == "train" else (_of_net(name, net), test)
            yield kind, where[0] + mark, where[1], _number(found[3])


def _of_net(name: str, net: int) -> str:
    return f"{name} (net #{net})" if net else name


def _number(word: str) -> float:
    """nan for what is none, such as a line that was cut."""
    try:
        return float(word)
    except ValueError:
        return float("nan")
