"""A TensorRT whose engines are ONNX graphs executed by onnxruntime on the addresses that were bound.

So that binding, shapes and the swap of past and present run for real where no GPU is: only the kernels differ.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from trt.library import Library

DTYPES = {"tensor(float16)": np.float16, "tensor(int64)": np.int64}


class Context:
    """IExecutionContext: the methods that the runtime calls."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.refuse = False

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address, f"{name} has no address"
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.refuse:
            return False
        fed = {
            entry.name: self._view(entry.name, self._shapes[entry.name], DTYPES[entry.type])
            for entry in self._session.get_inputs()
        }
        names = [entry.name for entry in self._session.get_outputs()]
        for name, value in zip(names, self._session.run(names, fed), strict=True):
            self._view(name, value.shape, value.dtype)[...] = value
        return True

    def _view(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


def on_onnxruntime(loads: bool = True) -> tuple[Library, list[Context]]:
    """The library, and the contexts that it makes. An engine's plan is the path of its graph; None unless `loads`."""
    made: list[Context] = []

    def context(plan: bytes) -> Context:
        made.append(Context(onnxruntime.InferenceSession(plan.decode(), providers=["CPUExecutionProvider"])))
        return made[-1]

    def deserialize(plan: bytes) -> Any:
        return SimpleNamespace(create_execution_context=lambda: context(plan)) if loads else None

    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None:
            self.severity = severity

    runtime = SimpleNamespace(deserialize_cuda_engine=deserialize)
    return Library("tensorrt-rtx", "1.7", SimpleNamespace(Logger=Logger, Runtime=lambda logger: runtime)), made
