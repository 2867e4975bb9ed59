"""Engines: where a net runs. `open_engine` turns the user's word into one."""

from cvgg.engine.base import Engine, Inbox, Traits
from cvgg.errors import UnavailableError, UsageError

__all__ = ["Engine", "Inbox", "Traits", "best_engine", "open_engine"]


def open_engine(engine: "Engine | str | None" = None, *, threads: int | None = None) -> Engine:
    """An engine from its name: "cpu", "gpu", "cuda:1"; None: the best that is there. "cpu:direct":
    convolution without Winograd. An Engine is given back.

    Raises UnavailableError if the machine lacks what it takes: never another engine in its place.
    """
    if not isinstance(engine, str | None):
        return engine
    name = best_engine()[0] if engine is None else engine.lower()
    kind, _, number = name.partition(":")
    if kind == "cpu" and number in ("", "direct"):
        from cvgg.engine.cpu import CpuEngine

        return CpuEngine(threads, direct=number == "direct")
    if kind in ("gpu", "cuda") and (not number or number.isdecimal()):
        from cvgg.engine.cuda import CudaEngine
        from cvgg.kernels.cuda.cupy_driver import CupyDriver

        return CudaEngine(CupyDriver(int(number or 0)), threads=threads)
    raise UsageError(
        f"engine {engine!r} is not known; known are 'cpu', 'cpu:direct', 'gpu' and 'cuda:N'"
    )


def best_engine() -> tuple[str, str]:
    """The name of the engine to take where nobody names one, and why: GPU 0 if CuPy and a driver
    are there, else the CPU."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:  # without importing it: that takes a second
        return "cpu", "CuPy is not installed"
    from cvgg.kernels.cuda.cupy_driver import import_cupy

    try:
        import_cupy()
    except UnavailableError as error:
        return "cpu", str(error)
    return "cuda:0", "a GPU is there"
