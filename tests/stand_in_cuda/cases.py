"""What rdc_codec.backends.cuda calls of cuda-core and of the driver, on the stand-in (driver.cpp), for whose sake this
runs in a process of its own: `tests/test_cuda.py`.

ONNX Runtime's CPU provider computes on the stand-in's memory, which is the host's.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from conftest import TINY

from rdc_codec import Codec
from rdc_codec.backends import BackendInfo
from rdc_codec.backends.cuda import CudaStream, DeviceMemory, Gpu, no_capture
from rdc_codec.backends.gpu_pool import GpuBackend
from rdc_codec.backends.ort_cuda import OnnxLauncher
from rdc_codec.errors import BackendError, CorruptError, InputError
from rdc_codec.interop import describe

driver = ctypes.CDLL("libcuda.so.1")
BYTES = np.dtype(np.uint8)


def counts() -> dict[str, int]:
    names = ("kernels", "graphs", "blocks", "streams", "executables", "pinned", "events")
    found = (ctypes.c_long * len(names))()
    driver.stand_in_counts(found)
    return dict(zip(names, found, strict=True))


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    assert hasattr(driver, "stand_in_counts"), "this is not the stand-in"
    return Gpu(None)


@pytest.fixture
def gpu_stream(gpu: Gpu):
    with gpu.current():
        yield CudaStream(gpu)


def codec_on(gpu: Gpu) -> Codec:
    codec = Codec(TINY, backend="onnxruntime")
    launcher = OnnxLauncher(codec.bundle, ort.SessionOptions(), "CPUExecutionProvider", "cpu")
    info = BackendInfo("stand-in", gpu.name, "a test")
    codec._backend = GpuBackend(info, codec.bundle, launcher, lambda: CudaStream(gpu))
    return codec


def test_the_calling_thread_keeps_its_context(gpu: Gpu) -> None:
    found: list[int] = []

    def look() -> None:
        current = ctypes.c_void_p()
        driver.cuCtxGetCurrent(ctypes.byref(current))
        found.append(current.value or 0)

    def work() -> None:
        look()
        with gpu.current():
            look()
        look()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0, gpu.context, 0]
    assert gpu.is_primary() and gpu.driver_version() == 13000


def test_a_context_of_the_application_is_taken(gpu: Gpu) -> None:
    found = []

    def work() -> None:
        other = ctypes.c_void_p()
        driver.stand_in_other_context(ctypes.byref(other))
        driver.cuCtxSetCurrent(other)
        mine = Gpu(None)
        found.append(mine.context == other.value and not mine.is_primary())
        codec = codec_on(mine)
        picture = codec.decode(codec.encode(np.zeros((70, 90, 3), np.uint8)), out="device")
        with pytest.raises(InputError, match="another CUDA context"):
            codec_on(gpu).encode(picture)
        found.append(codec.encode(picture) == codec.encode(np.asarray(view(picture))))
        del codec, picture
        current = ctypes.c_void_p()
        driver.cuCtxGetCurrent(ctypes.byref(current))
        found.append(current.value == other.value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True, True, True]


def view(picture: Any) -> np.ndarray:
    """A packed picture of the stand-in as an array."""
    size = int(np.prod(picture.shape))
    return np.frombuffer((ctypes.c_uint8 * size).from_address(picture.pointer), np.uint8).reshape(
        picture.shape
    )


def test_a_codec_on_a_lane_gives_what_the_cpu_gives(gpu: Gpu, photos: list[np.ndarray]) -> None:
    plain, codec = Codec(TINY, backend="onnxruntime"), codec_on(gpu)
    before = counts()["kernels"]
    for k, (height, width) in enumerate(
        [(70, 90), (64, 64), (1, 1), (130, 65), (70, 90), (70, 90), (70, 90)]
    ):
        picture = photos[k % 3][:height, :width]
        stream = plain.encode(picture, 60)
        assert codec.encode(picture, 60) == stream
        for beta in (0.0, 0.5):
            np.testing.assert_array_equal(codec.decode(stream, beta), plain.decode(stream, beta))
    assert counts()["kernels"] == before, "pictures of the host are padded on the host"
    streams = [plain.encode(p[:100, :100]) for p in photos]
    assert list(codec.encode_batch(p[:100, :100] for p in photos)) == streams
    for found, stream in zip(codec.decode_batch(streams), streams, strict=True):
        np.testing.assert_array_equal(found, plain.decode(stream))


def test_pictures_stay_in_memory_of_the_device(gpu: Gpu, photo: np.ndarray) -> None:
    plain, codec = Codec(TINY, backend="onnxruntime"), codec_on(gpu)
    picture = np.ascontiguousarray(photo[:70, :90])
    stream = plain.encode(picture)
    shown = codec.decode(stream, out="device")
    np.testing.assert_array_equal(view(shown), plain.decode(stream))
    assert shown.__dlpack_device__() == (2, 0) and shown.__cuda_array_interface__["shape"] == (70, 90, 3)

    class OnlyDlpack:
        shape = shown.shape

        def __dlpack__(self, **options: Any) -> Any:
            return shown.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return shown.__dlpack_device__()

    view(shown)[:] = picture
    queue = ctypes.c_void_p()
    with gpu.current():
        assert driver.cuStreamCreate(ctypes.byref(queue), 0) == 0
    for array in (shown, OnlyDlpack()):
        assert codec.encode(array) == stream
        assert codec.encode(array, cuda_stream=queue) == stream
    assert codec.decode(stream, out=shown, cuda_stream=queue) is shown
    np.testing.assert_array_equal(view(shown), plain.decode(stream))
    driver.cuStreamDestroy_v2(queue)


def test_memory_of_the_host_is_refused(gpu: Gpu) -> None:
    host = np.zeros((70, 90, 3), np.uint8)
    about = {"shape": host.shape, "typestr": "|u1", "data": (host.ctypes.data, False), "version": 3}
    with pytest.raises(InputError, match="not in the memory of GPU 0"):
        codec_on(gpu).encode(type("Array", (), {"__cuda_array_interface__": about})())


def test_kernels_and_copies_within_the_gpu_are_captured(gpu_stream: CudaStream, photo: np.ndarray) -> None:
    picture = gpu_stream.picture(70, 90)
    block = gpu_stream.device(128 * 128 * 3)
    image = describe(picture, gpu_stream.handle)
    graph = gpu_stream.capture(lambda: gpu_stream.pad(image, block, 128, 128), device_only=True)
    assert graph is not None
    for roll in range(3):
        view(picture)[:] = np.roll(photo, roll, axis=0)[:70, :90]
        graph.launch()
        padded = np.frombuffer((ctypes.c_uint8 * block.size).from_address(block.pointer), np.uint8) ^ 0x80
        expected = np.pad(view(picture), ((0, 58), (0, 38), (0, 0)), "edge")
        np.testing.assert_array_equal(padded.reshape(128, 128, 3), expected)
    other = gpu_stream.device(block.size)
    addresses = [ctypes.c_uint64(a) for a in (other.pointer, block.pointer, 9, gpu_stream.handle)]
    for call in (driver.cuMemcpyDtoDAsync_v2, driver.cuMemcpyAsync):
        codes: list[int] = []
        assert gpu_stream.capture(
            lambda call=call, codes=codes: codes.append(call(*addresses)), device_only=True
        )
        assert codes == [0]


def test_memory_of_the_host_is_captured_only_where_it_may_be(gpu_stream: CudaStream) -> None:
    given, found = gpu_stream.pinned((64,), BYTES), gpu_stream.pinned((64,), BYTES)
    block = gpu_stream.device(64)

    def both_ways() -> None:
        gpu_stream.upload(given, block)
        gpu_stream.download(block, found)

    def unified() -> None:
        addresses = (block.pointer, given.ctypes.data, 9, gpu_stream.handle)
        assert driver.cuMemcpyAsync(*map(ctypes.c_uint64, addresses)) == 0

    for work in (
        both_ways,
        unified,
        lambda: gpu_stream.upload(given, block),
        lambda: gpu_stream.download(block, found),
    ):
        assert gpu_stream.capture(work, device_only=True) is None
    graph = gpu_stream.capture(both_ways)
    assert graph is not None
    for value in (1, 2):
        given[:] = value
        graph.launch()
        assert (found == value).all()


def test_what_waits_for_the_device_and_captures_keep_apart(gpu: Gpu, gpu_stream: CudaStream) -> None:
    """As making a session of ONNX Runtime does. `cuCtxSynchronize` would end the capture, and fail itself."""
    block, order = gpu_stream.device(64 * 64 * 3), []
    picture = gpu_stream.picture(4, 7)
    image = describe(picture, gpu_stream.handle)

    def wait() -> None:
        with no_capture(), gpu.current():
            order.append(driver.cuCtxSynchronize())

    def work() -> None:
        waiting.start()
        gpu_stream.crop(block, 64, image)
        waiting.join(0.2)  # in vain
        order.append("captured")

    waiting = threading.Thread(target=wait)
    assert gpu_stream.capture(work) is not None
    waiting.join()
    assert order == ["captured", 0]
    assert gpu_stream.capture(lambda: order.append(driver.cuCtxSynchronize())) is None
    assert order[-1] == 900, "the stand-in does find it"


def test_captures_can_be_turned_off(gpu_stream: CudaStream, engines: Path, photo: np.ndarray) -> None:
    before = counts()["graphs"]
    codec, plain = Codec(engines, backend="tensorrt", cuda_graphs=False), Codec(TINY, backend="onnxruntime")
    for _ in range(4):
        assert codec.encode(photo[:64, :64]) == plain.encode(photo[:64, :64])
    assert counts()["graphs"] == before
    with pytest.raises(InputError, match="cuda_graphs"):
        Codec(TINY, cuda_graphs=1)  # type: ignore[arg-type]


def test_what_went_elsewhere_is_not_captured(gpu_stream: CudaStream) -> None:
    assert gpu_stream.capture(lambda: None) is None


def test_a_capture_that_fails_leaves_the_lane_as_it_was(gpu_stream: CudaStream) -> None:
    given, block = gpu_stream.pinned((64,), BYTES), gpu_stream.device(64)
    for forbidden in (
        gpu_stream.synchronise,
        lambda: gpu_stream.device(64),
        lambda: gpu_stream.pinned((64,), BYTES),
    ):
        with pytest.raises(Exception, match=r"CUDA|stand-in"):
            gpu_stream.capture(forbidden)
        given[:] = 7
        graph = gpu_stream.capture(lambda: gpu_stream.upload(given, block))
        assert graph is not None
        graph.launch()
        gpu_stream.synchronise()
        assert ctypes.c_uint8.from_address(block.pointer).value == 7
    assert gc.isenabled()


def test_other_threads_allocate_during_a_capture(gpu: Gpu, gpu_stream: CudaStream) -> None:
    given, block = gpu_stream.pinned((64,), BYTES), gpu_stream.device(64)
    made: list[DeviceMemory] = []

    def elsewhere() -> None:
        with gpu.current():
            made.append(DeviceMemory(gpu, 64))

    def work() -> None:
        gpu_stream.upload(given, block)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    assert gpu_stream.capture(work) is not None and made


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bundle with engines for the TensorRT of tensorrt.py: sides of up to 192 pixels."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    folder = shutil.copytree(TINY, tmp_path / "engines")
    manifest = json.loads((folder / "manifest.json").read_text())
    record = {}
    for graph, about in manifest["graphs"].items():
        engine = folder / f"{graph}.engine"
        engine.write_text(json.dumps({"graph": str(folder / about["file"]), "sides": [1, 3], "batch": 1}))
        record[graph] = {
            "builder": "tensorrt",
            "graph": manifest["files"][about["file"]],
            "weights": manifest["files"]["weights.bin"],
            "file": engine.name,
            "sha256": hashlib.sha256(engine.read_bytes()).hexdigest(),
            "version": "11.4",
            "gpu": "stand-in",
            "version_compatible": False,
            "plugins": None,
            "library": None,
        }
    (folder / "engines.json").write_text(json.dumps(record))
    yield folder
    sys.modules.pop("tensorrt", None)


def test_engines_give_what_the_graphs_give(engines: Path, photos: list[np.ndarray]) -> None:
    plain, codec = Codec(TINY, backend="onnxruntime"), Codec(engines, backend="tensorrt")
    assert codec.backend == BackendInfo("tensorrt", "stand-in", "asked for")
    before, sizes = counts()["graphs"], [(70, 90), (64, 64), (1, 1), (70, 90), (70, 90), (192, 192), (70, 90)]
    for k, (height, width) in enumerate(sizes):
        picture = photos[k % 3][:height, :width]
        stream = plain.encode(picture, 60)
        assert codec.encode(picture, 60) == stream
        for beta in (0.0, 0.5):
            np.testing.assert_array_equal(codec.decode(stream, beta), plain.decode(stream, beta))
    launches, first = (
        3 * len(sizes),
        2 * len({(2, 2), (1, 1), (3, 3)}),
    )  # sides in strides; encoded and decoded
    assert counts()["graphs"] - before == launches - first, "graphs from the second picture of a size on"
    with pytest.raises(BackendError, match="build it for such sizes"):
        codec.encode(photos[0][:193, :64])
    streams = [plain.encode(p[:100, :100]) for p in photos] * 4
    assert list(codec.encode_batch(p[:100, :100] for p in photos * 4)) == streams
    with ThreadPoolExecutor(6) as pool:
        for found, stream in zip(pool.map(codec.decode, streams), streams, strict=True):
            np.testing.assert_array_equal(found, plain.decode(stream))
    picture = codec.decode(streams[0], out="device")
    np.testing.assert_array_equal(view(picture), plain.decode(streams[0]))
    assert codec.encode(picture) == plain.encode(view(picture))


def test_auto_takes_engines_that_work(engines: Path) -> None:
    assert Codec(engines).backend == BackendInfo("tensorrt", "stand-in", "the best that works")
    (engines / "decode_base.engine").write_text("no engine")
    info = Codec(engines).backend
    assert (
        info.name == "onnxruntime"
        and "decode_base.engine is not the file that engines.json names" in info.why
    )
    with pytest.raises(CorruptError):
        Codec(engines, backend="tensorrt")
    record = json.loads((engines / "engines.json").read_text())
    record["decode_base"]["sha256"] = hashlib.sha256(b"no engine").hexdigest()
    (engines / "engines.json").write_text(json.dumps(record))
    with pytest.raises(
        BackendError, match=r"does not take the engine of decode_base, built by 11\.4 for stand-in"
    ):
        Codec(engines, backend="tensorrt")


def test_a_context_of_the_application_runs_engines(engines: Path, photo: np.ndarray) -> None:
    found = []

    def work() -> None:
        other = ctypes.c_void_p()
        driver.stand_in_other_context(ctypes.byref(other))
        driver.cuCtxSetCurrent(other)
        codec = Codec(engines, backend="tensorrt")
        found.extend(codec.encode(photo[:64, :64]) for _ in range(3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == 3 * [Codec(TINY, backend="onnxruntime").encode(photo[:64, :64])]


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_nothing_is_left_behind(gpu: Gpu, photo: np.ndarray, backend: str, engines: Path) -> None:
    gc.collect()
    before = counts()
    codec = codec_on(gpu) if backend == "onnxruntime" else Codec(engines, backend="tensorrt")
    for side in (64, 70, 130):
        codec.decode(codec.encode(photo[:side, :90]))
    list(codec.decode_batch(codec.encode_batch([photo[:70, :90]] * 8)))
    picture = codec.decode(codec.encode(photo[:64, :64]), out="device")
    codec.encode(picture)
    with pytest.raises(InputError):
        codec.decode(
            codec.encode(photo[:64, :64]), out=type("A", (), {"shape": (1, 1, 3), "__dlpack__": None})()
        )
    del picture, codec
    gc.collect()
    after = counts()
    same = ("blocks", "streams", "executables", "pinned", "events")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
