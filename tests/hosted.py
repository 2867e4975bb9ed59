"""Kernels of a device, called with numpy arrays, so that tests of `Kernels` run on each backend."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvgg.engine.cuda import CudaEngine
from cvgg.kernels.cuda import DeviceArray
from cvgg.kernels.interface import Kernels

Host = NDArray[Any]

PARAMS = frozenset({"w", "dw", "b", "db", "g", "dg", "mean", "variance", "place", "state"})
"""Arguments whose axes lie as their shape says on every engine."""


class HostedKernels:
    """Has the functions of an engine's kernels. Arrays go to the device and come back; blobs, and
    buffers that lie as they do, have their channels last there, if `layout` says so.

    Two arguments that are one array on the host are one array on the device."""

    def __init__(self, engine: CudaEngine, layout: str) -> None:
        self.engine, self.layout = engine, layout

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.engine.kernels, name)
        if name.endswith("workspace"):
            return function

        @functools.wraps(function)
        def call(*args: Any, **said: Any) -> Any:
            given = inspect.signature(function).bind(*args, **said)
            there: dict[int, tuple[Host, DeviceArray]] = {}
            images = name == "transform_forward"

            def send(argument: str, value: Any) -> Any:
                if isinstance(value, np.ndarray):
                    key = value.__array_interface__["data"][0]
                    if key not in there or not value.size:
                        there[key] = value, self._send(argument, value, images=images)
                    return there[key][1]
                if isinstance(value, Sequence) and value and isinstance(value[0], np.ndarray):
                    return [send(argument, each) for each in value]
                return value

            result = function(
                *(send(key, value) for key, value in given.arguments.items() if key not in said),
                **{key: send(key, value) for key, value in said.items()},
            )
            for host, array in there.values():
                host[...] = self.engine.copy_out(array)
            return result

        return call

    def _send(self, argument: str, value: Host, *, images: bool) -> DeviceArray:
        plain = argument in PARAMS or (images and argument == "x") or value.ndim < 3
        layout = "NCHW" if plain else self.layout
        array: DeviceArray = self.engine.empty(value.shape, value.dtype.name, layout)
        self.engine.copy_in(array, value)
        return array


def hosted(engine: CudaEngine, layout: str) -> Kernels:
    kernels: Any = HostedKernels(engine, layout)
    result: Kernels = kernels
    return result
