"""A folder with a net, a solver and a database, in which commands run and may fail."""

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any

from databases import numbered, write_images
from faults.forks import Done, Forks

DATA = """
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { crop_size: 8 scale: 0.01 }
  data_param { source: "db" batch_size: 3 backend: LMDB } }
"""
FC = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 9 weight_filler { type: "msra" } } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
NET = f'name: "small"{DATA}{FC}{LOSS}'
SOLVER = """
net: "net.prototxt"
base_lr: 0.01
momentum: 0.9
lr_policy: "fixed"
max_iter: 4
snapshot: 2
snapshot_prefix: "run"
random_seed: 7
"""
LOGS = (".log", ".metrics.jsonl")  # grow whatever happens
SHAPE = (3, 9, 10)  # of the seven images; their labels are 0 to 6


class Place:
    """Has net.prototxt, solver.prototxt and db; what a test changes it writes there."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self._forks = folder, forks
        (folder / "net.prototxt").write_text(NET)
        (folder / "solver.prototxt").write_text(SOLVER)
        write_images(folder / "db", numbered(7, SHAPE))

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def replace(self, name: str, old: str, new: str) -> None:
        """Changes one place in a text."""
        text = (self / name).read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        (self / name).write_text(text.replace(old, new))

    def run(self, *words: object, **settings: Any) -> Done:
        return self._forks.run(self.folder, *words, **settings)

    def train(self, *words: object, **settings: Any) -> Done:
        return self.run(
            "train", "--solver", "solver.prototxt", "--cpu", "--threads", 1, *words, **settings
        )

    def refuses(self, code: int, message: str, *words: object, **settings: Any) -> Done:
        """The command (default: train) ends with `code` and one line that has the pattern
        `message`; no file has changed and none has come."""
        before = self.hashes()
        command = words if words and words[0] in _COMMANDS else ("train", *_TRAIN, *words)
        done = self.run(*command, **settings)
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        lines = [line for line in done.err.splitlines() if line.startswith("cvgg: error: ")]
        assert len(lines) == 1, done.err
        assert re.search(message, lines[0]), lines[0]
        assert self.hashes() == before
        return done

    def hashes(self) -> dict[str, str]:
        """Every file but logs, with what is in it."""
        return {
            str(path.relative_to(self.folder)): (
                hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "no file"
            )
            for path in sorted(self.folder.rglob("*"))
            if not path.name.endswith((*LOGS, "lock.mdb"))
        }


def wait_for(path: Path) -> None:
    """Returns once a process has made `path`."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        os.sched_yield()


_TRAIN = ("--solver", "solver.prototxt", "--cpu", "--threads", "1")
_COMMANDS = ("convert-imagenet", "summary", "train", "test", "dataset", "predict", "compute-mean")
