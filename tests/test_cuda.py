"""The GPU backends run on a stand-in for a GPU's driver and, with `-m gpu`, on a real GPU.

The stand-in (stand_in.py) does what is queued as late as it may, so that a missing wait shows. It stays in the process
once it is loaded; a run of pytest has either of the two devices.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import stand_in
from conftest import TINY, require_gpu

from rdc_codec import Codec
from rdc_codec.backends import BackendInfo
from rdc_codec.backends.cuda import CudaStream, DeviceMemory, Gpu, no_capture
from rdc_codec.backends.gpu_pool import (
    MAX_KEPT,
    MAX_WORKERS,
    CapturedWork,
    GpuBackend,
    Launcher,
    Pool,
    Worker,
)
from rdc_codec.backends.ort_cuda import CUDA, MAX_FAILED_CAPTURES, OnnxLauncher
from rdc_codec.bundle import Bundle
from rdc_codec.errors import BackendError, CorruptError, InputError, LimitError
from rdc_codec.interop import describe, is_on_device

BYTES = np.dtype(np.uint8)


class CountedWork:
    """Is captured work that counts how often it is launched."""

    def __init__(self, work: CapturedWork) -> None:
        self.work, self.launches = work, 0

    def launch(self) -> None:
        self.launches += 1
        self.work.launch()


class WatchedStream(CudaStream):
    """Is a stream that counts what it allocated and what was captured on it."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu)
        self.allocated = 0
        self.captured: list[CountedWork] = []

    def device(self, size: int) -> DeviceMemory:
        self.allocated += 1
        return super().device(size)

    def capture(self, work: Callable[[], None], device_only: bool = False) -> Any:
        found = super().capture(work, device_only)
        if found is None:
            return None
        self.captured.append(CountedWork(found))
        return self.captured[-1]


@dataclasses.dataclass
class Device:
    """Is the GPU that a test runs on. driver: the stand-in's own calls, None on a real one."""

    gpu: Gpu
    driver: ctypes.CDLL | None

    def launcher(self, bundle: Bundle, options: ort.SessionOptions | None = None) -> Launcher:
        options = options or ort.SessionOptions()
        if self.driver is not None:
            return stand_in.StandInLauncher(bundle, options)
        if CUDA not in ort.get_available_providers():
            pytest.skip("this onnxruntime has no CUDAExecutionProvider")
        ort.preload_dlls()
        return OnnxLauncher(bundle, options, CUDA, "cuda", self.gpu.device.device_id)

    def codec(
        self,
        open_stream: Callable[[], CudaStream] | None = None,
        options: ort.SessionOptions | None = None,
        gpu: Gpu | None = None,
    ) -> Codec:
        """Make a codec of the tiny bundle whose graphs ONNX Runtime runs on the device."""
        bundle, on = Bundle(TINY), gpu or self.gpu
        info = BackendInfo("onnxruntime on a device", on.name, "a test")
        make = open_stream or (lambda: CudaStream(on))
        return Codec(bundle, backend=GpuBackend(info, bundle, self.launcher(bundle, options), make))

    def reference(self) -> Codec:
        """Make a codec that gives the same bytes and pictures: on the CPU, on a real GPU without CUDA graphs."""
        if self.driver is not None:
            return Codec(TINY, backend="onnxruntime")
        return Codec(TINY, backend="onnxruntime-cuda", cuda_graphs=False)

    def picture(self, array: np.ndarray, **more: Any) -> DevicePicture:
        """Put a picture in the device's memory, with the strides of the array."""
        return DevicePicture(self, array, **more)

    def read(self, block: Any, size: int | None = None) -> np.ndarray:
        """Return the bytes of memory on the device."""
        with self.gpu.current():
            stream = CudaStream(self.gpu)
            array = stream.pinned((size or block.size,), BYTES)
            stream.download(block, array)
            stream.synchronise()
            return array.copy()

    def write(self, block: Any, array: np.ndarray) -> None:
        with self.gpu.current():
            stream = CudaStream(self.gpu)
            pinned = stream.pinned((array.nbytes,), BYTES)
            pinned[:] = np.ascontiguousarray(array).view(np.uint8).ravel()
            stream.upload(pinned, block)
            stream.synchronise()

    def pixels(self, picture: Any) -> np.ndarray:
        """Return the pixels of a packed picture on the device."""
        shape = picture.__cuda_array_interface__["shape"]
        return self.read(picture, int(np.prod(shape))).reshape(shape)

    def counts(self) -> dict[str, int]:
        assert self.driver is not None
        return stand_in.counts(self.driver)


class DevicePicture:
    """Is an application's picture in a frame of its own: the array's strides, `more` for its interface."""

    def __init__(self, device: Device, array: np.ndarray, **more: Any) -> None:
        self._device, self.shape, self.strides, self.more = device, array.shape, array.strides, more
        self.size = 1 + sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
        with device.gpu.current():
            self.block = DeviceMemory(device.gpu, self.size)
        self.pointer = self.block.pointer
        memory = (ctypes.c_uint8 * self.size).from_address(array.ctypes.data)
        device.write(self.block, np.frombuffer(memory, np.uint8))

    def bytes(self) -> np.ndarray:
        return self._device.read(self.block)

    def pixels(self) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(self.bytes(), self.shape, self.strides).copy()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        about = {"shape": self.shape, "typestr": "|u1", "data": (self.pointer, False), "version": 3}
        return about | {"strides": self.strides} | self.more


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Load the stand-in and return its own calls."""
    if sys.platform != "linux":
        pytest.skip("the stand-in is a Linux library")
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    try:
        return stand_in.load(tmp_path_factory.mktemp("driver"))
    except stand_in.OtherDriver as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=["stand-in", pytest.param("real", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    """Return the stand-in or, where tests marked `gpu` run, a GPU."""
    if request.param == "stand-in":
        driver = request.getfixturevalue("driver")
        return Device(Gpu(None), driver)
    require_gpu()
    return Device(Gpu(None), None)


@pytest.fixture(scope="session")
def mock(driver: ctypes.CDLL) -> Device:
    """Return the stand-in, for what only it can show: counts, failures, contexts that ONNX Runtime refuses."""
    return Device(Gpu(None), driver)


@pytest.fixture(autouse=True)
def nothing_is_destroyed_too_early() -> Iterator[None]:
    stand_in.LEFT.clear()
    yield
    assert not stand_in.LEFT


@pytest.fixture
def gpu_stream(device: Device) -> Iterator[CudaStream]:
    with device.gpu.current():
        yield CudaStream(device.gpu)


def in_a_thread(work: Callable[[], None]) -> None:
    """Run work in a thread that has no context yet; raises what it raised."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


# --- contexts -----------------------------------------------------------------------------------------------------


def test_the_calling_thread_keeps_its_context(device: Device, photo: np.ndarray) -> None:
    found: list[int] = []
    gpu, codec = device.gpu, device.codec()

    def look() -> None:
        found.append(int(gpu.driver.cuCtxGetCurrent()[1]))

    def work() -> None:
        look()
        with gpu.current():
            look()
        look()
        codec.encode(photo[:64, :64])
        look()

    in_a_thread(work)
    assert found == [0, gpu.context, 0, 0]
    assert gpu.is_primary() and gpu.driver_version() >= 13000


def test_a_context_of_the_application_is_taken(mock: Device) -> None:
    def work() -> None:
        other = ctypes.c_void_p()
        mock.driver.stand_in_other_context(ctypes.byref(other))
        mock.driver.cuCtxSetCurrent(other)
        mine = Gpu(None)
        assert mine.context == other.value and not mine.is_primary()
        codec = mock.codec(gpu=mine)
        picture = codec.decode(codec.encode(np.zeros((70, 90, 3), np.uint8)), out="device")
        with pytest.raises(InputError, match="another CUDA context"):
            mock.codec().encode(picture)
        shown = Device(mine, mock.driver).pixels(picture)
        assert codec.encode(picture) == codec.encode(shown)
        del codec, picture
        assert int(mine.driver.cuCtxGetCurrent()[1]) == other.value

    in_a_thread(work)


# --- codecs -------------------------------------------------------------------------------------------------------


def test_a_codec_on_the_device_gives_what_plain_runs_give(device: Device, photos: list[np.ndarray]) -> None:
    opened: list[CudaStream] = []

    def open_stream() -> CudaStream:
        opened.append(CudaStream(device.gpu))
        return opened[-1]

    plain, codec = device.reference(), device.codec(open_stream)
    sizes = [(70, 90), (64, 64), (1, 1), (130, 65), (70, 90), (70, 90), (70, 90), (33, 200)]
    for k, (height, width) in enumerate(sizes):
        picture = photos[k % 3][:height, :width]
        for layers in ("all", "base"):
            stream = plain.encode(picture, 60, layers=layers)
            assert codec.encode(picture, 60, layers=layers) == stream
        for beta in (0.0, 0.5, 1.0):
            np.testing.assert_array_equal(codec.decode(stream, beta), plain.decode(stream, beta))
    assert len(opened) == 1, "one thread needs one stream"
    streams = [plain.encode(p[:100, :100]) for p in photos]
    assert list(codec.encode_batch(p[:100, :100] for p in photos)) == streams
    for found, stream in zip(codec.decode_batch(streams), streams, strict=True):
        np.testing.assert_array_equal(found, plain.decode(stream))


def test_pictures_of_the_host_are_padded_on_the_host(mock: Device, photo: np.ndarray) -> None:
    codec, before = mock.codec(), mock.counts()["kernels"]
    codec.decode(codec.encode(photo[:70, :90]))
    assert mock.counts()["kernels"] == before


def test_results_are_the_callers_own(device: Device, photos: list[np.ndarray]) -> None:
    codec = device.codec()
    first = codec.decode(codec.encode(photos[0]))
    before = first.copy()
    codec.decode(codec.encode(photos[1]))
    np.testing.assert_array_equal(first, before)


def test_buffers_of_a_size_are_kept_and_few_sizes_are(mock: Device, photo: np.ndarray) -> None:
    opened: list[WatchedStream] = []

    def open_stream() -> WatchedStream:
        opened.append(WatchedStream(mock.gpu))
        return opened[-1]

    gc.collect()
    codec, before = mock.codec(open_stream), mock.counts()["blocks"]
    stream = codec.encode(photo[:64, :64])
    tensors = mock.counts()["blocks"] - before
    first = codec.decode(stream)
    allocated = opened[0].allocated
    for _ in range(3):
        np.testing.assert_array_equal(codec.decode(codec.encode(photo[:64, :64])), first)
    assert opened[0].allocated == allocated
    for side in range(1, 9):
        codec.encode(photo[: 32 * side, :64])
    assert mock.counts()["blocks"] - before == MAX_KEPT * tensors


def test_many_threads_share_a_few_streams(device: Device, photos: list[np.ndarray]) -> None:
    opened: list[CudaStream] = []

    def open_stream() -> CudaStream:
        opened.append(CudaStream(device.gpu))
        return opened[-1]

    plain, codec = device.reference(), device.codec(open_stream)
    expected = [plain.encode(p[:64, :64], 40) for p in photos]
    shown = [plain.decode(stream, 0.3) for stream in expected]

    def work(k: int) -> bool:
        stream = codec.encode(photos[k % 3][:64, :64], 40)
        return stream == expected[k % 3] and np.array_equal(codec.decode(stream, 0.3), shown[k % 3])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))
    for k, picture in enumerate(codec.decode_batch(expected * 4, 0.3, workers=4)):
        np.testing.assert_array_equal(picture, shown[k % 3])
    assert len(opened) <= MAX_WORKERS


def test_a_pool_makes_workers_only_when_all_are_busy(device: Device) -> None:
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker(CudaStream(device.gpu)))
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


def test_errors_on_the_device_are_typed_and_the_next_picture_is_fine(mock: Device, photo: np.ndarray) -> None:
    opened: list[CudaStream] = []

    def open_stream() -> CudaStream:
        opened.append(CudaStream(mock.gpu))
        return opened[-1]

    codec = mock.codec(open_stream)
    stream = codec.encode(photo)
    for code, error in ((700, BackendError), (2, LimitError)):  # an illegal address, out of memory
        mock.driver.stand_in_fail_next_copy(code)
        with pytest.raises(error, match="decode_full"):
            codec.decode(stream)
    assert codec.decode(stream).shape == photo.shape
    assert len(opened) == 3, "a stream that failed is not used again"


# --- pictures in the device's memory --------------------------------------------------------------------------------


def test_pictures_stay_in_memory_of_the_device(device: Device, photo: np.ndarray) -> None:
    plain, codec = device.reference(), device.codec()
    picture = np.ascontiguousarray(photo[:70, :90])
    stream = plain.encode(picture)
    shown = codec.decode(stream, out="device")
    assert is_on_device(shown)
    np.testing.assert_array_equal(device.pixels(shown), plain.decode(stream))
    assert shown.__dlpack_device__() == (2, device.gpu.device.device_id)

    class OnlyDlpack:
        shape = shown.shape

        def __dlpack__(self, **options: Any) -> Any:
            return shown.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return shown.__dlpack_device__()

    device.write(shown, picture)
    side = CudaStream(device.gpu)
    for array in (shown, OnlyDlpack()):
        assert codec.encode(array) == stream
        assert codec.encode(array, cuda_stream=side) == stream
    assert codec.decode(stream, out=shown) is shown
    np.testing.assert_array_equal(device.pixels(shown), plain.decode(stream))


def test_pictures_of_any_strides_are_coded_as_if_they_were_not(device: Device, photo: np.ndarray) -> None:
    plain, codec = device.reference(), device.codec()
    picture = np.ascontiguousarray(photo[:70, :90])
    turned = np.ascontiguousarray(picture.transpose(2, 1, 0)).transpose(2, 1, 0)  # planes, column by column
    stream = plain.encode(picture)
    for array in (picture, turned, photo[:70, :90]):
        assert codec.encode(device.picture(array)) == stream
    assert list(codec.encode_batch([device.picture(turned), picture])) == 2 * [stream]


def test_pictures_are_decoded_into_a_part_of_a_frame(device: Device, photo: np.ndarray) -> None:
    plain, codec = device.reference(), device.codec()
    stream = plain.encode(photo[:70, :90])
    frame = np.full((80, 100, 3), 9, np.uint8)
    out = device.picture(frame[5:75, 5:95])
    assert codec.decode(stream, 0.25, out=out) is out
    np.testing.assert_array_equal(out.pixels(), plain.decode(stream, 0.25))
    between = out.bytes()[: 69 * 300].reshape(69, 300)[:, 270:]
    assert (between == 9).all(), "nothing outside is written"


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        ((5, 5, 3), {}, "out is 5x5"),
        ((70, 90, 4), {}, "shape"),
        ((70, 90, 3), {"typestr": "|i1"}, "uint8"),
        ((70, 90, 3), {"data": (64, True)}, "cannot be written"),
        (None, {}, 'must be "device" or an array, got list'),
        ("cuda", {}, 'must be "device" or an array, got str'),
    ],
)
def test_memory_that_does_not_fit_is_refused(device, photo, shape: Any, more: Any, message: str) -> None:
    codec = device.codec()
    stream = codec.encode(photo[:70, :90])
    zeros = np.zeros(shape if isinstance(shape, tuple) else (70, 90, 3), np.uint8)
    out = "cuda" if shape == "cuda" else zeros.tolist() if shape is None else device.picture(zeros, **more)
    with pytest.raises(InputError, match=message):
        codec.decode(stream, out=out)
    assert codec.decode(stream).shape == (70, 90, 3), "the codec goes on"


def test_a_picture_may_go_into_the_memory_of_the_host(device, photo) -> None:
    codec = device.codec()
    stream = codec.encode(photo[:70, :90])
    target = np.zeros((70, 90, 3), np.uint8)
    assert codec.decode(stream, out=target) is target
    np.testing.assert_array_equal(target, codec.decode(stream))


def test_memory_of_the_host_is_refused(device: Device) -> None:
    host = np.zeros((70, 90, 3), np.uint8)
    about = {"shape": host.shape, "typestr": "|u1", "data": (host.ctypes.data, False), "version": 3}
    with pytest.raises(InputError, match="not in the memory of GPU 0"):
        device.codec().encode(type("Array", (), {"__cuda_array_interface__": about})())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (65, 3), (300, 451)])
def test_the_pixel_kernels_pad_and_crop(device: Device, gpu_stream, photo, height: int, width: int) -> None:
    picture = np.ascontiguousarray(photo[:height, :width])
    rows, columns = (-(-side // 64) * 64 for side in (height, width))
    given, back = device.picture(picture), device.picture(np.zeros_like(picture))
    block, padded = gpu_stream.device(rows * columns * 3), gpu_stream.pinned((rows, columns, 3), BYTES)
    gpu_stream.pad(describe(given, gpu_stream.handle), block, rows, columns)
    gpu_stream.download(block, padded)
    gpu_stream.crop(block, columns, describe(back, gpu_stream.handle))
    gpu_stream.synchronise()
    expected = np.pad(picture, ((0, rows - height), (0, columns - width), (0, 0)), "edge")
    np.testing.assert_array_equal(padded ^ 0x80, expected)
    np.testing.assert_array_equal(back.pixels(), picture)


# --- order: what waits for what -------------------------------------------------------------------------------------


def on_a_stream_of_the_caller(device: Device, photo: np.ndarray) -> list[bool]:
    """Encode a picture that is still on its way, decode into memory that is read later; whether both are right."""
    codec, plain = device.codec(), device.reference()
    picture = np.ascontiguousarray(photo[:70, :90])
    expected = plain.encode(picture)
    found = []
    with device.gpu.current():
        side = CudaStream(device.gpu)
        given, taken = side.pinned((picture.nbytes,), BYTES), side.pinned((picture.nbytes,), BYTES)
        given[:] = picture.ravel()
        for named in (False, True):  # the stream is an argument, or the array's own
            block = device.picture(np.zeros_like(picture), **({"stream": side.handle} if named else {}))
            side.upload(given, block)
            found.append(codec.encode(block, cuda_stream=None if named else side) == expected)
        codec.decode(expected, out=block, cuda_stream=side)
        side.download(block, taken)
        side.synchronise()
    found.append(np.array_equal(taken.reshape(picture.shape), plain.decode(expected)))
    return found


def left_on_a_stream(device: Device, photos: list[np.ndarray]) -> list[bool]:
    """Decode pictures of many sizes that nothing waits for; whether each is right when their stream is waited for."""
    codec, plain = device.codec(), device.reference()
    streams = [plain.encode(p[:64, :128], 50) for p in photos]
    streams += [plain.encode(photos[0][: 64 * k, :64], 50) for k in range(1, 7)]  # more sizes than are kept
    side = CudaStream(device.gpu)
    pictures = [codec.decode(stream, out="device", cuda_stream=side) for stream in streams]
    with pytest.raises(InputError):
        codec.decode(streams[0], out=device.picture(np.zeros((1, 1, 3), np.uint8)), cuda_stream=side)
    with device.gpu.current():
        side.synchronise()
    return [np.array_equal(device.pixels(p), plain.decode(s)) for p, s in zip(pictures, streams, strict=True)]


def test_the_order_of_the_callers_stream_is_kept(device: Device, photo: np.ndarray) -> None:
    assert all(on_a_stream_of_the_caller(device, photo))


def test_pictures_left_on_a_stream_do_not_run_into_each_other(device: Device, photos) -> None:
    assert all(left_on_a_stream(device, photos))


def test_the_stand_in_finds_a_download_that_nothing_waits_for(mock: Device) -> None:
    with mock.gpu.current():
        stream = CudaStream(mock.gpu)
        given, taken = stream.pinned((64,), BYTES), stream.pinned((64,), BYTES)
        given[:], taken[:] = 7, 0
        block = stream.device(64)
        stream.upload(given, block)
        stream.download(block, taken)
        assert not taken.any()
        stream.synchronise()
        assert (taken == 7).all()


@pytest.mark.parametrize("removed", ["synchronise", "wait_for", "be_waited_for"])
def test_the_stand_in_finds_a_wait_that_is_missing(mock: Device, photo, monkeypatch, removed: str) -> None:
    """The same calls as in the tests of order above, which must fail without each of the waits."""
    production = getattr(CudaStream, removed)
    ours: set[int] = set()

    class Careless(CudaStream):
        def __init__(self, gpu: Gpu) -> None:
            super().__init__(gpu)
            ours.add(self.handle)

    monkeypatch.setattr(Careless, removed, lambda self, *_: None, raising=False)
    plain_codec = mock.codec
    monkeypatch.setattr(mock, "codec", lambda: plain_codec(lambda: Careless(mock.gpu)))
    try:
        found = on_a_stream_of_the_caller(mock, photo)
    except Exception:  # symbols that never arrived are no symbols
        found = [False]
    assert not all(found)
    assert production is getattr(CudaStream, removed) and ours, "the caller's stream waits as ever"
    stand_in.LEFT.clear()


# --- captures -----------------------------------------------------------------------------------------------------


def test_kernels_and_copies_within_the_gpu_are_captured(device: Device, gpu_stream, photo) -> None:
    picture = gpu_stream.picture(70, 90)
    block = gpu_stream.device(128 * 128 * 3)
    image = describe(picture, gpu_stream.handle)
    graph = gpu_stream.capture(lambda: gpu_stream.pad(image, block, 128, 128), device_only=True)
    assert graph is not None
    for roll in range(3):
        shown = np.roll(photo, roll, axis=0)[:70, :90]
        device.write(picture, shown)
        graph.launch()
        gpu_stream.synchronise()
        expected = np.pad(shown, ((0, 58), (0, 38), (0, 0)), "edge")
        np.testing.assert_array_equal(device.read(block).reshape(128, 128, 3) ^ 0x80, expected)
    other, calls = gpu_stream.device(block.size), device.gpu.driver
    for call in (calls.cuMemcpyDtoDAsync, calls.cuMemcpyAsync):
        codes: list[int] = []

        def work(call: Any = call, codes: list[int] = codes) -> None:
            codes.append(int(call(other.pointer, block.pointer, 9, gpu_stream.handle)[0]))

        assert gpu_stream.capture(work, device_only=True)
        assert codes == [0]


def test_memory_of_the_host_is_captured_only_where_it_may_be(device: Device, gpu_stream) -> None:
    given, found = gpu_stream.pinned((64,), BYTES), gpu_stream.pinned((64,), BYTES)
    block = gpu_stream.device(64)

    def up() -> None:
        gpu_stream.upload(given, block)

    def down() -> None:
        gpu_stream.download(block, found)

    def both_ways() -> None:
        up()
        down()

    def unified() -> None:
        code = device.gpu.driver.cuMemcpyAsync(block.pointer, given.ctypes.data, 9, gpu_stream.handle)[0]
        assert int(code) == 0

    for work in (both_ways, unified, up, down):
        assert gpu_stream.capture(work, device_only=True) is None
    graph = gpu_stream.capture(both_ways)
    assert graph is not None
    for value in (1, 2):
        given[:] = value
        graph.launch()
        gpu_stream.synchronise()
        assert (found == value).all()


def test_what_waits_for_the_device_and_captures_keep_apart(device: Device, gpu_stream) -> None:
    """As making a session of ONNX Runtime does. `cuCtxSynchronize` would end the capture, and fail itself."""
    block, order = gpu_stream.device(64 * 64 * 3), []
    image = describe(gpu_stream.picture(4, 7), gpu_stream.handle)

    def synchronise() -> None:
        order.append(int(device.gpu.driver.cuCtxSynchronize()[0]))

    def wait() -> None:
        with no_capture(), device.gpu.current():
            synchronise()

    def work() -> None:
        waiting.start()
        gpu_stream.crop(block, 64, image)
        waiting.join(0.2)  # in vain
        order.append("captured")

    waiting = threading.Thread(target=wait)
    assert gpu_stream.capture(work) is not None
    waiting.join()
    assert order == ["captured", 0]
    assert gpu_stream.capture(synchronise) is None
    assert order[-1] != 0, "the device does find it"


def test_what_went_elsewhere_is_not_captured(gpu_stream: CudaStream) -> None:
    assert gpu_stream.capture(lambda: None) is None


def test_a_capture_that_fails_leaves_the_stream_as_it_was(device: Device, gpu_stream: CudaStream) -> None:
    given, found = gpu_stream.pinned((64,), BYTES), gpu_stream.pinned((64,), BYTES)
    block = gpu_stream.device(64)
    forbidden: list[Callable[[], Any]] = [gpu_stream.synchronise, lambda: gpu_stream.device(64)]
    if device.driver is not None:
        forbidden.append(lambda: gpu_stream.pinned((64,), BYTES))  # stricter than CUDA says that it is
    for value, work in enumerate(forbidden, 7):
        with pytest.raises(RuntimeError, match="CUDA"):
            gpu_stream.capture(work)
        given[:] = value
        graph = gpu_stream.capture(lambda: gpu_stream.upload(given, block))
        assert graph is not None
        graph.launch()
        gpu_stream.download(block, found)
        gpu_stream.synchronise()
        assert (found == value).all()
    assert gc.isenabled()


def test_other_threads_allocate_during_a_capture(device: Device, gpu_stream: CudaStream) -> None:
    given, block = gpu_stream.pinned((64,), BYTES), gpu_stream.device(64)
    made: list[DeviceMemory] = []

    def elsewhere() -> None:
        with device.gpu.current():
            made.append(DeviceMemory(device.gpu, 64))

    def work() -> None:
        gpu_stream.upload(given, block)
        in_a_thread(elsewhere)

    assert gpu_stream.capture(work) is not None and made


def test_what_repeats_at_one_size_is_captured_and_another_size_ends_it(device: Device, photos) -> None:
    stream, plain = WatchedStream(device.gpu), device.reference()
    codec = device.codec(lambda: stream)

    def launches(picture: np.ndarray, times: int) -> list[int]:
        """Encode; how often each CUDA graph of the stream was launched."""
        for k in range(times):
            changed = np.roll(picture, k, axis=1)
            assert codec.encode(changed, layers="base") == plain.encode(changed, layers="base")
        return [captured.launches for captured in stream.captured]

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
def test_what_cannot_be_captured_runs(mock: Device, tiny, photo, monkeypatch, raises: bool) -> None:
    """Also after ONNX Runtime failed in a capture, which leaves an error that the next run meets."""
    tried: list[int] = []
    left: list[Exception] = []
    run = stand_in.QueuedSession.run_with_iobinding

    class Refusing(CudaStream):
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

    monkeypatch.setattr(stand_in.QueuedSession, "run_with_iobinding", run_or_fail)
    codec = mock.codec(lambda: Refusing(mock.gpu))
    for side in (90, 70, 90):
        for _ in range(5):
            picture = photo[:70, :side]
            assert codec.encode(picture, layers="base") == tiny.encode(picture, layers="base")
    assert len(tried) == MAX_FAILED_CAPTURES, "of a session, whatever its sizes"


def test_memory_that_sessions_share_is_not_captured(mock: Device, tiny, photo: np.ndarray) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    stream = WatchedStream(mock.gpu)
    codec = mock.codec(lambda: stream, options)
    for _ in range(4):
        assert codec.encode(photo[:64, :64]) == tiny.encode(photo[:64, :64])
    assert not stream.captured


# --- engines, with a stand-in for TensorRT ----------------------------------------------------------------------


@pytest.fixture
def engines(mock: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a bundle with engines for the TensorRT of tensorrt.py: sides of up to 192 pixels."""
    monkeypatch.syspath_prepend(str(stand_in.FOLDER))
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


def test_captures_can_be_turned_off(mock: Device, engines: Path, photo: np.ndarray) -> None:
    before = mock.counts()["graphs"]
    codec, plain = Codec(engines, backend="tensorrt", cuda_graphs=False), Codec(TINY, backend="onnxruntime")
    for _ in range(4):
        assert codec.encode(photo[:64, :64]) == plain.encode(photo[:64, :64])
    assert mock.counts()["graphs"] == before
    with pytest.raises(InputError, match="cuda_graphs"):
        Codec(TINY, cuda_graphs=1)  # type: ignore[arg-type]


def test_engines_give_what_the_graphs_give(mock: Device, engines: Path, photos: list[np.ndarray]) -> None:
    plain, codec = Codec(TINY, backend="onnxruntime"), Codec(engines, backend="tensorrt")
    assert codec.backend == BackendInfo("tensorrt", "stand-in", "asked for")
    before, sizes = (
        mock.counts()["graphs"],
        [(70, 90), (64, 64), (1, 1), (70, 90), (70, 90), (192, 192), (70, 90)],
    )
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
    assert mock.counts()["graphs"] - before == launches - first, "graphs from the second picture of a size on"
    with pytest.raises(BackendError, match="build it for such sizes"):
        codec.encode(photos[0][:193, :64])
    streams = [plain.encode(p[:100, :100]) for p in photos] * 4
    assert list(codec.encode_batch(p[:100, :100] for p in photos * 4)) == streams
    with ThreadPoolExecutor(6) as pool:
        for found, stream in zip(pool.map(codec.decode, streams), streams, strict=True):
            np.testing.assert_array_equal(found, plain.decode(stream))
    picture = codec.decode(streams[0], out="device")
    np.testing.assert_array_equal(mock.pixels(picture), plain.decode(streams[0]))
    assert codec.encode(picture) == plain.encode(mock.pixels(picture))


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_what_a_picture_on_its_way_needs_outlives_its_codec(mock: Device, photo, backend, engines) -> None:
    codec = mock.codec() if backend == "onnxruntime" else Codec(engines, backend="tensorrt")
    plain, side = mock.reference(), CudaStream(mock.gpu)
    stream = plain.encode(photo[:64, :64])
    picture = codec.decode(stream, out="device", cuda_stream=side)
    del codec
    gc.collect()
    np.testing.assert_array_equal(mock.pixels(picture), plain.decode(stream))


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


def test_a_context_of_the_application_runs_engines(mock: Device, engines: Path, photo: np.ndarray) -> None:
    found = []

    def work() -> None:
        other = ctypes.c_void_p()
        mock.driver.stand_in_other_context(ctypes.byref(other))
        mock.driver.cuCtxSetCurrent(other)
        codec = Codec(engines, backend="tensorrt")
        found.extend(codec.encode(photo[:64, :64]) for _ in range(3))

    in_a_thread(work)
    assert found == 3 * [Codec(TINY, backend="onnxruntime").encode(photo[:64, :64])]


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_nothing_is_left_behind(mock: Device, photo: np.ndarray, backend: str, engines: Path) -> None:
    gc.collect()
    before = mock.counts()
    codec = mock.codec() if backend == "onnxruntime" else Codec(engines, backend="tensorrt")
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
    after = mock.counts()
    same = ("blocks", "streams", "executables", "pinned", "events")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
