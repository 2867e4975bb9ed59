"""The kernels for every processor, which nobody would test on one that has faster ones."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
# A layer that the plan makes only where there is a kernel for it.
JOINED = TESTS / "layers/test_convolution_relu_pooling.py"


def test_kernels_and_layers_are_right_on_a_processor_without_avx2() -> None:
    words = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(
            "-m",
            "not slow and not gpu",
            "-k",
            "cpu or (layers and not emulated)",
            f"--ignore={__file__}",
            f"--ignore={JOINED}",
        ),
        *(str(TESTS / "kernels"), str(TESTS / "layers")),
    ]
    environment = {**os.environ, "CVGG_AVX2": "0"}
    done = subprocess.run(
        words,
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "[100%]" in done.stdout
