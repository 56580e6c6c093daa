"""What only a real GPU can show (the rest is in test_cuda.py): backends on it against the CPU, pictures of PyTorch and
pycuda in its memory, plugins in CUDA graphs.

`make test-gpu`. Streams are what has to be equal; pictures may differ by a grey level in rare samples.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHIPPED, TINY, require_onnxruntime_gpu, run_operator
from kernel_library import CMAKE
from test_plugins import INT8, LINEAR, ROOT, Harness, headers

from export import to_engine, to_half
from rdc_codec import Codec
from rdc_codec.backends.cuda import CudaStream, Gpu
from rdc_codec.errors import BackendError

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(3600)]  # engines take minutes


@pytest.fixture
def foreign_context() -> Iterator[None]:
    """Make a CUDA context that is not the device's primary one, as pycuda applications have; current within."""
    from cuda.bindings import driver

    driver.cuInit(0)
    code, context = driver.cuCtxCreate(None, 0, driver.cuDeviceGet(0)[1])
    assert int(code) == 0
    yield
    driver.cuCtxDestroy(context)


@pytest.fixture(scope="module")
def torch() -> Any:
    """Return PyTorch as an application would use it."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no CUDA here")
    return torch


@pytest.fixture(scope="module")
def engines_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build engines of the shipped bundle in a precision, without plugins, once for each."""
    folder = tmp_path_factory.mktemp("engines")

    def build(precision: str) -> Path:
        pytest.importorskip("tensorrt", reason="TensorRT is not installed")
        made = folder / precision
        if not made.exists():
            to_engine.main([str(SHIPPED), "-o", str(made), "--precision", precision, "--max", "1088x1920"])
        return made

    return build


@pytest.fixture(params=["fp32", "fp16"])
def engines(request: pytest.FixtureRequest, engines_of: Callable[[str], Path]) -> Path:
    return engines_of(request.param)


@pytest.fixture(scope="module")
def matrix_products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the shipped bundle in fp16, with its 1x1 convolutions as matrix products."""
    folder = tmp_path_factory.mktemp("products") / "bundle"
    to_half.main([str(SHIPPED), "-o", str(folder), "--products"])
    return folder


@pytest.fixture(params=["onnxruntime-cuda", "products", "tensorrt fp32", "tensorrt fp16"])
def on_gpu(request: pytest.FixtureRequest) -> Codec:
    if request.param.startswith("tensorrt"):
        build = request.getfixturevalue("engines_of")
        return Codec(build(request.param.split()[1]), backend="tensorrt")
    bundle = request.getfixturevalue("matrix_products") if request.param == "products" else SHIPPED
    require_onnxruntime_gpu()
    return Codec(bundle, backend="onnxruntime-cuda")


@pytest.fixture(scope="module")
def on_cpu() -> Codec:
    return Codec(SHIPPED, backend="onnxruntime")


def assert_same_picture(found: np.ndarray, expected: np.ndarray, half: bool) -> None:
    difference = np.abs(found.astype(int) - expected.astype(int))
    most, share = (4, 0.05) if half else (1, 1e-3)
    assert difference.max() <= most and (difference > 0).mean() <= share


def is_half(codec: Codec) -> bool:
    return codec.bundle.manifest.get("precision") == "fp16"


@pytest.mark.parametrize("size", [(64, 64), (70, 90), (512, 512), (1, 1)])
def test_streams_of_the_gpu_and_the_cpu_are_read_by_both(on_gpu, on_cpu, photos, size) -> None:
    picture = np.resize(photos[0], (*size, 3)) if min(size) > min(photos[0].shape[:2]) else photos[0]
    picture = np.ascontiguousarray(picture[: size[0], : size[1]])
    for quality in (0, 50, 100):
        streams = [codec.encode(picture, quality) for codec in (on_gpu, on_cpu)]
        for stream in streams:
            ours, theirs = on_gpu.symbols(stream), on_cpu.symbols(stream)
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
            for beta in (0.0, 0.5, 1.0):
                assert_same_picture(on_gpu.decode(stream, beta), on_cpu.decode(stream, beta), is_half(on_gpu))


def test_sizes_and_batches_mix(on_gpu, on_cpu, photos) -> None:
    pictures = [photos[k % 3][: 64 + 40 * (k % 4), : 200 - 30 * (k % 5)] for k in range(24)]
    streams = list(on_gpu.encode_batch(pictures, 60))
    assert streams == [on_gpu.encode(p, 60) for p in pictures]
    for stream, found in zip(streams, on_gpu.decode_batch(streams, 0.25), strict=True):
        np.testing.assert_array_equal(found, on_gpu.decode(stream, 0.25))
        assert_same_picture(found, on_cpu.decode(stream, 0.25), is_half(on_gpu))


def test_cuda_graphs_bear_other_threads_and_the_applications_own_allocations(on_cpu, photos, torch) -> None:
    """In ONNX Runtime. That repeated sizes are captured is in test_cuda.py."""
    require_onnxruntime_gpu()
    codec = Codec(SHIPPED, backend="onnxruntime-cuda")
    size = (256, 320)
    without = Codec(SHIPPED, backend="onnxruntime-cuda", cuda_graphs=False)
    for _ in range(2):
        for k in range(5):
            picture = np.roll(photos[k % 3][: size[0], : size[1]], 7 * k, axis=0)
            stream = without.encode(picture, 50)
            assert codec.encode(picture, 50) == stream
            np.testing.assert_array_equal(codec.decode(stream), without.decode(stream))
            assert_same_picture(codec.decode(stream), on_cpu.decode(stream), False)
        codec.decode(codec.encode(photos[0][:64, :64]))  # ends the graphs of the other size
    fresh = Codec(SHIPPED, backend="onnxruntime-cuda")  # four workers make sessions and capture meanwhile
    with ThreadPoolExecutor(4) as pool:
        under_way = [pool.submit(fresh.encode, photos[0][: size[0], : size[1]]) for _ in range(40)]
        while not all(one.done() for one in under_way):
            torch.empty(1 << 22, device="cuda")
            torch.cuda.empty_cache()
        assert len({one.result() for one in under_way}) == 1


def test_pictures_stay_in_gpu_memory(on_gpu, photo, torch) -> None:
    tensor = torch.from_numpy(photo).cuda()
    stream = on_gpu.encode(photo)
    assert on_gpu.encode(tensor) == stream
    assert on_gpu.encode(tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0)) == stream, "any strides"

    class OnlyDlpack:
        shape = tensor.shape

        def __dlpack__(self, **options: Any) -> Any:
            return tensor.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return tensor.__dlpack_device__()

    assert on_gpu.encode(OnlyDlpack()) == stream
    expected = on_gpu.decode(stream)
    for taken in (torch.as_tensor, torch.from_dlpack):
        np.testing.assert_array_equal(taken(on_gpu.decode(stream, out="device")).cpu().numpy(), expected)
    out = torch.zeros_like(tensor)
    assert on_gpu.decode(stream, out=out) is out
    np.testing.assert_array_equal(out.cpu().numpy(), expected)


def test_the_order_of_the_callers_stream_is_kept(on_gpu, photo, torch) -> None:
    side = torch.cuda.Stream()
    expected = on_gpu.encode(photo)
    shown = on_gpu.decode(expected)
    with torch.cuda.stream(side):
        tensor = torch.zeros(photo.shape, dtype=torch.uint8, device="cuda")
        torch.cuda._sleep(200_000_000)  # the picture comes late
        tensor.copy_(torch.from_numpy(photo).pin_memory(), non_blocking=True)
        assert on_gpu.encode(tensor, cuda_stream=side) == expected
        out = torch.zeros_like(tensor)
        on_gpu.decode(expected, out=out, cuda_stream=side)
        later = out.clone()  # queued, not waited for
    side.synchronize()
    np.testing.assert_array_equal(later.cpu().numpy(), shown)


def test_the_context_of_the_thread_is_left_as_it_was(on_gpu, photo) -> None:
    from cuda.bindings import driver

    before = int(driver.cuCtxGetCurrent()[1])
    on_gpu.decode(on_gpu.encode(photo))
    assert int(driver.cuCtxGetCurrent()[1]) == before


def test_a_context_of_the_application_is_used(engines: Path, foreign_context, photo, on_cpu) -> None:
    from cuda.bindings import driver

    context = int(driver.cuCtxGetCurrent()[1])
    codec = Codec(engines, backend="tensorrt")
    gpu = Gpu(None)  # as the codec makes it
    gpu_stream = CudaStream(gpu)
    assert gpu.context == int(driver.cuStreamGetCtx(gpu_stream.handle)[1]) == context
    code, memory = driver.cuMemAlloc(photo.nbytes)
    assert int(code) == 0
    driver.cuMemcpyHtoD(memory, photo.ctypes.data, photo.nbytes)
    about = {
        "shape": photo.shape,
        "typestr": "|u1",
        "data": (int(memory), False),
        "version": 3,
        "stream": None,
    }
    array = type("Array", (), {"__cuda_array_interface__": about})()
    stream = driver.cuStreamCreate(0)[1]
    data = codec.encode(array, cuda_stream=stream)
    assert data == codec.encode(photo)
    for _ in range(3):
        codec.decode(data, out=array, cuda_stream=stream)
    found = np.zeros_like(photo)
    driver.cuMemcpyDtoHAsync(found.ctypes.data, memory, photo.nbytes, stream)
    driver.cuStreamSynchronize(stream)
    assert_same_picture(found, on_cpu.decode(data), is_half(codec))
    assert int(driver.cuCtxGetCurrent()[1]) == context
    with pytest.raises(BackendError, match="primary CUDA context"):
        Codec(SHIPPED, backend="onnxruntime-cuda")
    del codec
    driver.cuMemFree(memory)


def test_pictures_left_on_a_stream_do_not_run_into_each_other(on_gpu, photos, torch) -> None:
    side = torch.cuda.Stream()
    streams = [on_gpu.encode(p[:256, :256]) for p in photos]
    shown = [on_gpu.decode(stream) for stream in streams]
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        found = [torch.zeros(256, 256, 3, dtype=torch.uint8, device="cuda") for _ in streams]
        for stream, out in zip(streams, found, strict=True):
            on_gpu.decode(stream, out=out, cuda_stream=side)
    side.synchronize()
    for out, expected in zip(found, shown, strict=True):
        np.testing.assert_array_equal(out.cpu().numpy(), expected)


def test_pictures_larger_than_an_engine_are_a_clear_error(engines: Path) -> None:
    codec = Codec(engines, backend="tensorrt")
    with pytest.raises(BackendError, match="build it for such sizes"):
        codec.encode(np.zeros((2200, 1000, 3), np.uint8))
    assert codec.encode(np.zeros((64, 64, 3), np.uint8))


def test_engines_are_kept_and_refused_when_they_are_not_theirs(engines: Path, tmp_path: Path, capsys) -> None:
    arguments = [str(SHIPPED), "-o", str(engines), "--max", "1088x1920"]
    arguments += ["--precision", Codec(engines).bundle.manifest["precision"]]
    capsys.readouterr()
    to_engine.main(arguments)
    assert capsys.readouterr().out.count(": kept") == 4
    copy = shutil.copytree(engines, tmp_path / "copy")
    with open(copy / "decode_base.engine", "ab") as file:
        file.write(b"x")
    with pytest.raises(Exception, match=r"engines\.json names"):
        Codec(copy, backend="tensorrt")


def test_engines_with_plugins_agree_with_those_without(tmp_path: Path, on_cpu, photo) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    include = headers()
    configure = [*CMAKE, "-S", str(ROOT / "kernels/tensorrt"), "-B", str(tmp_path / "build")]
    configure += [f"-DTENSORRT_INCLUDE={include}", "-DCMAKE_CUDA_ARCHITECTURES=native"]
    subprocess.run(configure, check=True, capture_output=True, text=True)
    subprocess.run([*CMAKE, "--build", str(tmp_path / "build")], check=True, capture_output=True, text=True)
    (library,) = (tmp_path / "build").glob("librdc_tensorrt_plugins.*")
    for precision in ("fp32", "fp16"):
        folder = tmp_path / precision
        to_engine.main(
            [
                str(SHIPPED),
                "-o",
                str(folder),
                "--precision",
                precision,
                "--plugins",
                str(library),
                "--max",
                "1088x1920",
            ]
        )
        codec = Codec(folder, backend="tensorrt")
        stream = codec.encode(photo, 50)
        assert_same_picture(codec.decode(stream, 0.25), on_cpu.decode(stream, 0.25), precision == "fp16")


def test_auto_takes_the_gpu(torch) -> None:
    codec = Codec(TINY)
    assert codec.backend.name in ("onnxruntime-cuda", "onnxruntime")
    if codec.backend.name == "onnxruntime":
        assert "no onnxruntime-cuda: this onnxruntime has no CUDAExecutionProvider" in codec.backend.why


def test_plugins_run_inside_a_captured_graph(tmp_path: Path, torch) -> None:
    """The harness of test_plugins with real kernels: enqueued while a graph is captured, which is then replayed."""
    include = headers()
    if not shutil.which("nvcc"):
        pytest.skip("nvcc is not installed")
    library = tmp_path / "harness.so"
    sources = ["kernels/tensorrt/plugins.cpp", "kernels/cuda/gain.cu", "kernels/cuda/image.cu"]
    command = [
        "nvcc",
        "-std=c++17",
        "-O2",
        "-shared",
        "-Xcompiler",
        "-fPIC",
        "-arch=native",
        "-isystem",
        str(include),
    ]
    command += [
        "-x",
        "cu",
        *(str(ROOT / s) for s in (*sources, "tests/plugin_harness.cpp")),
        "-o",
        str(library),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    harness = Harness(library)
    plugin = harness.create("BlendToImage")
    rng = np.random.default_rng(0)
    x1, r = (rng.normal(0.5, 0.3, (2, 192, 3, 5)).astype(np.float32) for _ in range(2))
    beta, pixels = np.array([0.25, 1], np.float32), np.zeros((2, 24, 40, 3), np.int8)
    memory = [torch.from_numpy(a).cuda() for a in (x1, r, beta, pixels)]
    tensors = harness.describe([x1, r, beta, pixels], [LINEAR] * 4)
    for tensor, here in zip(tensors, memory, strict=True):
        tensor.address = here.data_ptr()
    assert tensors[3].type == INT8

    def enqueue() -> None:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        assert harness.native.harness_enqueue(plugin, tensors, 3, 1, stream) == 0

    assert harness.native.harness_supports(plugin, tensors, 3, 1)
    enqueue()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        enqueue()
    for _ in range(2):
        memory[0].copy_(torch.from_numpy(x1 := np.roll(x1, 1, axis=1)))
        memory[3].zero_()
        graph.replay()
        torch.cuda.synchronize()
        (expected,) = run_operator("BlendToImage", {"x1": x1, "r": r, "beta": beta}, ["p"])
        np.testing.assert_array_equal(memory[3].cpu().numpy(), expected)


def test_an_application_with_a_pycuda_context_of_its_own(engines: Path, photo, on_cpu) -> None:
    cuda = pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    from pycuda import gpuarray

    cuda.init()
    context = cuda.Device(0).make_context()
    try:
        codec, stream = Codec(engines, backend="tensorrt"), cuda.Stream()
        data = codec.encode(gpuarray.to_gpu_async(photo, stream=stream), cuda_stream=stream)
        memory = cuda.mem_alloc(photo.nbytes)
        target = gpuarray.GPUArray(photo.shape, np.uint8, gpudata=memory)
        codec.decode(data, out=target, cuda_stream=stream)
        found = target.get_async(stream=stream)
        stream.synchronize()
        assert_same_picture(found, on_cpu.decode(data), is_half(codec))
        del codec, target, memory, stream
    finally:
        context.pop()
