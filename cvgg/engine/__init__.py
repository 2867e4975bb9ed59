"""Engines: where a net runs. `open_engine` turns the user's word into one."""

from cvgg.engine.base import Engine, Traits
from cvgg.errors import UnavailableError, UsageError

__all__ = ["Engine", "Traits", "open_engine"]


def open_engine(engine: "Engine | str | None" = None, *, threads: int | None = None) -> Engine:
    """An engine from its name: "cpu", "gpu", "cuda:1"; None: the best that is there. An Engine is
    given back."""
    if not isinstance(engine, str | None):
        return engine
    kind, _, number = (engine or "cpu").lower().partition(":")
    if kind == "cpu" and not number:
        from cvgg.engine.cpu import CpuEngine

        return CpuEngine(threads)
    if kind in ("gpu", "cuda") and (not number or number.isdecimal()):
        raise UnavailableError(
            f"engine {engine!r}: this release of cvgg has no GPU engine yet; use --cpu"
        )
    raise UsageError(f"engine {engine!r} is not known; known are 'cpu', 'gpu' and 'cuda:N'")
