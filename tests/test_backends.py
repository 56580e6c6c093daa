"""Backends: which one is taken and why; buffers, sizes and pictures in device memory, on the host's memory in place of
a GPU's; and what has to be right before a GPU is there."""

from __future__ import annotations

import contextlib
import ctypes
import json
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from conftest import TINY

from rdc_codec import Codec
from rdc_codec.backends import NAMES, BackendInfo, gpu_pool
from rdc_codec.backends.cuda import SOURCE
from rdc_codec.backends.gpu_pool import MAX_KEPT, GpuBackend, Pool, Worker
from rdc_codec.backends.ort_cuda import MAX_FAILED_CAPTURES, OnnxLauncher
from rdc_codec.backends.tensorrt import read_record
from rdc_codec.bundle import Bundle
from rdc_codec.errors import BackendError, CorruptError, InputError, LimitError
from rdc_codec.interop import DeviceImage, describe, is_on_device, stream_handle

# --- which one ----------------------------------------------------------------------------------------------------


def test_auto_takes_what_works_and_says_why() -> None:
    info = Codec(TINY).backend
    if info.name == "onnxruntime":
        assert "no tensorrt: no engines in" in info.why and "no onnxruntime-cuda: " in info.why
        assert info.device == "CPUExecutionProvider"
    assert info.name in NAMES[1:] and info.why.endswith("the best that works")
    assert str(info).startswith(f"{info.name} on {info.device} (")


def test_a_backend_asked_for_by_name_is_that_one_or_an_error(tmp_path: Path) -> None:
    assert Codec(TINY, backend="onnxruntime").backend == BackendInfo(
        "onnxruntime", "CPUExecutionProvider", "asked for"
    )
    with pytest.raises(BackendError, match="no engines"):
        Codec(TINY, backend="tensorrt")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(BackendError, match="onnxruntime-gpu"):
            Codec(TINY, backend="onnxruntime-cuda")
    with pytest.raises(BackendError, match="this version has auto, tensorrt, onnxruntime-cuda, onnxruntime"):
        Codec(TINY, backend="cuda")
    for number in (-1, 1.0, True, "0"):
        with pytest.raises(InputError, match="device"):
            Codec(TINY, device=number)  # type: ignore[arg-type]


# --- engines beside a bundle --------------------------------------------------------------------------------------


@pytest.fixture
def engines(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A bundle with an engine's record, and that record; the engine itself is no engine."""
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


# --- buffers, on the host -------------------------------------------------------------------------------------------


class HostArray:
    """Host memory that says it is a GPU's."""

    def __init__(self, array: np.ndarray, **more: Any) -> None:
        self.array, self.more = array, more

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        about = dict(self.array.__array_interface__)
        return {k: about[k] for k in ("shape", "typestr", "data", "strides")} | {"version": 3} | self.more


def view(image: DeviceImage) -> np.ndarray:
    """The memory of a DeviceImage as an array."""
    size = sum((n - 1) * step for n, step in zip((image.height, image.width, 3), image.strides, strict=True))
    memory = (ctypes.c_uint8 * (size + 1)).from_address(image.pointer)
    flat = np.frombuffer(memory, np.uint8)
    return np.lib.stride_tricks.as_strided(flat, (image.height, image.width, 3), image.strides)


class HostBlock:
    def __init__(self, size: int) -> None:
        self.memory = np.full(size, 0xA5, np.uint8)
        self.pointer = self.memory.ctypes.data


class Replay:
    """Work that was recorded. As a CUDA graph it knows nothing of what came since."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.launches = work, 0

    def launch(self) -> None:
        self.launches += 1
        self.work()


class HostLane:
    """A gpu_stream (rdc_codec.backends.gpu_pool.GpuStream) on the host: what is queued is done at once."""

    def __init__(self) -> None:
        self.handle, self.waited, self.made = 7, [], 0
        self.captured: list[Replay] = []
        self.context: threading.Thread | None = None

    @contextlib.contextmanager
    def current(self):
        self.context = threading.current_thread()
        yield
        self.context = None

    def device(self, size: int) -> HostBlock:
        assert self.context is threading.current_thread()
        self.made += 1
        return HostBlock(size)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.zeros(shape, dtype)

    def upload(self, array: np.ndarray, block: HostBlock) -> None:
        block.memory[:] = array.view(np.uint8).ravel()

    def download(self, block: HostBlock, array: np.ndarray) -> None:
        array.view(np.uint8).reshape(-1)[:] = block.memory

    def pad(self, image: DeviceImage, block: HostBlock, rows: int, columns: int) -> None:
        padded = np.pad(view(image), ((0, rows - image.height), (0, columns - image.width), (0, 0)), "edge")
        block.memory[:] = padded.ravel() ^ 0x80

    def crop(self, block: HostBlock, columns: int, image: DeviceImage) -> None:
        pixels = block.memory.reshape(-1, columns, 3) ^ 0x80
        view(image)[:] = pixels[: image.height, : image.width]

    def picture(self, height: int, width: int) -> HostArray:
        return HostArray(np.zeros((height, width, 3), np.uint8))

    def check(self, image: DeviceImage) -> None:
        if image.pointer == 0:
            raise InputError("array is not in the memory of this GPU")

    def wait_for(self, stream: int) -> None:
        self.waited.append(("before", stream))

    def be_waited_for(self, stream: int) -> None:
        self.waited.append(("after", stream))

    def capture(self, work: Callable[[], None], device_only: bool = False) -> Replay | None:
        assert device_only, "memory of ONNX Runtime's runs is its own"
        self.captured.append(Replay(work))
        return self.captured[-1]

    def synchronise(self) -> None:
        self.waited.append(("all", None))


@pytest.fixture
def gpu_streams() -> list[HostLane]:
    return []


def codec_on(gpu_streams: list[HostLane], options: ort.SessionOptions) -> Codec:
    """A codec that runs through bound buffers, as on a GPU, but ONNX Runtime's CPU provider and host memory."""
    codec = Codec(TINY, backend="onnxruntime")

    def open_stream() -> HostLane:
        gpu_streams.append(HostLane())
        return gpu_streams[-1]

    launcher = OnnxLauncher(codec.bundle, options, "CPUExecutionProvider", "cpu")
    codec._backend = GpuBackend(BackendInfo("bound", "host", "a test"), codec.bundle, launcher, open_stream)
    return codec


@pytest.fixture
def bound(gpu_streams: list[HostLane]) -> Codec:
    return codec_on(gpu_streams, ort.SessionOptions())


def test_bound_buffers_give_what_plain_runs_give(tiny, bound, gpu_streams, photos) -> None:
    sizes = [(70, 90), (64, 64), (1, 1), (130, 65), (70, 90), (33, 200), (64, 64)]
    for k, (height, width) in enumerate(sizes):
        picture = photos[k % 3][:height, :width]
        for layers in ("all", "base"):
            stream = tiny.encode(picture, 60, layers=layers)
            assert bound.encode(picture, 60, layers=layers) == stream
        for beta in (0.0, 0.5, 1.0):
            np.testing.assert_array_equal(bound.decode(stream, beta), tiny.decode(stream, beta))
    assert len(gpu_streams) == 1, "one thread needs one gpu_stream"


def test_buffers_of_a_size_are_kept_and_few_sizes_are(bound, gpu_streams, photo) -> None:
    stream = bound.encode(photo)
    first = bound.decode(stream)
    made = gpu_streams[0].made
    for _ in range(3):
        np.testing.assert_array_equal(bound.decode(bound.encode(photo)), first)
    assert gpu_streams[0].made == made
    for side in range(1, 9):
        bound.encode(photo[: 64 * side, :64])
    (worker,) = bound._backend._pool._free.queue
    assert len(worker._kept) == MAX_KEPT


def test_what_repeats_at_one_size_is_captured_and_another_size_ends_it(
    tiny, bound, gpu_streams, photos
) -> None:
    def launches(picture: np.ndarray, times: int) -> list[int]:
        """Encode; how often each recording of the gpu_stream was launched."""
        for k in range(times):
            changed = np.roll(picture, k, axis=1)
            assert bound.encode(changed, layers="base") == tiny.encode(changed, layers="base")
        return [recording.launches for recording in gpu_streams[0].captured]

    small, large = photos[0][:64, :64], photos[0][:64, :128]
    assert launches(small, 2) == [], "two runs plan and allocate"
    assert launches(small, 3) == [3]
    assert launches(large, 1) == [3]
    assert launches(small, 2) == [3], "what convolutions planned for that size is gone"
    assert launches(small, 2) == [3, 2]
    for k in range(MAX_KEPT + 1):
        launches(photos[0][: 64 * (k + 2), :64], 1)  # buffers of the small size are gone
    assert launches(small, 3) == [3, 2, 1]


@pytest.mark.parametrize("raises", [False, True])
def test_what_cannot_be_captured_runs(tiny, bound, gpu_streams, photo, monkeypatch, raises: bool) -> None:
    """Also after ONNX Runtime failed in a capture, which leaves an error that the next run meets."""
    tried: list[int] = []
    left: list[Exception] = []
    run = ort.InferenceSession.run_with_iobinding

    def capture(self, work: Callable[[], None], device_only: bool = False) -> None:
        tried.append(1)
        if raises:
            left.append(RuntimeError("operation not permitted when stream is capturing"))
            work()

    def run_or_fail(self, *arguments: Any) -> None:
        if left:
            if len(left) == 1:
                left.append(left[0])  # met in the capture, and once more afterwards
            else:
                left.clear()
            raise RuntimeError("operation not permitted when stream is capturing")
        run(self, *arguments)

    monkeypatch.setattr(HostLane, "capture", capture)
    monkeypatch.setattr(ort.InferenceSession, "run_with_iobinding", run_or_fail)
    for side in (90, 70, 90):
        for _ in range(5):
            picture = photo[:70, :side]
            assert bound.encode(picture, layers="base") == tiny.encode(picture, layers="base")
    assert len(tried) == MAX_FAILED_CAPTURES, "of a session, whatever its sizes"


def test_memory_that_sessions_share_is_not_captured(tiny, gpu_streams, photo) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    codec = codec_on(gpu_streams, options)
    for _ in range(4):
        assert codec.encode(photo[:64, :64]) == tiny.encode(photo[:64, :64])
    assert not gpu_streams[0].captured


def test_results_are_the_callers_own(bound, photos) -> None:
    first = bound.decode(bound.encode(photos[0]))
    before = first.copy()
    bound.decode(bound.encode(photos[1]))
    np.testing.assert_array_equal(first, before)


def test_pictures_in_device_memory_are_coded_as_if_they_were_not(tiny, bound, photo) -> None:
    picture = photo[:70, :90]
    assert bound.encode(HostArray(picture)) == tiny.encode(picture)
    turned = np.ascontiguousarray(picture.transpose(2, 1, 0)).transpose(2, 1, 0)  # planes, column by column
    assert not turned.flags.c_contiguous
    assert bound.encode(HostArray(turned)) == tiny.encode(picture)
    streams = list(bound.encode_batch([HostArray(picture), picture]))
    assert streams == 2 * [tiny.encode(picture)]


def test_pictures_are_decoded_into_device_memory(tiny, bound, photo) -> None:
    picture = photo[:70, :90]
    stream, expected = tiny.encode(picture), tiny.decode(tiny.encode(picture), 0.25)
    found = bound.decode(stream, 0.25, out="device")
    assert is_on_device(found)
    np.testing.assert_array_equal(found.array, expected)
    frame = np.full((80, 100, 3), 9, np.uint8)
    out = HostArray(frame[5:75, 5:95])
    assert bound.decode(stream, 0.25, out=out) is out
    np.testing.assert_array_equal(frame[5:75, 5:95], expected)
    frame[5:75, 5:95] = 9
    assert (frame == 9).all(), "nothing outside is written"


def test_streams_of_the_caller_are_kept_in_order(bound, gpu_streams, photo) -> None:
    class PycudaStream:
        handle = 11

    stream = bound.encode(HostArray(photo, stream=1), cuda_stream=PycudaStream())
    everything = ("all", None)  # that was left from the picture before
    assert gpu_streams[0].waited == [everything, ("before", 11), ("before", 1), everything]
    gpu_streams[0].waited.clear()
    bound.decode(stream, out="device", cuda_stream=PycudaStream())
    assert gpu_streams[0].waited == [everything, ("before", 11), ("after", 11)], "no wait for this picture"
    gpu_streams[0].waited.clear()
    bound.decode(stream, out="device")
    assert gpu_streams[0].waited == [everything, everything]


def test_pictures_left_on_a_stream_do_not_run_into_each_other(tiny, photos, monkeypatch) -> None:
    """A gpu_stream that does nothing before it must: at `synchronise`."""

    class LateLane(HostLane):
        def __init__(self) -> None:
            super().__init__()
            self.queue: list[Any] = []

        def synchronise(self) -> None:
            for work in self.queue:
                work()
            self.queue.clear()

    for name in ("upload", "download", "pad", "crop"):

        def queued(self, *given: Any, name: str = name) -> None:
            self.queue.append(lambda: getattr(HostLane, name)(self, *given))

        monkeypatch.setattr(LateLane, name, queued, raising=False)

    class LateLauncher(OnnxLauncher):
        def prepare(self, gpu_stream, graph, buffers):
            launch = super().prepare(gpu_stream, graph, buffers)
            return lambda: gpu_stream.queue.append(launch)

    made: list[LateLane] = []

    def open_stream() -> LateLane:
        made.append(LateLane())
        return made[-1]

    codec = Codec(TINY, backend="onnxruntime")
    launcher = LateLauncher(codec.bundle, ort.SessionOptions(), "CPUExecutionProvider", "cpu")
    codec._backend = GpuBackend(BackendInfo("late", "host", "a test"), codec.bundle, launcher, open_stream)
    streams = [tiny.encode(p[:64, :128], 50) for p in photos]
    streams += [tiny.encode(photos[0][: 64 * k, :64], 50) for k in range(1, 7)]  # more sizes than are kept
    pictures = [codec.decode(stream, out="device", cuda_stream=3) for stream in streams]
    with pytest.raises(InputError):
        codec.decode(streams[0], out=HostArray(np.zeros((1, 1, 3), np.uint8)), cuda_stream=3)
    made[0].synchronise()
    assert len(made) == 1
    for stream, picture in zip(streams, pictures, strict=True):
        np.testing.assert_array_equal(picture.array, tiny.decode(stream))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (HostArray(np.zeros((5, 5, 3), np.uint8)), "out is 5x5"),
        (HostArray(np.zeros((70, 90, 4), np.uint8)), "shape"),
        (HostArray(np.zeros((70, 90, 3), np.int8)), "uint8"),
        (HostArray(np.zeros((70, 90, 3), np.uint8), data=(64, True)), "cannot be written"),
        (np.zeros((70, 90, 3), np.uint8), "GPU memory"),
        ("cuda", "GPU memory"),
    ],
)
def test_memory_that_does_not_fit_is_refused(tiny, bound, photo, out: Any, message: str) -> None:
    stream = tiny.encode(photo[:70, :90])
    with pytest.raises(InputError, match=message):
        bound.decode(stream, out=out)
    assert bound.decode(stream).shape == (70, 90, 3), "the codec goes on"


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


def test_many_threads_share_a_few_lanes(tiny, bound, gpu_streams, photos) -> None:
    expected = [tiny.encode(p[:64, :64], 40) for p in photos]

    def work(k: int) -> bool:
        stream = bound.encode(photos[k % 3][:64, :64], 40)
        picture = bound.decode(stream, 0.3)
        return stream == expected[k % 3] and np.array_equal(picture, tiny.decode(stream, 0.3))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(48)))
    assert len(gpu_streams) <= gpu_pool.MAX_WORKERS
    batch = list(bound.decode_batch(expected * 4, workers=4))
    for k, picture in enumerate(batch):
        np.testing.assert_array_equal(picture, tiny.decode(expected[k % 3]))


def test_errors_on_the_device_are_typed_and_the_next_picture_is_fine(
    bound, gpu_streams, photo, monkeypatch
) -> None:
    stream = bound.encode(photo)
    for text, error in (("CUDA_ERROR_ILLEGAL_ADDRESS", BackendError), ("Out of memory", LimitError)):

        def fail(self, *_: Any, text: str = text) -> None:
            raise RuntimeError(text)

        with monkeypatch.context() as patched, pytest.raises(error, match="decode_full"):
            patched.setattr(HostLane, "upload", fail)
            bound.decode(stream)
    assert bound.decode(stream).shape == photo.shape
    assert len(gpu_streams) == 3, "a gpu_stream that failed is not used again"


def test_a_pool_makes_workers_only_when_all_are_busy() -> None:
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker(HostLane()))
        return made[-1]

    pool = Pool(make, 2)
    for _ in range(3):
        with pool.one() as first:
            assert first is made[0]
    with pool.one(), pool.one() as second:
        assert second is made[1]
    with pytest.raises(KeyError), pool.one():
        raise KeyError
    with pool.one() as worker, pool.one() as other:
        assert len({worker, other}) == 2 and len(made) == 3


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
    """src/rdc_codec/backends/pixels.cu for the CPU (tests/emulated_cuda)."""
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
    options = core.ProgramOptions(arch=arch)
    try:
        compiled = core.Program(SOURCE.read_text(), "c++", options=options).compile("cubin")
    except Exception as error:
        if "nvrtc" in str(error).lower() and "not" in str(error).lower():
            pytest.skip(f"NVRTC is not installed: {error}")
        raise
    assert compiled.code


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
