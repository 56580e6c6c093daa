"""All tests share the tiny fixed bundle and real photos that come with scikit-image.

The streams of the tiny bundle are pinned; retraining the shipped model changes nothing here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from export.function_bodies import DOMAIN, FUNCTIONS, OPSET
from rdc_codec import Codec, native
from rdc_codec.bundle import DEFAULT
from rdc_codec.cli import main

settings.register_profile("patient", deadline=None)  # machines under load, timings are not what is tested
settings.load_profile("patient")

DATA = Path(__file__).parent / "data"
TINY = DATA / "tiny"
TINY_CHECKPOINT = DATA / "tiny.safetensors"
SHIPPED = DEFAULT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what loads the stand-in for a GPU's driver last: it stays in the process, and PyTorch would find it."""
    items.sort(key=lambda item: item.path.name == "test_cuda.py")


def on_every_path(compute: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield what the native module computes by each code path that this machine has."""
    try:
        for path in ("scalar", "avx2", "avx512"):
            try:
                native.set_simd(path)  # type: ignore[arg-type]
            except ValueError:
                continue
            yield compute()
    finally:
        native.set_simd("auto")


def in_depth(
    test: Any, *drawn: SearchStrategy[Any], examples: int, **named: SearchStrategy[Any]
) -> Callable[..., None]:
    """Make the slow variant of a property test, which checks the same property on so many examples."""
    checked = given(*drawn, **named)(test.hypothesis.inner_test)
    return pytest.mark.slow(settings(max_examples=examples)(checked))


def classifier(path: Path) -> None:
    """Write a small ONNX classifier whose weights sit behind DequantizeLinear, as 8-bit checkpoints have them."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    scales = rng.uniform(0.001, 0.002, 8).astype(np.float32)
    constants = {
        "w8": weights, "scale": scales, "zero": np.zeros(8, np.int8), "b": np.zeros(8, np.float32),
        "wf": rng.normal(0, 0.1, (10, 8, 1, 1)).astype(np.float32), "bf": np.zeros(10, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], axis=0),
        helper.make_node("Conv", ["image", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[8, 8]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Conv", ["p", "wf", "bf"], ["s"]),
        helper.make_node("Flatten", ["s"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "classifier",
        [value("image", TensorProto.FLOAT, ["N", 3, 64, 64])], [value("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def run_operator(
    name: str, inputs: dict[str, np.ndarray], outputs: list[str], **attributes: int
) -> list[np.ndarray]:
    """Run one `rdc` node in ONNX Runtime, which inlines the function body."""
    node = helper.make_node(name, list(inputs), outputs, domain=DOMAIN, plugin_namespace=DOMAIN, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), None)
            for k, v in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(o) for o in outputs],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[FUNCTIONS[name]], ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, inputs
    )


@pytest.fixture(scope="session")
def tiny() -> Codec:
    return Codec(TINY, backend="onnxruntime", threads=1)


@pytest.fixture(scope="session")
def shipped() -> Codec:
    return Codec(SHIPPED, backend="onnxruntime", threads=2)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """Return uint8 [300, 451, 3], a cat."""
    return data.chelsea()


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Return three real photos, uint8, at most 512 pixels a side."""
    return [data.chelsea(), data.astronaut(), data.coffee()[:, 50:511]]


def rdc(*arguments: object) -> Result:
    """Run the command in this process. An exception that it let through fails the test here."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def require_gpu() -> None:
    """Skip a test where there is no GPU, and nowhere else: a backend that fails on one has to be seen."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        pytest.skip(f"no driver for a GPU: {error}")
    if hasattr(driver, "stand_in_counts"):
        pytest.skip("the stand-in is loaded in this process: run with -m gpu")
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        pytest.skip("the driver finds no GPU")


def require_onnxruntime_gpu() -> None:
    """Skip a test without a GPU, or where the package onnxruntime is the one for CPUs."""
    require_gpu()
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
