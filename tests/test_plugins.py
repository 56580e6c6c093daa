"""The TensorRT plugin library: what a builder asks, what an engine runs, and what the real registry finds in it.

The plugins run on the CPU through the emulated kernels (tests/emulated_cuda) where the headers of TensorRT are found:
in $TENSORRT_INCLUDE, or where Debian and the tar archives put them. Results are those of the function bodies.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import run_operator
from kernel_library import CMAKE

ROOT = Path(__file__).parents[1]
FLOAT, HALF, INT8, INT32 = 0, 1, 2, 3  # nvinfer1::DataType
LINEAR, HWC8, HWC = 0, 2, 8  # nvinfer1::TensorFormat
TYPES = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.float16): HALF,
    np.dtype(np.int8): INT8,
    np.dtype(np.int32): INT32,
}
OPERATIONS = ("ImageToTensor", "GainQuantize", "GainDequantize", "BlendToImage")


def headers() -> Path:
    """Return the folder of NvInferRuntime.h; skips the test where there is none."""
    places = [
        os.environ.get("TENSORRT_INCLUDE", ""),
        "/usr/include/x86_64-linux-gnu",
        "/usr/local/tensorrt/include",
    ]
    for place in places:
        if place and (Path(place) / "NvInferRuntime.h").exists():
            return Path(place)
    pytest.skip("the headers of TensorRT are not installed (or set TENSORRT_INCLUDE to their folder)")


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_void_p),
        ("sizes", ctypes.c_int32 * 4),
        ("dimensions", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("format", ctypes.c_int32),
    ]


class Harness:
    """Calls tests/plugin_harness.cpp, which calls the plugins in TensorRT's place."""

    def __init__(self, library: Path) -> None:
        self.native = ctypes.CDLL(str(library))
        self.native.harness_create.restype = ctypes.c_void_p
        self.native.harness_create.argtypes = [
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.c_bool,
        ]
        self.native.harness_timing_id.restype = ctypes.c_char_p
        self.native.harness_supports.restype = ctypes.c_bool

    def create(
        self, name: str, field: str | None = None, value: int = 0, wide: bool = False
    ) -> ctypes.c_void_p | None:
        found = self.native.harness_create(name.encode(), field.encode() if field else None, value, wide)
        return ctypes.c_void_p(found) if found else None

    def describe(self, arrays: list[np.ndarray], formats: list[int]) -> ctypes.Array[_Tensor]:
        """Describe tensors: shapes in NCHW order, memory as it is."""
        tensors = (_Tensor * len(arrays))()
        for tensor, array, layout in zip(tensors, arrays, formats, strict=True):
            tensor.address = array.ctypes.data
            tensor.dimensions, tensor.type, tensor.format = array.ndim, TYPES[array.dtype], layout
            tensor.sizes[: array.ndim] = array.shape
        return tensors

    def run(
        self, plugin: ctypes.c_void_p, inputs: list[np.ndarray], outputs: list[np.ndarray], formats: list[int]
    ) -> list[np.ndarray]:
        def laid_out(array: np.ndarray, layout: int) -> np.ndarray:
            if layout == LINEAR:
                return np.ascontiguousarray(array)
            return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # NHWC in memory

        arrays = [laid_out(a, f) for a, f in zip([*inputs, *outputs], formats, strict=True)]
        tensors = self.describe(arrays, formats)
        assert self.native.harness_supports(plugin, tensors, len(inputs), len(outputs))
        assert self.native.harness_enqueue(plugin, tensors, len(inputs), len(outputs), None) == 0
        return arrays[len(inputs) :]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    include, folder = headers(), tmp_path_factory.mktemp("plugins")
    library = folder / "harness.so"
    flags = [
        "-std=c++20",
        "-O1",
        "-w",
        "-ffp-contract=off",
        "-fPIC",
        "-shared",
        "-D__CUDACC__",
        "-DRDC_EMULATED_CUDA",
    ]
    sources = ["kernels/tensorrt/plugins.cpp", "kernels/cuda/gain.cu", "kernels/cuda/image.cu"]
    command = ["c++", *flags, "-I", str(ROOT / "tests/emulated_cuda"), "-isystem", str(include), "-x", "c++"]
    command += [
        *(str(ROOT / s) for s in (*sources, "tests/plugin_harness.cpp")),
        "-o",
        str(library),
        "-lpthread",
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return Harness(library)


def test_only_valid_fields_make_plugins(harness) -> None:
    for wide in (False, True):
        assert all(harness.create("GainQuantize", "pass", index, wide) for index in range(-1, 4))
        assert not any(harness.create("GainQuantize", "pass", index, wide) for index in (-2, 4, 10))
        assert harness.create("ImageToTensor", "to", 1, wide) and harness.create(
            "ImageToTensor", "to", 10, wide
        )
        assert not harness.create("ImageToTensor", "to", 11, wide)
    assert not harness.create("GainQuantize", "pass", 2**32, True)  # which is 0 in 32 bits
    assert harness.create("BlendToImage")
    assert not harness.create("GainDequantize") and not harness.create("GainDequantize", "index", 1)


def test_timing_ids_tell_plugins_apart(harness) -> None:
    ids = [harness.native.harness_timing_id(harness.create("GainQuantize", "pass", k)) for k in (0, 1, 1)]
    assert None not in ids and ids[0] != ids[1] and ids[1] == ids[2]


@pytest.mark.parametrize(
    ("dtype", "layout"), [(np.float32, LINEAR), (np.float32, HWC), (np.float16, LINEAR), (np.float16, HWC8)]
)
def test_plugins_compute_what_the_bodies_do(harness, dtype, layout) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(-128, 128, (2, 24, 40, 3)).astype(np.int8)
    to = 10 if dtype == np.float16 else 1
    (expected,) = run_operator("ImageToTensor", {"pixels": pixels}, ["y"], to=to)
    plugin = harness.create("ImageToTensor", "to", to)
    (folded,) = harness.run(plugin, [pixels], [np.zeros_like(expected)], [LINEAR, layout])
    np.testing.assert_array_equal(folded, expected)

    r, beta = rng.normal(0, 0.3, folded.shape).astype(dtype), np.array([0.25, 1], np.float32)
    (expected,) = run_operator("BlendToImage", {"x1": folded, "r": r, "beta": beta}, ["p"])
    formats = [layout, layout, LINEAR, LINEAR]
    (shown,) = harness.run(
        harness.create("BlendToImage"), [folded, r, beta], [np.zeros_like(pixels)], formats
    )
    np.testing.assert_array_equal(shown, expected)

    shape = (2, 192, 3, 5)
    y, mean, acc = (rng.normal(0, s, shape).astype(dtype) for s in (30, 3, 1))
    gains, level = np.ones((3, 192), np.float32), np.array([0.3, 2], np.float32)
    inputs = {"y": y, "mean": mean, "gains": gains, "level": level, "acc": acc}
    expected_symbols, expected = run_operator("GainQuantize", inputs, ["s", "d"], **{"pass": 2})
    formats = [layout, layout, LINEAR, LINEAR, layout, LINEAR, layout]
    plugin = harness.create("GainQuantize", "pass", 2)
    symbols, decoded = harness.run(
        plugin, [*inputs.values()], [np.full(shape, -9, np.int32), np.zeros_like(acc)], formats
    )
    np.testing.assert_array_equal(symbols, expected_symbols)
    np.testing.assert_array_equal(decoded, expected)
    plugin = harness.create("GainDequantize", "pass", 2)
    formats = [LINEAR, layout, layout, layout]
    (again,) = harness.run(plugin, [symbols, mean, acc], [np.zeros_like(acc)], formats)
    np.testing.assert_array_equal(again, decoded)


def test_formats_that_kernels_cannot_read_are_refused(harness) -> None:
    def supports(plugin, arrays: list[np.ndarray], formats: list[int]) -> bool:
        tensors = harness.describe(arrays, formats)
        return harness.native.harness_supports(plugin, tensors, len(arrays) - 1, 1)

    plugin = harness.create("GainDequantize", "pass", 0)
    odd = np.zeros((1, 12, 2, 2), np.float16)  # kHWC8 would pad 12 channels to 16
    symbols = np.zeros(odd.shape, np.int32)
    assert supports(plugin, [symbols, odd, odd, odd], [LINEAR] * 4)
    assert not supports(plugin, [symbols, odd, odd, odd], [LINEAR, HWC8, HWC8, HWC8])
    assert not supports(plugin, [symbols, odd, odd, odd.astype(np.float32)], [LINEAR] * 4)
    assert not supports(plugin, [symbols, odd, odd, odd], [LINEAR, LINEAR, LINEAR, HWC8])
    to_half = harness.create("ImageToTensor", "to", 10)
    pixels, folded = np.zeros((1, 8, 8, 3), np.int8), np.zeros((1, 192, 1, 1), np.float32)
    assert not supports(to_half, [pixels, folded], [LINEAR, LINEAR])


REGISTRY = """
import sys
import numpy as np
import tensorrt_lean as trt

logger, registry = trt.Logger(), trt.get_plugin_registry()
registry.load_library(sys.argv[1])
for name in sys.argv[2:]:
    creator = registry.get_creator(name, "1", "rdc")
    assert creator is not None, name
    fields = [f.name for f in creator.field_names]
    assert fields == {"ImageToTensor": ["to"], "BlendToImage": []}.get(name, ["pass"]), fields
    given = [trt.PluginField(f, np.array([1], np.int32), trt.PluginFieldType.INT32) for f in fields]
    assert creator.create_plugin(name, trt.PluginFieldCollection(given), trt.TensorRTPhase.BUILD) is not None
    wrong = [trt.PluginField(f, np.array([99], np.int32), trt.PluginFieldType.INT32) for f in fields]
    refused = creator.create_plugin(name, trt.PluginFieldCollection(wrong), trt.TensorRTPhase.BUILD)
    assert (refused is None) == bool(fields)
"""


def test_the_registry_of_tensorrt_finds_and_creates_them(tmp_path) -> None:
    include = headers()
    if not shutil.which("nvcc"):
        pytest.skip("nvcc is not installed")
    build = [
        *CMAKE,
        "-S",
        str(ROOT / "kernels/tensorrt"),
        "-B",
        str(tmp_path),
        f"-DTENSORRT_INCLUDE={include}",
    ]
    for command in (
        [*build, "-DCMAKE_CUDA_ARCHITECTURES=90"],
        [*CMAKE, "--build", str(tmp_path), "--parallel", "2"],
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)
    (library,) = tmp_path.glob("librdc_tensorrt_plugins.*")
    if importlib.util.find_spec("tensorrt_lean") is None:
        pytest.skip("the library was built, but tensorrt-lean is not installed")
    subprocess.run([sys.executable, "-c", REGISTRY, str(library), *OPERATIONS], check=True)
