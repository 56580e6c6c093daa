"""What a stream of a few bytes can make a reader do: docs/robustness.md states the bounds, these tests hold them.

Memory is the peak that the system saw of a process of its own, above what it had: nothing that native code allocates
escapes it. Work is counted, in calls or as a ratio of CPU time, never by the clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHIPPED, TINY
from surroundings import recorded_warnings

from benchmarks import bounds
from benchmarks.sizing import photo
from rdc_codec import Codec, container, trimming
from rdc_codec.codec import MAX_PIXELS
from rdc_codec.container import MAX_CHUNKS, MAX_SIDE, ChunkType
from rdc_codec.errors import CodecError, DamagedAuxiliaryWarning

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux"),
    pytest.mark.timeout(300),
]
# The bounds of docs/robustness.md: bytes of memory.
SLACK = 4e6  # what Python and the allocator take by pages
PER_BYTE = 3  # of input
PER_CHUNK = 1000
PER_PIXEL_OF_SYMBOLS = 9  # of the padded picture, to read all symbols without a network
PER_PIXEL_STORED = 22

READ_ALL = """
import json, sys
from pathlib import Path
from benchmarks import bounds
codec = bounds.warmed(sys.argv[1])
codec.max_pixels = int(sys.argv[2])
for line in sys.stdin:
    reader, path = json.loads(line)
    print(json.dumps(bounds.measured(codec, reader, Path(path).read_bytes())), flush=True)
"""


def measured(
    streams: dict[str, bytes], folder: Path, readers: list[str], model: Path = TINY, limit: int = MAX_PIXELS
) -> dict[tuple[str, str], dict[str, Any]]:
    """Read each stream in each way, in a process of its own; return what it took, by both names."""
    asked = [(name, reader) for name in streams for reader in readers]
    for number, data in enumerate(streams.values()):
        (folder / str(number)).write_bytes(data)
    paths = {name: str(folder / str(number)) for number, name in enumerate(streams)}
    lines = "".join(json.dumps([reader, paths[name]]) + "\n" for name, reader in asked)
    command = [sys.executable, "-c", READ_ALL, str(model), str(limit)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    return dict(zip(asked, map(json.loads, done.stdout.splitlines()), strict=True))


def of_sides(codec: Codec, width: int, height: int, chunks: bounds.Chunks) -> bytes:
    return container.write(bounds.header_of(codec, height, width), chunks)


ALL = [*bounds.READERS]


def test_what_a_header_claims_costs_nothing(tiny: Codec, tmp_path: Path) -> None:
    """Every side from its least to its most, with chunks that are empty: 40 bytes that claim up to 2^48 pixels."""
    sides = [(MAX_SIDE, 1), (1, MAX_SIDE), (MAX_SIDE, MAX_SIDE), (1 << 14, 1 << 13), (1 << 21, 1), (1, 1)]
    streams = {f"{w}x{h}": of_sides(tiny, w, h, [(ChunkType.PRIMARY, b"")]) for w, h in sides}
    found = measured(streams, tmp_path, ["info", "decode", "verify", "decoder", "trim"])
    strides = MAX_PIXELS // 64**2
    for (name, reader), one in found.items():
        allowed = name in ("16384x8192", "2097152x1", "1x1")
        if reader in ("decode", "decode_image", "verify", "decoder"):
            assert one["outcome"] == ("CorruptError" if allowed else "LimitError"), (name, reader)
        # The tables of z are listed before its bytes are looked at: one byte for each of its symbols.
        most = SLACK + PER_BYTE * one["bytes"] + (tiny.bundle.primary.hyper * 3 * strides if allowed else 0)
        assert one["MB"] * 1e6 <= most, (name, reader, one)


@pytest.mark.parametrize(
    ("count", "readers"),
    [(MAX_CHUNKS // 4, ["trim", "decoder"]), pytest.param(MAX_CHUNKS, ALL, marks=pytest.mark.slow)],
    ids=["a quarter", "all"],
)
def test_as_many_chunks_as_there_may_be_take_memory_in_proportion(
    count: int, readers: list[str], tiny: Codec, tmp_path: Path
) -> None:
    least = bounds.flat(tiny, 64, 64, 0)[0][1]
    streams = {}
    for name, kind in (("slices", ChunkType.AUX_SLICE), ("unknown", (1 << 32) - 1)):
        streams[name] = of_sides(tiny, 64, 64, bounds.many_chunks(least, kind, count))
    streams["cut"] = streams["slices"][: -len(least)]
    for key, one in measured(streams, tmp_path, readers).items():
        assert one["MB"] * 1e6 <= SLACK + PER_BYTE * one["bytes"] + PER_CHUNK * count, (key, one)


def test_long_metadata_takes_memory_in_proportion(tiny: Codec, tmp_path: Path) -> None:
    chunks = bounds.flat(tiny, 64, 64, 0)
    chunks += [(kind, bytes(1 << 20)) for kind in (ChunkType.ICC, ChunkType.EXIF, ChunkType.XMP, 99)]
    found = measured({"metadata": of_sides(tiny, 64, 64, chunks)}, tmp_path, ALL)
    for key, one in found.items():
        assert one["MB"] * 1e6 <= SLACK + PER_BYTE * one["bytes"], (key, one)


def test_symbols_take_memory_by_the_size_of_the_picture(tiny: Codec, tmp_path: Path) -> None:
    """Streams that are wrong at their very end, or that end early: a megapixel, no network is run."""
    side = 1024
    whole = bounds.flat(tiny, side, side, tiny.slices)
    streams = {
        "wrong end": of_sides(tiny, side, side, bounds.wrong_end(whole)),
        "hyper-latents alone": of_sides(tiny, side, side, bounds.hyper_alone(tiny, side, side)),
        "flat": of_sides(tiny, side, side, whole),
    }
    assert all(len(data) < side**2 / 100 for data in streams.values())
    for (name, reader), one in measured(streams, tmp_path, ["verify", "decoder"]).items():
        if reader == "verify" or name != "flat":  # else networks are run
            assert one["outcome"] == ("whole" if name == "flat" else "CorruptError"), (name, reader)
            assert one["MB"] * 1e6 <= SLACK + PER_PIXEL_OF_SYMBOLS * side**2, (name, reader, one)


def test_a_stored_picture_takes_memory_by_the_size_of_the_picture(tiny: Codec, tmp_path: Path) -> None:
    side = 1024
    base = bounds.flat(tiny, side, side, 0)
    streams = {}
    for kind in ("WEBP", "PNG"):
        exact = bounds.stored_plane(kind, side, side, "RGB")
        alpha = bounds.stored_plane(kind, side, side, "RGB" if kind == "WEBP" else "L")
        streams[f"lossless {kind}"] = of_sides(tiny, side, side, [*base, (ChunkType.LOSSLESS, exact)])
        streams[f"alpha {kind}"] = of_sides(tiny, side, side, [*base, (ChunkType.ALPHA, alpha)])
    for key, one in measured(streams, tmp_path, ["verify"]).items():
        assert one["outcome"] == "whole", key
        assert one["MB"] * 1e6 <= SLACK + (PER_PIXEL_OF_SYMBOLS + PER_PIXEL_STORED) * side**2, (key, one)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_what_a_png_packs_in_a_few_bytes_is_not_unpacked(tiny: Codec, tmp_path: Path) -> None:
    """64 MB of zeros take 64 kB; as pixels, text or profile of a picture of 64x64."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    plain = bounds.stored_plane("PNG", 64, 64, "RGB")
    first = plain.index(b"IDAT") - 4
    beside = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"name\0\0"}
    files = {
        kind.decode(): plain[:first] + png_chunk(kind, head + bomb) + plain[first:]
        for kind, head in beside.items()
    }
    files["IDAT"] = plain[:first] + png_chunk(b"IDAT", bomb) + png_chunk(b"IEND", b"")
    base = bounds.flat(tiny, 64, 64, 0)
    streams = {
        name: of_sides(tiny, 64, 64, [*base, (ChunkType.LOSSLESS, data)]) for name, data in files.items()
    }
    for key, one in measured(streams, tmp_path, ["decode"]).items():
        assert one["MB"] * 1e6 <= SLACK + 8 * one["bytes"], (key, one)


# --- work -----------------------------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """Count the calls of Python and C functions that something takes."""
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the least CPU time of this thread that something takes."""
    found = []
    for _ in range(rounds):
        begun = time.thread_time()
        work()
        found.append(time.thread_time() - begun)
    return min(found)


def fed(codec: Codec, data: bytes, size: int) -> None:
    decoder = codec.decoder()
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])


WORK: dict[str, Callable[[Codec, bytes], object]] = {
    "info": lambda codec, data: codec.info(data),
    "verify": lambda codec, data: codec.verify(data),
    "trim": lambda codec, data: trimming.trim(data),
    "trim to a layer": lambda codec, data: trimming.trim(data, 1),
    "trim to bytes": lambda codec, data: trimming.trim(data, max_bytes=len(data) - 100),
    "decoder": lambda codec, data: fed(codec, data, len(data)),
    "decoder, pieces": lambda codec, data: fed(codec, data, 512),
    "open": bounds.opened,
}


@pytest.mark.parametrize("name", WORK)
def test_work_grows_with_chunks_and_no_faster(name: str, tiny: Codec) -> None:
    """Four times as many chunks take at most five times the calls of functions."""
    least = bounds.flat(tiny, 64, 64, 0)[0][1]
    few, many = (
        of_sides(tiny, 64, 64, bounds.many_chunks(least, ChunkType.AUX_SLICE, count)) for count in (512, 2048)
    )
    work = WORK[name]
    work(tiny, few)
    assert calls(lambda: work(tiny, many)) <= 5 * calls(lambda: work(tiny, few))


@pytest.mark.parametrize("name", ["trim", "trim to a layer"])
def test_trimming_looks_for_no_chunk_in_a_list_of_all(name: str, tiny: Codec) -> None:
    """What C's own loops do is not seen in calls: CPU time then, 32 times as much or, with a search, 1000 times."""
    least = bounds.flat(tiny, 64, 64, 0)[0][1]
    few, many = (
        of_sides(tiny, 64, 64, bounds.many_chunks(least, ChunkType.AUX_SLICE, count))
        for count in (2048, 65536)
    )
    work = WORK[name]
    assert seconds(lambda: work(tiny, many)) <= 160 * seconds(lambda: work(tiny, few))


def test_a_directory_that_arrives_slowly_is_read_once(tiny: Codec) -> None:
    least = bounds.flat(tiny, 64, 64, 0)[0][1]
    data = of_sides(tiny, 64, 64, bounds.many_chunks(least, (1 << 32) - 1, 8192))
    at_once = calls(lambda: container.read_head(data, max_pixels=1 << 20))
    assert calls(lambda: fed(tiny, data, len(data))) < 2.5 * at_once
    assert calls(lambda: fed(tiny, data, 64)) < 2.5 * at_once


def test_a_warning_names_a_few_chunks_of_many(tiny: Codec) -> None:
    chunks = [*bounds.flat(tiny, 64, 64, 0), *[(50, b"x")] * 3000]
    data = of_sides(tiny, 64, 64, chunks)
    with recorded_warnings() as caught:
        trimming.trim(data[:-2500])
    (warning,) = caught
    assert issubclass(warning.category, DamagedAuxiliaryWarning)
    assert str(warning.message).count("chunk unknown_50 is missing") == 8
    assert str(warning.message).endswith(" and 2492 more")


@pytest.mark.parametrize("name", ["flat", "extremes", "wrong end"])
def test_no_symbols_take_much_longer_than_those_of_a_photo(name: str, tiny: Codec) -> None:
    """Whatever the symbols are: each takes as many steps, and networks know no slow numbers."""
    side = 512
    of_photo = tiny.encode(photo(side, side), 100)
    chunks = {
        "flat": lambda: bounds.flat(tiny, side, side, tiny.slices),
        "extremes": lambda: bounds.extremes(tiny, side, side),
        "wrong end": lambda: bounds.wrong_end(bounds.flat(tiny, side, side, tiny.slices)),
    }[name]()
    stream = container.write(bounds.header_of(tiny, side, side, 100), chunks)

    def decode(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tiny.decode(data)
            except CodecError:
                assert name == "wrong end"

    assert seconds(lambda: decode(stream), 5) <= 4 * seconds(lambda: decode(of_photo), 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat, all", "extremes", "photo"])
def test_the_shipped_model_keeps_the_bounds_that_are_stated(
    name: str, shipped: Codec, tmp_path: Path
) -> None:
    """9 megapixels, in windows: 145 MB for each of the first 4 megapixels, 9 MB for each further one."""
    side = 3008
    data = bounds.streams(Codec(SHIPPED, backend="onnxruntime"), side, side)[name]()
    found = measured({name: data}, tmp_path, ["verify", "decode"], model=SHIPPED)
    megapixels = side**2 / 1e6
    assert found[name, "decode"]["outcome"] == "picture"
    assert found[name, "decode"]["MB"] <= 4 + 145 * 4 + 9 * (megapixels - 4)
    assert found[name, "verify"]["MB"] <= 4 + 9 * megapixels


def test_the_bounds_are_those_that_the_page_states() -> None:
    page = (Path(__file__).parents[1] / "docs" / "robustness.md").read_text()
    for bound in ("3 bytes for each byte", "1 kB for each chunk", "9 bytes for each pixel", "22 bytes"):
        assert bound in " ".join(page.split())
    assert np.prod([PER_CHUNK, MAX_CHUNKS]) < 66e6  # as the page says: 66 MB
