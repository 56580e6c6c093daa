"""Backends: which one is taken and why, what applications hand over, and what has to be right before a GPU is there.

What they do on a GPU is in test_cuda.py.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from conftest import TINY

from rdc_codec import Codec
from rdc_codec.backends import NAMES, BackendInfo
from rdc_codec.backends.cuda import SOURCE
from rdc_codec.backends.tensorrt import read_record
from rdc_codec.bundle import Bundle
from rdc_codec.errors import BackendError, CorruptError, InputError
from rdc_codec.interop import describe, is_on_device, stream_handle

# --- which one ----------------------------------------------------------------------------------------------------


def test_auto_takes_what_works_and_says_why() -> None:
    info = Codec(TINY).backend
    if info.name == "onnxruntime":
        assert "no tensorrt: no engines in" in info.why and "no onnxruntime-cuda: " in info.why
        assert info.device == "CPUExecutionProvider"
    assert info.name in NAMES[1:] and info.why.endswith("the best that works")
    assert str(info).startswith(f"{info.name} in fp32 on {info.device} (")


def test_a_backend_asked_for_by_name_is_that_one_or_an_error(tmp_path: Path) -> None:
    assert Codec(TINY, backend="onnxruntime").backend == BackendInfo(
        "onnxruntime", "CPUExecutionProvider", "asked for"
    )
    with pytest.raises(BackendError, match="no engines"):
        Codec(TINY, backend="tensorrt")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(BackendError, match="onnxruntime-gpu"):
            Codec(TINY, backend="onnxruntime-cuda")
    with pytest.raises(
        BackendError, match="this version has auto, tensorrt, onnxruntime-cuda, openvino, onnxruntime"
    ):
        Codec(TINY, backend="cuda")
    for number in (-1, 1.0, True, "0"):
        with pytest.raises(InputError, match="device"):
            Codec(TINY, device=number)  # type: ignore[arg-type]


def test_providers_are_those_of_onnx_runtime_and_never_a_silent_cpu(photo: np.ndarray) -> None:
    plain = Codec(TINY, backend="onnxruntime")
    settings = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    for arguments in (
        {"providers": ["CPUExecutionProvider"]},
        {"providers": [settings]},
        {"providers": [settings[0]], "provider_options": [settings[1]], "backend": "onnxruntime"},
    ):
        codec = Codec(TINY, **arguments)  # type: ignore[arg-type]
        assert (codec.backend.name, codec.backend.device) == ("onnxruntime", "CPUExecutionProvider")
        assert codec.encode(photo) == plain.encode(photo)
    with pytest.raises(BackendError, match=r"no provider 'NoSuchProvider'; it has .*CPUExecutionProvider"):
        Codec(TINY, providers=["NoSuchProvider", "CPUExecutionProvider"])
    for wrong in ([], "CPUExecutionProvider", [3], [("CPUExecutionProvider", {}), ()]):
        with pytest.raises(InputError, match="providers must be a list"):
            Codec(TINY, providers=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one entry for each"):
        Codec(TINY, providers=["CPUExecutionProvider"], provider_options=[{}, {}])
    with pytest.raises(InputError, match="belong to providers"):
        Codec(TINY, provider_options=[{}])
    with pytest.raises(InputError, match="providers are for onnxruntime"):
        Codec(TINY, backend="openvino", providers=["CPUExecutionProvider"])
    with pytest.raises(InputError, match="cache_dir is for openvino"):
        Codec(TINY, backend="onnxruntime", cache_dir="somewhere")


def test_a_provider_that_does_not_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, photo: np.ndarray
) -> None:
    """A build of ONNX Runtime for a device, on a machine without it: sessions are made without that provider."""
    known = ort.get_available_providers()
    missing = next(n for n in ort.get_all_providers() if n not in known)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*known, missing])
    codec = Codec(TINY, providers=[missing, "CPUExecutionProvider"])
    with pytest.raises(BackendError, match=f"{missing}"):
        codec.encode(photo)


# --- engines beside a bundle --------------------------------------------------------------------------------------


@pytest.fixture
def engines(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Make a bundle with an engine's record, and that record; the engine itself is no engine."""
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    files = json.loads((TINY / "manifest.json").read_text())["files"]
    about = {"builder": "tensorrt", "graph": files["decode_base.onnx"], "weights": files["weights.bin"]}
    about |= {"file": "decode_base.engine", "sha256": "0" * 64, "version_compatible": False, "plugins": None}
    about |= {"library": None, "version": "11.4", "gpu": "GPU 9.0"}
    return tmp_path, {"decode_base": about}


def write_record(folder: Path, record: object) -> Bundle:
    (folder / "engines.json").write_text(json.dumps(record))
    return Bundle(folder)


def test_a_record_of_engines_belongs_to_its_bundle(engines: tuple[Path, dict[str, Any]]) -> None:
    folder, record = engines
    assert read_record(write_record(folder, record)) == record
    about = record["decode_base"]
    for wrong in ({"graph": "0" * 64}, {"weights": "0" * 64}):
        with pytest.raises(CorruptError, match="another graph"):
            read_record(write_record(folder, {"decode_base": about | wrong}))
    for nonsense in ([], 5, {"decode_base": 5}, {"decode_base": {}}, {"nothing": about}):
        with pytest.raises((CorruptError, BackendError)):
            read_record(write_record(folder, nonsense))
    (folder / "engines.json").write_text("{")
    with pytest.raises(CorruptError, match="cannot be read"):
        read_record(Bundle(folder))


def test_auto_goes_on_where_engines_are_damaged(engines: tuple[Path, dict[str, Any]]) -> None:
    folder, record = engines
    for damaged in ({"decode_base": record["decode_base"] | {"graph": "0" * 64}}, [], record):
        write_record(folder, damaged)
        info = Codec(folder).backend
        assert info.name != "tensorrt" and "no tensorrt: " in info.why


def test_engines_for_another_runtime_are_a_clear_error(engines: tuple[Path, dict[str, Any]]) -> None:
    folder, record = engines
    record["decode_base"]["builder"] = "rtx"
    with pytest.raises(BackendError, match="engines for rtx"):
        read_record(write_record(folder, record))


# --- memory of a GPU where there is none -----------------------------------------------------------------------------


class HostArray:
    """Is host memory that says it is a GPU's."""

    def __init__(self, array: np.ndarray, **more: Any) -> None:
        self.array, self.more = array, more

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        about = dict(self.array.__array_interface__)
        return {k: about[k] for k in ("shape", "typestr", "data", "strides")} | {"version": 3} | self.more


def test_a_codec_on_the_cpu_says_that_it_takes_no_device_memory(tiny, photo) -> None:
    stream = tiny.encode(photo)
    with pytest.raises(InputError, match="a picture in GPU memory needs a backend on a GPU"):
        tiny.encode(HostArray(photo))
    with pytest.raises(InputError, match="cuda_stream needs a backend on a GPU"):
        tiny.encode(photo, cuda_stream=0)
    with pytest.raises(InputError, match="out needs a backend on a GPU"):
        tiny.decode(stream, out="device")
    with pytest.raises(InputError, match="cuda_stream is for pictures"):
        tiny.decode(stream, cuda_stream=0)


# --- what applications hand over --------------------------------------------------------------------------------------


def test_host_arrays_are_not_on_a_device() -> None:
    import torch

    for host in (
        np.zeros((2, 2, 3), np.uint8),
        torch.zeros(2, 2, 3, dtype=torch.uint8),
        None,
        "x",
        b"x",
        [1],
    ):
        assert not is_on_device(host)


def test_a_cuda_array_is_described() -> None:
    array = np.zeros((4, 5, 3), np.uint8)
    image = describe(HostArray(array, stream=2), 7)
    assert (image.pointer, image.height, image.width) == (array.ctypes.data, 4, 5)
    assert image.strides == (15, 3, 1) and image.stream == 2 and not image.readonly
    for wrong in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 1), np.uint8), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(InputError):
            describe(HostArray(wrong), 7)
    with pytest.raises(InputError, match="stream 0"):
        describe(HostArray(array, stream=0), 7)
    with pytest.raises(InputError, match="mask"):
        describe(HostArray(array, mask=HostArray(array)), 7)


def test_streams_of_all_libraries_have_a_handle() -> None:
    def made(**attributes: Any) -> Any:
        return type("Stream", (), attributes)()

    assert stream_handle(0) == 0 and stream_handle(1 << 40) == 1 << 40
    assert stream_handle(made(handle=5)) == 5  # pycuda
    assert stream_handle(made(handle=ctypes.c_void_p(5))) == 5  # numba
    assert stream_handle(made(handle=ctypes.c_void_p(0))) == 0  # its default one
    assert stream_handle(type("CUstream", (), {"__int__": lambda self: 10})()) == 10  # cuda-bindings
    assert stream_handle(made(ptr=6)) == 6  # CuPy
    assert stream_handle(made(cuda_stream=8)) == 8  # PyTorch
    assert stream_handle(made(__cuda_stream__=lambda self: (0, 9), handle=5)) == 9  # cuda-core
    for wrong in (True, -1, 1.5, "0", object(), None):
        with pytest.raises(InputError, match="stream"):
            stream_handle(wrong)


# --- before a GPU is there --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pixel_kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Build src/rdc_codec/backends/pixels.cu for the CPU (tests/emulated_cuda)."""
    folder = tmp_path_factory.mktemp("pixels")
    wrapper = folder / "wrapper.cpp"
    wrapper.write_text(f"""
#include <cuda_runtime_api.h>
#include "{SOURCE}"
extern "C" int pad(const unsigned char* image, long long a, long long b, long long c, int height, int width,
                   signed char* padded, int rows, int columns) {{
  return emulated_launch(pad_pixels, dim3((rows * columns + 31) / 32), 32, 0, image, a, b, c, height, width, padded,
                         rows, columns);
}}
extern "C" int crop(const signed char* padded, int columns, unsigned char* image, long long a, long long b, long long c,
                    int height, int width) {{
  return emulated_launch(crop_pixels, dim3((height * width + 31) / 32), 32, 0, padded, columns, image, a, b, c, height,
                         width);
}}
""")
    library = folder / "libpixels.so"
    include = Path(__file__).parent / "emulated_cuda"
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-D__CUDACC__", "-I", str(include), "-lpthread"]
    subprocess.run(
        ["c++", str(wrapper), *flags, "-o", str(library)], check=True, capture_output=True, text=True
    )
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 64), (64, 64), (65, 3)])
def test_the_pixel_kernels_pad_and_crop(pixel_kernels: ctypes.CDLL, height: int, width: int) -> None:
    random = np.random.default_rng(height)
    planes = random.integers(0, 256, (3, height, width), np.uint8)
    for picture in (np.ascontiguousarray(planes.transpose(1, 2, 0)), planes.transpose(1, 2, 0)):
        rows, columns = (-(-side // 64) * 64 for side in (height, width))
        padded = np.zeros((rows, columns, 3), np.int8)
        steps = [ctypes.c_longlong(step) for step in picture.strides]
        address = ctypes.c_void_p(picture.ctypes.data)
        assert not pixel_kernels.pad(
            address, *steps, height, width, ctypes.c_void_p(padded.ctypes.data), rows, columns
        )
        expected = np.pad(picture, ((0, rows - height), (0, columns - width), (0, 0)), "edge")
        np.testing.assert_array_equal(padded.view(np.uint8) ^ 0x80, expected)
        back = np.zeros_like(planes)
        out = back.transpose(1, 2, 0)
        steps = [ctypes.c_longlong(step) for step in out.strides]
        assert not pixel_kernels.crop(
            ctypes.c_void_p(padded.ctypes.data),
            columns,
            ctypes.c_void_p(back.ctypes.data),
            *steps,
            height,
            width,
        )
        np.testing.assert_array_equal(out, picture)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_the_pixel_kernels_compile_at_run_time(arch: str) -> None:
    core = pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    try:
        nvrtc.nvrtcVersion()
    except (OSError, RuntimeError) as error:
        pytest.skip(f"the library of NVRTC is not installed: {error}")
    options = core.ProgramOptions(arch=arch)
    assert core.Program(SOURCE.read_text(), "c++", options=options).compile("cubin").code


def test_the_apis_that_gpu_backends_call_are_there() -> None:
    trt = pytest.importorskip("tensorrt_lean", reason="tensorrt-lean is not installed")
    wanted = {
        trt.Runtime: ("deserialize_cuda_engine", "engine_host_code_allowed", "get_plugin_registry"),
        trt.ICudaEngine: ("create_execution_context", "get_tensor_profile_shape"),
        trt.IExecutionContext: (
            "set_input_shape",
            "infer_shapes",
            "update_device_memory_size_for_shapes",
            "set_device_memory",
            "set_tensor_address",
            "execute_async_v3",
        ),
        trt.ExecutionContextAllocationStrategy: ("USER_MANAGED",),
    }
    missing = [(owner, name) for owner, names in wanted.items() for name in names if not hasattr(owner, name)]
    assert not missing
