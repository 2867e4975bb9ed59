"""What a solver says: log lines that Caffe's parse_log.py reads, and the same numbers as
records."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Record: TypeAlias = dict[str, Any]

log = logging.getLogger("cvgg")


class Report:
    """Writes the log of one solver and hands every number to those who listen.

    A record has "event" ("train", "test", "snapshot", "plateau"), "iter", and its numbers; names of
    outputs are those of the net, with [i] behind them where an output has several values."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Record], None]] = []
        self._since: tuple[int, float, float] | None = None

    def tell(self, event: str, iter: int, **numbers: object) -> None:
        record: Record = {"event": event, "iter": iter, **numbers}
        for listener in self.listeners:
            listener(record)

    def start(self, iter: int, waited_s: float) -> None:
        """The clock of the first display starts here."""
        self._since = (iter, time.monotonic(), waited_s)

    def display(
        self,
        iter: int,
        *,
        loss: float,
        rate: float,
        outputs: Mapping[str, NDArray[Any]],
        weights: Mapping[str, float],
        images: int,
        waited_s: float,
    ) -> None:
        """One iteration: smoothed loss, outputs of the train net, rate, speed and how long data was
        waited for."""
        since, start, waited = self._since or (iter, time.monotonic(), waited_s)
        elapsed = time.monotonic() - start
        done = iter - since
        speed = done / elapsed if elapsed > 0 and done else 0.0
        share = min(1.0, (waited_s - waited) / elapsed) if elapsed > 0 and done else 0.0
        log.info(
            "Iteration %d (%.5g iter/s, %.5gs/%d iters), loss = %.6g",
            *(iter, speed, elapsed if done else 0.0, done, loss),
        )
        self._outputs("    Train net output", outputs, weights)
        log.info("Iteration %d, lr = %.6g", iter, rate)
        if done and images:
            log.info(
                "    %.4g images/s, %.0f%% of the time waiting for data",
                speed * images,
                100 * share,
            )
        self.tell(
            "train",
            iter,
            loss=loss,
            lr=rate,
            images_per_s=speed * images,
            data_wait=share,
            outputs=_flat(outputs),
        )
        self._since = (iter, time.monotonic(), waited_s)

    def test(
        self,
        iter: int,
        number: int,
        outputs: Mapping[str, NDArray[Any]],
        weights: Mapping[str, float],
        loss: float | None,
    ) -> None:
        """Means over a whole test."""
        if loss is not None:
            log.info("Test loss: %.6g", loss)
        self._outputs("    Test net output", outputs, weights)
        more = {} if loss is None else {"loss": loss}
        self.tell("test", iter, net=number, outputs=_flat(outputs), **more)

    def _outputs(
        self, words: str, outputs: Mapping[str, NDArray[Any]], weights: Mapping[str, float]
    ) -> None:
        at = 0
        for name, values in outputs.items():
            for value in np.ravel(values):
                text = f"{words} #{at}: {name} = {value:.6g}"
                if weight := weights.get(name, 0.0):
                    text += f" (* {weight:g} = {weight * value:.6g} loss)"
                log.info("%s", text)
                at += 1


def _flat(outputs: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    named = {}
    for name, values in outputs.items():
        several = np.size(values) > 1
        for i, value in enumerate(np.ravel(values)):
            named[f"{name}[{i}]" if several else name] = float(value)
    return named
