"""Emulated devices for tests: by name, a seed and a mode, most of them for long sweeps only."""

from typing import Any, Literal

import pytest
from emulator.driver import EmulatorDriver

from cvgg.engine.cuda import CudaEngine
from cvgg.kernels.cuda.cupy_driver import CupyDriver

FAST: Literal["fast"] = "fast"
RACE: Literal["race"] = "race"
CARD = "cuda"
DEVICES = {
    "emulated": (0, FAST),
    "emulated-backwards": (1, FAST),
    "race": (2, RACE),
    **{f"emulated-seed{seed}": (seed, FAST) for seed in (3, 4, 5, 6)},
    **{f"race-seed{seed}": (seed, RACE) for seed in (0, 1, 3, 5)},
}


def device(name: str) -> CudaEngine:
    """An engine on the emulated device of this name; "cuda" is GPU 0 itself."""
    if name == CARD:
        return CudaEngine(CupyDriver(0), threads=2)
    seed, mode = DEVICES[name]
    return CudaEngine(EmulatorDriver(seed, mode), threads=2)


def marked(name: str, *, often: bool) -> Any:
    """A test parameter of this device: the card for those who have one, what is not for every run
    for `make test-all`."""
    if name.partition(" ")[0] == CARD:
        return pytest.param(name, marks=pytest.mark.gpu)
    return name if often else pytest.param(name, marks=pytest.mark.slow)


def sweep(names: set[str]) -> list[Any]:
    """All devices as test parameters; `names` are for every run."""
    return [marked(name, often=name in names) for name in (*DEVICES, CARD)]
