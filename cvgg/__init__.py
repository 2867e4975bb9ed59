"""cvgg: a Caffe for today. Net and Solver are the public API, beside the errors; pycaffe's
names."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvgg.errors import Error

if TYPE_CHECKING:
    from cvgg.net import Net
    from cvgg.netdef.caffe_pb2 import TEST, TRAIN
    from cvgg.solver import Solver
    from cvgg.testing import check_gradient

__version__ = "0.1.0"
__all__ = ["TEST", "TRAIN", "Error", "Net", "Solver", "__version__", "check_gradient"]

_HOMES = {
    "Net": "cvgg.net",
    "Solver": "cvgg.solver",
    "TEST": "cvgg.netdef.caffe_pb2",
    "TRAIN": "cvgg.netdef.caffe_pb2",
    "check_gradient": "cvgg.testing",
}


def __getattr__(name: str) -> Any:
    """Loads the public names when they are asked for: `cvgg --help` must not wait for numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cvgg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
