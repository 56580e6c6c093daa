"""More of what callers do, in the classes of the reports of users: each case has its right value.

They were searched for after those reports were mended: arrays and buffers of every kind, arguments of almost the right
type, paths, interpreters with other settings, and the end of a process.
"""

from __future__ import annotations

import array
import ctypes
import decimal
import enum
import fractions
import io
import json
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from rdc_codec import Codec, trim
from rdc_codec.bundle import Bundle
from rdc_codec.errors import CorruptError, InputError, LimitError, TruncatedError

# --- arrays -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[:70, 100:190])


@pytest.fixture(scope="module")
def stream(tiny: Codec, picture: np.ndarray) -> bytes:
    return tiny.encode(picture)


class Subclass(np.ndarray):
    """Is an array of another library, as astropy and unyt have them."""


def read_only(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    pixels.flags.writeable = False
    return pixels


def every_second(pixels: np.ndarray) -> np.ndarray:
    larger = np.zeros((2 * pixels.shape[0], 3 * pixels.shape[1], 4), np.uint8)
    larger[::2, ::3, :3] = pixels
    return larger[::2, ::3, :3]


def memory_map(pixels: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, np.uint8, "w+", shape=pixels.shape)
    mapped[:] = pixels
    return mapped


VIEWS: dict[str, Callable[[np.ndarray], Any]] = {
    "read-only": read_only,
    "with gaps": every_second,
    "upside down": lambda p: p[::-1].copy()[::-1],
    "mirrored, BGR": lambda p: p[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
    "in Fortran's order": np.asfortranarray,
    "planes": lambda p: p.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    "of a subclass": lambda p: p.view(Subclass),
    "a record array": lambda p: p.view(np.recarray),
    "of big-endian bytes": lambda p: p.view(">u1"),
    "a memory map": memory_map,
    "a view of a tensor": lambda p: torch.from_numpy(p.copy()).numpy(),
    "a PIL image of foreign memory": lambda p: Image.frombuffer(
        "RGB", p.shape[1::-1], p.tobytes(), "raw", "RGB"
    ),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_how_pixels_lie_in_memory_is_no_matter(
    tiny: Codec, picture: np.ndarray, stream: bytes, kind: str
) -> None:
    view = VIEWS[kind](picture)
    np.testing.assert_array_equal(np.asarray(view), picture)
    assert tiny.encode(view) == stream
    assert list(tiny.encode_batch([view, view])) == [stream, stream]
    decoded = tiny.decode(stream)
    assert type(decoded) is np.ndarray and decoded.flags.c_contiguous and decoded.flags.writeable


def test_one_pixel_may_be_repeated_without_memory(tiny: Codec) -> None:
    grey = np.broadcast_to(np.uint8([[[90, 100, 110]]]), (70, 130, 3))
    assert grey.strides == (0, 0, 1)
    assert tiny.encode(grey) == tiny.encode(grey.copy())
    for shape in ((1, (1 << 24) + 1, 3), (1 << 20, 1 << 20, 3)):
        huge = np.broadcast_to(np.uint8(7), shape)  # of a byte; a copy would be of up to 3 TiB
        with pytest.raises(LimitError, match="over the limit"):
            tiny.encode(huge)
        (error,) = tiny.encode_batch([huge], on_error="return")
        assert isinstance(error, LimitError) and error.index == 0


class Unwilling:
    """Says that it may be in GPU memory, and fails when it is asked: tensors on "meta" and sparse ones do."""

    def __dlpack_device__(self) -> tuple[int, int]:
        raise BufferError("nowhere")


@pytest.mark.parametrize(
    "image",
    [np.ndarray, Image.Image, Unwilling(), torch.empty((8, 8, 3), dtype=torch.uint8, device="meta"), np.uint8(3),
     [[[1, 2, 3]]], "photo.png", Path("photo.png"), b"bytes", None, io.BytesIO()],
    ids=lambda image: type(image).__name__,
)  # fmt: skip
def test_what_is_no_picture_is_called_by_its_type(tiny: Codec, image: Any) -> None:
    with pytest.raises(InputError, match=r"^image"):
        tiny.encode(image)


# --- buffers ------------------------------------------------------------------------------------------------------


def anonymous_map(data: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    return mapped


class Lying(bytes):
    """Is a subclass whose methods say something else than its bytes."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        return 0


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "array": lambda d: array.array("B", d),
    "of NumPy": lambda d: np.frombuffer(d, np.uint8),
    "of ctypes": lambda d: (ctypes.c_ubyte * len(d))(*d),
    "of BytesIO": lambda d: io.BytesIO(d).getbuffer(),
    "memory map": anonymous_map,
    "signed": lambda d: memoryview(d).cast("b"),
    "of two dimensions": lambda d: memoryview(d).cast("B", (len(d), 1)),
    "a part": lambda d: memoryview(b"before" + d + b"after")[6:-5],
    "of a subclass": Lying,
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_every_buffer_is_a_stream(tiny: Codec, stream: bytes, kind: str) -> None:
    expected = tiny.decode(stream)
    np.testing.assert_array_equal(tiny.decode(BUFFERS[kind](stream)), expected)
    np.testing.assert_array_equal(next(tiny.decode_batch([BUFFERS[kind](stream)])), expected)
    assert tiny.verify(BUFFERS[kind](stream)).ok and tiny.info(BUFFERS[kind](stream)) == tiny.info(stream)
    assert trim(BUFFERS[kind](stream)) == stream
    decoder = tiny.decoder()
    decoder.feed(BUFFERS[kind](stream))
    np.testing.assert_array_equal(decoder.picture(), expected)


def test_words_of_more_bytes_are_their_bytes(tiny: Codec, stream: bytes) -> None:
    whole = stream[: len(stream) // 8 * 8]
    for kind in "HIQd":
        assert trim_or_error(memoryview(whole).cast(kind)) == trim_or_error(whole)


def trim_or_error(data: Any) -> Any:
    with pytest.warns(UserWarning, match="truncated"):
        return trim(data)


def test_nothing_is_a_stream_that_ends_within_its_header(tiny: Codec) -> None:
    for empty in (b"", array.array("B"), np.zeros(0, np.uint8), np.zeros((0, 3), np.uint8), memoryview(b"")):
        with pytest.raises(TruncatedError, match="0 bytes"):
            tiny.decode(empty)  # type: ignore[arg-type]
        assert not tiny.verify(empty).decodable  # type: ignore[arg-type]


def released(data: bytes) -> memoryview:
    view = memoryview(data)
    view.release()
    return view


def closed_map(data: bytes) -> mmap.mmap:
    mapped = anonymous_map(data)
    mapped.close()
    return mapped


@pytest.mark.parametrize(
    "make",
    [released, closed_map, lambda d: memoryview(d + d)[::2], lambda d: memoryview(d)[::-1], lambda d: list(d),
     lambda d: np.zeros(40, "M8[s]"), lambda d: d.decode("latin-1"), lambda d: io.BytesIO(d), lambda d: Path("a.rdc"),
     lambda d: torch.frombuffer(bytearray(d), dtype=torch.uint8), lambda d: None, lambda d: len(d)],
)  # fmt: skip
def test_what_is_no_buffer_or_none_any_more_is_one_error(tiny: Codec, stream: bytes, make: Any) -> None:
    for call in (tiny.decode, tiny.info, tiny.verify, tiny.symbols, trim, tiny.decoder().feed):
        with pytest.raises(InputError, match=r"^data (must be contiguous bytes|cannot be read)"):
            call(make(stream))
    (error,) = tiny.decode_batch([make(stream)], on_error="return")
    assert isinstance(error, InputError) and error.index == 0


# --- arguments ----------------------------------------------------------------------------------------------------


class Dial(enum.IntEnum):
    """Is a number of the application's own."""

    TWO = 2


@pytest.mark.parametrize(
    "half",
    [np.float16(0.5), np.float32(0.5), np.array(0.5), decimal.Decimal("0.5"), fractions.Fraction(1, 2),
     torch.tensor(0.5)],
    ids=lambda half: type(half).__name__,
)  # fmt: skip
def test_every_number_is_a_quality_and_a_beta(
    tiny: Codec, picture: np.ndarray, stream: bytes, half: Any
) -> None:
    np.testing.assert_array_equal(tiny.decode(stream, beta=half), tiny.decode(stream, beta=0.5))
    assert tiny.encode(picture, half * 100) == tiny.encode(picture, 50)


@pytest.mark.parametrize(
    "value",
    ["1", b"1", bytearray(b"1"), memoryview(b"1"), array.array("b", b"1"), np.array([1.0]), [1], 1 + 0j,
     float("nan"), np.float32("inf"), -1e-9, 10**400, decimal.Decimal("NaN"), np.str_("1"), object()],
    ids=repr,
)  # fmt: skip
def test_what_is_no_number_is_no_quality_even_where_python_would_parse_it(
    tiny: Codec, picture: np.ndarray, stream: bytes, value: Any
) -> None:
    with pytest.raises(InputError, match="quality must be a number from 0 to 100"):
        tiny.encode(picture, value)
    with pytest.raises(InputError, match="beta must be a number from 0 to 1"):
        tiny.decode(stream, beta=value)


@pytest.mark.parametrize("two", [2, np.int64(2), np.uint8(2), Dial.TWO], ids=repr)
def test_whole_numbers_of_every_type_count(tiny: Codec, picture: np.ndarray, stream: bytes, two: Any) -> None:
    assert tiny.encode(picture, layers=two) == trim(stream, 2) == trim(stream, two)
    assert list(tiny.encode_batch([picture], workers=two)) == [stream]
    assert Codec(TINY, backend="onnxruntime", threads=two).encode(picture) == stream


@pytest.mark.parametrize("value", [0, -1, 1025, 2.0, True, "2", np.float64(2), np.bool_(True)], ids=repr)
def test_other_numbers_of_threads_are_refused(tiny: Codec, value: Any) -> None:
    with pytest.raises(InputError, match="threads must be a whole number from 1 to 1024"):
        Codec(TINY, threads=value)
    with pytest.raises(InputError, match="workers must be a whole number from 1 to 1024"):
        tiny.decode_batch([], workers=value)


def test_a_batch_of_what_is_not_iterable_is_an_error_at_once(tiny: Codec, stream: bytes) -> None:
    for batch in (None, 3, tiny):
        with pytest.raises(InputError, match="takes an iterable, got"):
            tiny.encode_batch(batch)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="contiguous bytes, got int"):
        list(tiny.decode_batch(stream))  # type: ignore[call-overload]  # one stream, and no batch of them


# --- paths --------------------------------------------------------------------------------------------------------


class PathLike:
    """Is a path of another library."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


def test_a_model_is_named_by_every_kind_of_path(tmp_path: Path, tiny: Codec) -> None:
    odd = tmp_path / os.fsdecode(b"mod\xe9l \n %s")
    odd.symlink_to(TINY)
    for path in (str(TINY), f"{TINY}/", PathLike(str(TINY)), odd, f"{TINY}/../tiny/."):
        assert Codec(path, backend="onnxruntime", threads=1).bundle.parse_id == tiny.bundle.parse_id


@pytest.mark.parametrize("path", ["", "a\0b", PathLike(b"bytes"), PathLike("")], ids=repr)
def test_a_path_that_names_nothing_is_an_error(path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TINY)  # an empty path, of a variable that is not set, is not the current folder
    with pytest.raises(InputError, match="model must be the path of a folder"):
        Codec(path)
    with pytest.raises(InputError, match="model must be the path of a folder"):
        Bundle(path)
    with pytest.raises(InputError, match="cache_dir must be the path of a folder"):
        Codec(TINY, backend="openvino", cache_dir=path)


def test_a_codec_of_a_relative_path_is_pickled_for_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: np.ndarray, stream: bytes
) -> None:
    monkeypatch.chdir(TINY.parent)
    codec = Codec(TINY.name, backend="onnxruntime", threads=1)
    monkeypatch.chdir(tmp_path)
    assert codec.encode(picture) == stream  # graphs are loaded when they are first used
    assert pickle.loads(pickle.dumps(codec)).encode(picture) == stream


# --- interpreters with other settings -----------------------------------------------------------------------------

USE = """
import sys
import numpy as np
from rdc_codec import Codec, trim
from rdc_codec.errors import CorruptError

codec = Codec(sys.argv[1], backend="onnxruntime", threads=1)
picture = np.load(sys.argv[2])
stream = codec.encode(picture)
decoded = codec.decode(stream)
if not all((p == decoded).all() for p in codec.decode_batch(codec.encode_batch([picture] * 2))):
    sys.exit("batches differ")
decoder = codec.decoder()
decoder.feed(stream)
if not (decoder.picture() == decoded).all() or not codec.verify(trim(stream, 1)).ok:
    sys.exit("parts differ")
try:
    codec.decode(stream + b"0")
except CorruptError:
    sys.stdout.write(stream.hex())
"""


def run_python(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300, **more
    )


@pytest.fixture(scope="module")
def saved(picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("saved") / "picture.npy"
    np.save(path, picture)
    return str(path)


SETTINGS: dict[str, tuple[list[str], dict[str, str | None], str]] = {
    "without assertions and docstrings": (["-OO"], {}, ""),
    "warnings are errors": (["-W", "error", "-bb", "-X", "dev"], {}, ""),
    "in ASCII": ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, ""),
    "in Turkish": ([], {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}, ""),
    "without a home and a folder for temporary files": ([], {"HOME": None, "TMPDIR": "/no/such"}, ""),
    "with nonsense for OpenMP": ([], {"OMP_NUM_THREADS": "none", "MKL_NUM_THREADS": "-1"}, ""),
    "floating-point errors are raised": ([], {}, "import numpy; numpy.seterr(all='raise')"),
    "no deep recursion": ([], {}, "import sys; sys.setrecursionlimit(150)"),
    "no collector": ([], {}, "import gc; gc.disable()"),
    "a tracer": ([], {}, "import sys; sys.settrace(lambda *_: None)"),
    "no deep sums": ([], {}, "import decimal; decimal.getcontext().prec = 1"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_interpreter_with_other_settings_makes_the_same_bytes(
    name: str, saved: str, stream: bytes
) -> None:
    flags, changes, first = SETTINGS[name]
    environment = {k: v for k, v in (os.environ | changes).items() if v is not None}
    done = run_python(*flags, "-c", f"{first}\n{USE}", str(TINY), saved, env=environment)
    assert (done.stdout, done.stderr) == (stream.hex(), "")


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder cannot be removed there")
def test_the_current_folder_may_be_gone(saved: str, stream: bytes, tmp_path: Path) -> None:
    first = f"import os; os.mkdir({str(tmp_path / 'x')!r}); os.chdir({str(tmp_path / 'x')!r}); os.rmdir(os.getcwd())"
    done = run_python("-c", f"{first}\n{USE}", str(TINY), saved)
    assert (done.stdout, done.stderr) == (stream.hex(), "")


# --- threads, signals and the end of a process --------------------------------------------------------------------

BEGIN = """
import asyncio, atexit, itertools, sys, threading, time
import numpy as np
from rdc_codec import Codec
codec = Codec(sys.argv[1], backend="onnxruntime", threads=1)
picture = np.load(sys.argv[2])
"""
ENDS = {
    "a thread goes on after the main one": """
def work():
    threading.main_thread().join()
    print(*(s.hex() for s in codec.encode_batch([picture] * 3)))
threading.Thread(target=work).start()
""",
    "handlers of the end": """
atexit.register(lambda: print(*(s.hex() for s in codec.encode_batch([picture] * 3))))
""",
    "threads that nobody waits for": """
def work():
    while True:
        codec.decode(list(codec.encode_batch([picture] * 4))[0])
        codec.symbols(codec.encode(picture))
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
streams = list(codec.encode_batch([picture] * 3))
time.sleep(0.2)
print(*(s.hex() for s in streams))
""",
    "an iterator that is not taken to its end": """
streams = codec.encode_batch(itertools.repeat(picture), workers=3)
print(*(next(streams).hex() for _ in range(3)))
""",
    "asyncio": """
async def main():
    print(*(s.hex() for s in await asyncio.gather(*[asyncio.to_thread(codec.encode, picture) for _ in range(3)])))
asyncio.run(main())
""",
    "batches within batches": """
inner = codec.encode_batch(codec.decode_batch(codec.encode_batch(iter([picture] * 3), workers=1), workers=1))
codec.decode(next(inner))
print(*(s.hex() for s in codec.encode_batch((picture for s in codec.encode_batch([picture] * 3)), workers=2)))
""",
}


@pytest.mark.parametrize("name", ENDS)
def test_a_process_may_end_as_it_likes(name: str, saved: str, stream: bytes) -> None:
    done = run_python("-c", BEGIN + ENDS[name], str(TINY), saved)
    assert done.stdout.split() == [stream.hex()] * 3, done.stderr
    assert done.returncode == 0 and not done.stderr


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_handler_of_a_signal_may_use_the_codec_that_it_interrupts(
    tiny: Codec, picture: np.ndarray, stream: bytes
) -> None:
    found: list[bytes] = []

    def handler(*_: object) -> None:
        found.append(tiny.encode(picture))
        found.extend(tiny.encode_batch([picture] * 2))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        while not found:
            assert list(tiny.encode_batch([picture] * 3)) == [stream] * 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert found == [stream] * 3


def test_an_iterator_of_pictures_may_end_and_fail_as_it_likes(
    tiny: Codec, picture: np.ndarray, stream: bytes
) -> None:
    class Numbered:
        """Is an iterator without a generator, which other libraries have."""

        def __init__(self) -> None:
            self.left = 2

        def __iter__(self) -> Iterator[np.ndarray]:
            return self

        def __next__(self) -> np.ndarray:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return picture

    class Old:
        """Is iterated by its numbers, as Python had it first."""

        def __getitem__(self, index: int) -> np.ndarray:
            if index >= 2:
                raise IndexError
            return picture

    assert list(tiny.encode_batch(Numbered())) == list(tiny.encode_batch(Old())) == [stream] * 2  # type: ignore[call-overload]

    def broken() -> Iterator[np.ndarray]:
        yield picture
        raise KeyError("the application's own")

    streams = tiny.encode_batch(broken(), on_error="return")
    assert next(streams) == stream
    with pytest.raises(KeyError, match="own"):
        next(streams)


def test_damage_is_the_same_error_in_every_thread(tiny: Codec, stream: bytes) -> None:
    """An exception object that threads share would have the traceback of another."""
    bad = [stream + b"\0"] * 8
    errors = list(tiny.decode_batch(bad, workers=4, on_error="return"))
    assert all(
        isinstance(e, CorruptError) and str(e) == "1 bytes after the end of the stream" for e in errors
    )
    assert len({id(e) for e in errors}) == len(bad) and [e.index for e in errors] == list(range(8))


# --- the command line -----------------------------------------------------------------------------------------------


def rdc_process(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rdc_codec", *map(str, arguments)],
        stderr=subprocess.PIPE, text=True, check=False, timeout=300, **more,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_cannot_be_printed_is_one_line(command: str, stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.rdc").write_bytes(stream)
    with open("/dev/full", "w") as full:
        done = rdc_process(command, tmp_path / "a.rdc", "--json", "--model", TINY, stdout=full)
    assert (done.returncode, done.stderr) == (2, "rdc: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder cannot be removed there")
def test_a_command_in_a_folder_that_is_gone_ends_in_one_line(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.rdc").write_bytes(stream)
    gone = tmp_path / "gone"
    enter = f"import os, sys; os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    run = "from rdc_codec.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", f"{enter}; {run}"]
    done = run_python(*command[1:], "trim", str(tmp_path / "a.rdc"), "-o", str(tmp_path / "b.rdc"))
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "b.rdc").read_bytes() == stream
    done = run_python(*command[1:], "trim", "a.rdc", "-o", "b.rdc")
    assert done.returncode == 2 and done.stderr.startswith("rdc: ") and done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_names_that_are_no_text_are_read_and_printed(stream: bytes, tmp_path: Path) -> None:
    for name in (b"\xff\xfe.rdc", b"line\nline.rdc", b"-a.rdc", b" .rdc"):
        (tmp_path / os.fsdecode(name)).write_bytes(stream)
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = rdc_process("verify", tmp_path, "--json", "--model", TINY, stdout=subprocess.PIPE, env=plain)
    assert done.returncode == 0 and not done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {os.fsencode(Path(f["path"]).name) for f in found} == {
        os.fsencode(p.name) for p in tmp_path.iterdir()
    }
    assert all(f["ok"] for f in found)


FORKS_WHILE_SESSIONS_ARE_MADE = """
import os, sys, threading
import numpy as np
from rdc_codec import Codec

picture = np.zeros((64, 64, 3), np.uint8)
codec = Codec(sys.argv[1], backend="onnxruntime", threads=2)
codec.encode(picture)
ends = threading.Event()

def make() -> None:
    while not ends.is_set():
        Codec(sys.argv[1], backend="onnxruntime", threads=1).encode(picture)

threads = [threading.Thread(target=make) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(60):
    child = os.fork()
    if not child:
        codec.encode(picture)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ends.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.timeout(300)
def test_a_process_may_be_forked_while_threads_make_codecs() -> None:
    """ONNX Runtime holds a lock of the whole process while it makes a session; a child had it for ever."""
    subprocess.run([sys.executable, "-c", FORKS_WHILE_SESSIONS_ARE_MADE, str(TINY)], check=True, timeout=250)
