"""Emulated devices for tests: by name, a seed and a mode, most of them for long sweeps only."""

from typing import Literal

import pytest
from emulator.driver import EmulatorDriver

from cvgg.engine.cuda import CudaEngine

FAST: Literal["fast"] = "fast"
RACE: Literal["race"] = "race"
DEVICES = {
    "emulated": (0, FAST),
    "emulated-backwards": (1, FAST),
    "race": (2, RACE),
    **{f"emulated-seed{seed}": (seed, FAST) for seed in (3, 4, 5, 6)},
    **{f"race-seed{seed}": (seed, RACE) for seed in (0, 1, 3, 5)},
}


def device(name: str) -> CudaEngine:
    """An engine on the emulated device of this name."""
    seed, mode = DEVICES[name]
    return CudaEngine(EmulatorDriver(seed, mode), threads=2)


def sweep(names: set[str]) -> list[object]:
    """All devices as test parameters; those not in `names` are for `make test-all`."""
    return [
        name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in DEVICES
    ]
