"""Streams of an emulated device: nothing runs before somebody waits for it, and then in any order
that the events allow."""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cvgg.kernels.cuda.driver import DriverError

LONGEST = 64  # operations in a stream, after which half are run


class Event:
    """Happens when its stream has passed it."""

    def __init__(self) -> None:
        self.time_s: float | None = None

    def happen(self) -> None:
        self.time_s = time.perf_counter()


@dataclass(frozen=True)
class Operation:
    """One entry of a stream. It waits for `after`, and `leaves` happens when it is done."""

    work: Callable[[], object] | None = None
    after: Event | None = None
    leaves: Event | None = None


class Stream:
    """Operations that run one after another."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pending: deque[Operation] = deque()

    def able(self) -> bool:
        """Whether its next operation may run."""
        if not self.pending:
            return False
        after = self.pending[0].after
        return after is None or after.time_s is not None


class Queues:
    """All streams of a device."""

    def __init__(self, seed: int, *names: str) -> None:
        self._seed, self._random = seed, random.Random(seed)
        self.streams = [Stream(name) for name in names]

    def empty(self) -> bool:
        return not any(stream.pending for stream in self.streams)

    def put(self, stream: Stream, operation: Operation) -> None:
        """May run what came before it. Raises DriverError for what fails."""
        stream.pending.append(operation)
        if len(stream.pending) >= LONGEST:
            self.advance(stream, LONGEST // 2)

    def advance(self, stream: Stream, left: int = 0) -> None:
        """Runs operations until at most `left` are left in `stream`; how far the others come
        meanwhile is drawn. Raises DriverError for what fails; then nothing else queued is run."""
        while len(stream.pending) > left:
            able = [each for each in self.streams if each.able()]
            if not able:
                self._drop()
                raise DriverError(f"{stream.name} waits for an event that cannot happen any more")
            self._step(self._next(able, stream))

    def until(self, event: Event) -> None:
        """Runs operations, drawn from what is able, until the event has happened. Raises
        DriverError for what fails."""
        while event.time_s is None:
            able = [each for each in self.streams if each.able()]
            if not able:
                self._drop()
                raise DriverError("an event that cannot happen any more is waited for")
            self._step(self._next(able, able[0]))

    def _next(self, able: list[Stream], wanted: Stream) -> Stream:
        """Seed 0 runs the wanted stream as long as it can, 1 the others."""
        preferred = [each for each in able if (each is wanted) == (self._seed == 0)]
        if self._seed < 2 and preferred:
            return preferred[0]
        return self._random.choice(able)

    def _step(self, stream: Stream) -> None:
        operation = stream.pending.popleft()
        try:
            if operation.work is not None:
                operation.work()
        except Exception:
            self._drop()
            raise
        finally:
            if operation.leaves is not None:
                operation.leaves.happen()

    def _drop(self) -> None:
        for stream in self.streams:
            for operation in stream.pending:
                if operation.leaves is not None:
                    operation.leaves.happen()
            stream.pending.clear()
