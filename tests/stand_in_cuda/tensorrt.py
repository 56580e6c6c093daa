"""This offers what src/rdc_codec/backends/tensorrt.py calls of TensorRT; ONNX Runtime computes, on the CPU.

An engine is JSON: {"graph": path of the ONNX file, "sides": [fewest, most strides of 64 pixels], "batch": most}.
`tests/test_backends.py` has the names checked that are used here, against TensorRT-lean.
"""

from __future__ import annotations

import ctypes
import json
import weakref
from enum import Enum
from typing import Any

import numpy as np
import onnxruntime as ort
from stand_in import finish

from rdc_codec.bundle import Tensor

__version__ = "11.4"
driver = ctypes.CDLL("libcuda.so.1")
WORK = ctypes.CFUNCTYPE(ctypes.c_int)
TYPES = {"tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(float)": np.float32}
SCRATCH = 1000


class Logger:
    ERROR = 1

    def __init__(self, level: int) -> None:
        assert level == self.ERROR


class ExecutionContextAllocationStrategy(Enum):
    USER_MANAGED = 2


class Runtime:
    def __init__(self, log: Logger) -> None:
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        try:
            return Engine(json.loads(data))
        except ValueError:
            return None


class Engine:
    device_memory_size_v2 = SCRATCH

    def __init__(self, about: dict[str, Any]) -> None:
        self.session = ort.InferenceSession(about["graph"], providers=["CPUExecutionProvider"])
        self.sides, self.batch = about["sides"], about["batch"]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0
        (given,) = (i for i in self.session.get_inputs() if i.name == name)
        sized = Tensor(name, np.dtype(TYPES[given.type]), tuple(given.shape)).sizes
        least, most = self.sides
        return [sized(1, least, least), sized(1, most, most), sized(self.batch, most, most)]

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> Context:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.shapes = engine, {}
        self.addresses: dict[str, int] = {}
        self.scratch = self.stream = 0
        me = weakref.ref(self)  # a cycle would keep the context longer than TensorRT does

        def run() -> int:
            context = me()
            return 1 if context is None else context._run()

        self.work = WORK(run)  # what CUDA graphs call, too

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.get_tensor_profile_shape(name, 0)
        self.shapes[name] = shape
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def infer_shapes(self) -> list[str]:
        return [i.name for i in self.engine.session.get_inputs() if i.name not in self.shapes]

    def update_device_memory_size_for_shapes(self) -> int:
        return SCRATCH

    def set_device_memory(self, pointer: int, size: int) -> None:
        assert size >= SCRATCH
        self.scratch = pointer

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        session = self.engine.session
        self.addresses[name] = pointer
        return any(name == t.name for t in (*session.get_inputs(), *session.get_outputs()))

    def execute_async_v3(self, stream: int) -> bool:
        ctypes.memset(self.scratch, 0, SCRATCH)  # it is there
        self.stream = stream
        return driver.stand_in_queue(ctypes.c_void_p(stream), self.work) == 0

    def __del__(self) -> None:
        finish(driver, self.stream, "a context of TensorRT")

    def _run(self) -> int:
        session = self.engine.session
        inputs = {}
        for tensor in session.get_inputs():
            dtype, shape = np.dtype(TYPES[tensor.type]), self.shapes[tensor.name]
            size = int(np.prod(shape)) * dtype.itemsize
            memory = (ctypes.c_uint8 * size).from_address(self.addresses[tensor.name])
            inputs[tensor.name] = np.frombuffer(memory, dtype).reshape(shape)
        for tensor, value in zip(session.get_outputs(), session.run(None, inputs), strict=True):
            ctypes.memmove(self.addresses[tensor.name], value.ctypes.data, value.nbytes)
        return 0


def get_plugin_registry() -> None:
    raise AssertionError("no engine here has plugins")
