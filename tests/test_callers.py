"""Whatever callers do with their buffers, files, threads and processes, results are those of one by one."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from conftest import TINY
from PIL import Image, ImageSequence

from rdc_codec import Codec
from rdc_codec.errors import CodecError, CorruptError, InputError, TruncatedError

# --- buffers and files that are used again ------------------------------------------------------------------------

GREYS = (0, 80, 160, 240)


def flat(grey: int) -> np.ndarray:
    return np.full((64, 64, 3), grey, np.uint8)


def test_a_buffer_may_be_filled_again(shipped: Codec) -> None:
    """As cameras and video readers do: one array for every frame."""

    def frames() -> Iterator[np.ndarray]:
        buffer = np.zeros((64, 64, 3), np.uint8)
        for grey in GREYS:
            buffer[:] = grey
            yield buffer
        buffer[:] = 7

    streams = list(shipped.encode_batch(frames(), 90, workers=4))
    assert streams == [shipped.encode(flat(grey), 90) for grey in GREYS]
    means = [shipped.decode(stream).mean() for stream in streams]
    assert means == pytest.approx(GREYS, abs=3)


def test_a_buffer_of_streams_may_be_filled_again(tiny: Codec, photos: list[np.ndarray]) -> None:
    streams = [tiny.encode(np.ascontiguousarray(p[:64, : 64 + k])) for k, p in enumerate(photos * 2)]

    def received() -> Iterator[memoryview]:
        buffer = bytearray(max(map(len, streams)))
        for stream in streams:
            buffer[: len(stream)] = stream
            yield memoryview(buffer)[: len(stream)]
        buffer[:] = bytes(len(buffer))

    for found, stream in zip(tiny.decode_batch(received(), workers=3), streams, strict=True):
        np.testing.assert_array_equal(found, tiny.decode(stream))


def test_files_may_be_closed_and_animations_go_on(
    tiny: Codec, photos: list[np.ndarray], tmp_path: Path
) -> None:
    paths = []
    for k, photo in enumerate(photos):
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(photo[:90, :80]).save(paths[-1])

    def opened() -> Iterator[Image.Image]:
        for path in paths:
            with Image.open(path) as image:
                yield image

    assert list(tiny.encode_batch(opened())) == [tiny.encode(p[:90, :80]) for p in photos]
    frames = [Image.fromarray(flat(grey)) for grey in GREYS]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "moving.gif") as moving:
        streams = list(tiny.encode_batch(ImageSequence.Iterator(moving)))
    assert streams == [tiny.encode(flat(grey)) for grey in GREYS]


def test_threads_may_share_a_picture_that_is_not_loaded_yet(
    tiny: Codec, photo: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    expected = tiny.encode(photo, layers="base")
    for _ in range(5):
        with Image.open(path) as image, concurrent.futures.ThreadPoolExecutor(4) as pool:
            start = threading.Barrier(4)

            def code(shared: Image.Image, start: threading.Barrier) -> bytes:
                start.wait()
                return tiny.encode(shared, layers="base")

            futures = [pool.submit(code, image, start) for _ in range(4)]
            assert [f.result() for f in futures] == [expected] * 4


# --- errors in batches --------------------------------------------------------------------------------------------


def test_a_batch_goes_on_where_it_is_asked_to(tiny: Codec, photo: np.ndarray) -> None:
    good = np.ascontiguousarray(photo[:70, :80])
    pictures = [good, "no picture", good, np.zeros((0, 5, 3), np.uint8), good]
    results = list(tiny.encode_batch(pictures, on_error="return"))  # type: ignore[arg-type]
    assert results[0] == results[2] == results[4] == tiny.encode(good)
    for index in (1, 3):
        error = results[index]
        assert isinstance(error, InputError) and error.index == index
    stream = tiny.encode(good)
    streams = [stream, stream[:10], b"no stream", stream]
    decoded = list(tiny.decode_batch(streams, on_error="return"))
    assert [getattr(e, "index", None) for e in decoded] == [None, 1, 2, None]
    assert isinstance(decoded[1], TruncatedError) and isinstance(decoded[2], CorruptError)
    np.testing.assert_array_equal(decoded[3], tiny.decode(stream))


def test_an_error_that_ends_a_batch_names_its_item(tiny: Codec, photo: np.ndarray) -> None:
    good = np.ascontiguousarray(photo[:64, :64])
    results = tiny.encode_batch([good, good, good[..., :2], good], workers=1)
    assert next(results) == next(results) == tiny.encode(good)
    with pytest.raises(InputError, match="shape") as caught:
        next(results)
    assert caught.value.index == 2
    assert CodecError().index is None


def test_arguments_that_are_wrong_for_all_pictures_are_an_error_at_once(tiny: Codec) -> None:
    for call in (
        lambda: tiny.encode_batch([], quality=101, on_error="return"),
        lambda: tiny.encode_batch([], layers="most"),  # type: ignore[call-overload]
        lambda: tiny.encode_batch([], on_error="ignore"),  # type: ignore[call-overload]
        lambda: tiny.decode_batch([], beta=2, on_error="return"),
        lambda: tiny.decode_batch([], layers=-1),
    ):
        with pytest.raises(InputError):
            call()


# --- processes ----------------------------------------------------------------------------------------------------


def test_a_codec_is_pickled_and_copied_by_what_it_was_made_of(tiny: Codec, photo: np.ndarray) -> None:
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    codec.max_pixels = 12345
    for other in (pickle.loads(pickle.dumps(codec)), copy.copy(codec), copy.deepcopy(codec)):
        assert other is not codec and other.max_pixels == 12345
        assert other.bundle.picture_id == codec.bundle.picture_id and other.backend == codec.backend
    again = pickle.loads(pickle.dumps(Codec(tiny.bundle, backend="onnxruntime")))
    assert again.encode(photo, layers="base") == tiny.encode(photo, layers="base")
    with pytest.raises(TypeError, match="session_options cannot be pickled"):
        pickle.dumps(Codec(TINY, session_options=ort.SessionOptions()))


@pytest.mark.parametrize(
    "method", sorted({"spawn", "forkserver"} & {*multiprocessing.get_all_start_methods()})
)
def test_pools_of_processes_may_be_given_a_codec(method: str, tiny: Codec, photo: np.ndarray) -> None:
    pictures = [np.ascontiguousarray(photo[: 64 + k, :64]) for k in range(3)]
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(tiny.encode, pictures)) == [tiny.encode(p) for p in pictures]


FORKED = """
import os, sys, threading, time
import numpy as np
from rdc_codec import Codec
codec = Codec(sys.argv[1], backend="onnxruntime")
picture = np.random.default_rng(0).integers(0, 256, (130, 190, 3), np.uint8)
expected = codec.encode(picture)
def work():
    while True:
        list(codec.encode_batch([picture] * 3))
threading.Thread(target=work, daemon=True).start()
for k in range(5):
    time.sleep(0.02 * k)
    child = os.fork()
    if not child:
        same = codec.encode(picture) == expected and list(codec.encode_batch([picture] * 2)) == [expected] * 2
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
print("forked")
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.timeout(120)
def test_a_forked_process_may_go_on_with_a_codec_that_others_are_in() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(TINY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout == "forked\n", done.stderr


@pytest.mark.parametrize(("set_by_user", "found"), [(None, "1"), ("0", "0")])
def test_onnx_runtime_reports_nothing_unless_the_user_says_so(
    tmp_path: Path, set_by_user: str | None, found: str
) -> None:
    code = "import os, rdc_codec; rdc_codec.Codec(backend='onnxruntime'); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    if set_by_user is not None:
        environment["ORT_DISABLE_TELEMETRY"] = set_by_user
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout == f"{found}\n", done.stderr
    if set_by_user is None:
        assert not any(tmp_path.rglob("*onnxruntime*"))
