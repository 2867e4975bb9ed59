"""What this processor can do; looked up once. With CVGG_AVX2=0 in the environment it is taken for
one without AVX2 and FMA: the same results but for rounding, slower."""

import os
from typing import Any

from . import _native


def _avx2() -> Any:
    """The module of kernels for AVX2 and FMA; None where the processor has not both, or where the
    package was built for another kind of processor."""
    if os.environ.get("CVGG_AVX2") == "0" or not _native.has_avx2():
        return None
    try:
        from . import _avx2
    except ImportError:
        return None
    return _avx2


AVX2: Any = _avx2()
