"""What must hold of any bytes, one function for each layer. `tests/test_fuzz_corpus.py` calls them, and so do fuzzers.

Errors of `rdc_codec.errors` are answers; any other exception is a find, and so is an input that takes more than
SECONDS of the processor's time or makes the process grow by more than GROWTH.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from c_library import CBundle, CLibrary
from PIL import Image, UnidentifiedImageError
from surroundings import recorded_warnings
from verdicts import MANY, assert_same_container, assert_same_symbols

import rdc_codec.pillow as plugin
from rdc_codec import Codec, attachments, container, entropy_coding
from rdc_codec.backends import BackendInfo
from rdc_codec.bundle import HYPER_STRIDE, MANIFEST, WEIGHTS, Bundle
from rdc_codec.entropy_coding import Symbols
from rdc_codec.errors import CodecError, CodecWarning, CorruptError
from rdc_codec.native import crc32c
from rdc_codec.trimming import trim

from . import bundles, streams

TINY = Path(__file__).parents[1] / "data" / "tiny"
MAX_PIXELS = 1 << 15  # of the pictures that are decoded here
SECONDS = 5.0
GROWTH = 64 << 20  # bytes
WARNINGS = (CodecWarning, Image.DecompressionBombWarning)  # Pillow's own, of large pictures

Mutate = Callable[[bytes, int, int, streams.Change], bytes]


class Hashing:
    """Makes pictures that say all that a graph was given, in place of networks, which see no bytes of a stream."""

    info = BackendInfo("hashing", "the CPU", "for targets that are not about networks")
    parallel = True

    def run(self, graph: str, inputs: Any, cuda_stream: int | None = None) -> list[np.ndarray]:
        digest = hashlib.sha256(graph.encode())
        for name in sorted(inputs):
            digest.update(f"{name}{inputs[name].shape}".encode() + inputs[name].tobytes())
        rows, columns = inputs["z1"].shape[2:]
        return [np.resize(np.frombuffer(digest.digest(), np.int8), (1, 64 * rows, 64 * columns, 3))]


def _limited(codec: Codec) -> Codec:
    codec.max_pixels = MAX_PIXELS
    return codec


@functools.lru_cache
def real() -> Codec:
    """Return a codec of the tiny bundle with its networks."""
    return _limited(Codec(TINY, backend="onnxruntime", threads=1))


@functools.lru_cache
def hashing() -> Codec:
    """Return a codec of the tiny bundle whose pictures are digests."""
    return _limited(Codec(TINY, backend=Hashing()))


@functools.lru_cache
def c_api() -> CBundle:
    """Return the tiny bundle in the C API, built before by whoever sets RDC_FUZZ_C_LIBRARY."""
    return CLibrary(Path(os.environ["RDC_FUZZ_C_LIBRARY"])).bundle(TINY)


def outcome(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, bool]:
    """Return what a call gives, or its CodecError, and whether it warned. No other warning may come."""
    with recorded_warnings() as caught:
        try:
            found = call(*arguments, **named)
        except CodecError as error:
            found = error
    assert all(issubclass(w.category, WARNINGS) for w in caught), [str(w.message) for w in caught]
    return found, bool(caught)


def choices(data: bytes) -> random.Random:
    """Return a source of arguments for an input: the same for the same bytes."""
    return random.Random(crc32c(data))


# --- streams --------------------------------------------------------------------------------------


def check_container(data: bytes) -> None:
    """What is read and whole is written to the same bytes; the head alone says the same as all."""
    stream, _ = outcome(container.read, data, max_pixels=MANY)
    head, _ = outcome(container.read_head, data, max_pixels=MANY)
    if isinstance(stream, CodecError):
        if isinstance(head, CodecError):
            assert type(head) is type(stream) and str(head) == str(stream)
        else:
            assert type(stream) is CorruptError and len(data) > head.size + sum(
                e.length for e in head.entries
            )
        return
    header = stream.header
    assert head.header == header and [e.type for e in head.entries] == [c.type for c in stream.chunks]
    assert container.claimed_pixels(data) == header.width * header.height
    for chunk, entry in zip(stream.chunks, head.entries, strict=True):
        there = data[chunk.offset : chunk.offset + chunk.length]
        assert (chunk.payload is not None) == (len(there) == entry.length and entry.fits(there))
    auxiliary = stream.auxiliary()
    assert len(auxiliary.slices) <= len(stream.chunks)
    if stream.damage() is None:
        assert container.write(header, [(c.type, c.payload) for c in stream.chunks]) == data
    limited, _ = outcome(container.read, data, max_pixels=header.width * header.height - 1)
    assert isinstance(limited, CodecError)


def check_info(data: bytes) -> None:
    """It is JSON, and says what the container says."""
    codec = hashing()
    found, warned = outcome(codec.info, data)
    stream, _ = outcome(container.read, data, max_pixels=codec.max_pixels)
    assert not warned
    if isinstance(found, CodecError):
        assert type(found) is type(stream)
        return
    again = json.loads(json.dumps(found))
    assert (again["width"], again["height"]) == (stream.header.width, stream.header.height)
    assert [(c["offset"], c["length"], c["state"]) for c in again["chunks"]] == [
        (c.offset, c.length, c.state.value) for c in stream.chunks
    ]


def check_verify(data: bytes) -> None:
    """It never raises, and finds a picture exactly where there are symbols."""
    codec = hashing()
    report, warned = outcome(codec.verify, data)
    assert not warned and not isinstance(report, CodecError)
    assert report.ok == (report.problem is None) and (report.decodable or not report.ok)
    symbols, warned = outcome(codec.symbols, data)
    assert report.decodable == (not isinstance(symbols, CodecError))
    assert not (report.ok and warned) and 0 <= report.slices <= codec.slices
    if isinstance(symbols, CodecError):
        assert report.problem == f"{type(symbols).__name__}: {symbols}" and not report.slices
    else:
        assert bool(report.slices) == ("auxiliary_latents" in symbols)


def check_trim(data: bytes) -> None:
    """What is trimmed is whole, not larger than asked, has what was kept, and is trimmed to itself."""
    rng, codec = choices(data), hashing()
    layers = rng.choice((None, "all", "base", 0, 1, 2, 3, 4, 5))
    max_bytes = rng.choice((None, None, rng.randint(0, len(data) + 9)))
    found, _ = outcome(trim, data, layers, max_bytes)
    if isinstance(found, CodecError):
        return
    assert max_bytes is None or len(found) <= max_bytes
    assert len(found) <= len(data)
    before = container.read(data, max_pixels=MANY)
    after = container.read(found, max_pixels=MANY)
    assert after.header == before.header and after.damage() is None
    kept = iter(before.chunks)
    assert all(any(k.type == c.type and k.payload == c.payload for k in kept) for c in after.chunks)
    assert trim(found, layers, max_bytes) == found
    report = codec.verify(data)
    trimmed = codec.verify(found)
    assert trimmed.decodable == report.decodable
    if report.ok:
        assert trimmed.ok, trimmed.problem
        assert trimmed.slices <= report.slices


def _has_bytes_after(data: bytes) -> bool:
    head, _ = outcome(container.read_head, data, max_pixels=MANY)
    return isinstance(head, container.Head) and len(data) > head.size + sum(e.length for e in head.entries)


def check_incremental(data: bytes) -> None:
    """Fed in pieces, a stream gives the picture, the warning or the error that it gives at once."""
    rng, codec = choices(data), hashing()
    beta = rng.choice((0.0, 0.0, 0.5, 1.0))
    decoder, error, at, steps = codec.decoder(), None, 0, 0
    try:
        while at < len(data):
            size = rng.choice((1, 3, 20, 100, 1000))
            decoder.feed(data[at : at + size])
            at = min(at + size, len(data))
            assert decoder.received == at and decoder.steps >= steps
            steps = decoder.steps
            assert (decoder.next_step is None) == (decoder.needed == 0)
        decoder.finish()
    except CodecError as found:
        error = found
    whole, warned = outcome(codec.decode, data, beta)
    verdict = str(codec.verify(data).problem)
    if error is not None:
        if not _has_bytes_after(data):  # which are seen when they come, and all at once before any other part
            assert type(whole) is type(error), (whole, error)
            # How many bytes there are is known to the one that has all of them alone.
            assert str(whole).lstrip("0123456789 ") == str(error).lstrip("0123456789 ")
        repeated, _ = outcome(decoder.picture)
        assert repeated is error
        return
    assert not isinstance(whole, CodecError), whole
    picture, warned_too = outcome(decoder.picture, beta)
    assert decoder.problem is None or decoder.problem in verdict
    assert warned_too == warned and decoder.complete == (decoder.length == len(data))
    np.testing.assert_array_equal(picture, whole)


def check_decode(data: bytes) -> None:
    """There is a picture where `verify` finds one, and a warning only where it finds damage; `strict` raises then."""
    rng, codec = choices(data), real()
    beta, layers = rng.choice((0.0, 0.0, 0.5, 1.0)), rng.choice((None, None, 0, 1, 4, "base"))
    report = codec.verify(data)
    decode = rng.choice((codec.decode, codec.decode_image))
    found, warned = outcome(decode, data, beta, layers)
    assert report.decodable == (not isinstance(found, CodecError)), (report, found)
    if isinstance(found, CodecError):
        return
    header = container.read(data, max_pixels=codec.max_pixels).header
    height, width = (found.size[1], found.size[0]) if decode == codec.decode_image else found.shape[:2]
    assert (height, width) == (header.height, header.width)
    assert not (report.ok and warned)
    if warned:
        strict, _ = outcome(decode, data, beta, layers, strict=True)
        assert type(strict) is CorruptError
    if not rng.randrange(64):
        again, _ = outcome(decode, data, beta, layers)
        np.testing.assert_array_equal(np.asarray(again), np.asarray(found))


def check_pillow(data: bytes) -> None:
    """Pillow's own errors are raised, size and mode are known before pixels are, and stay as they were."""
    codec = hashing()
    plugin.register(codec)
    stream, _ = outcome(container.read, data, max_pixels=container.MAX_SIDE**2)
    pixels = 0 if isinstance(stream, CodecError) else stream.header.width * stream.header.height
    try:
        image, _ = outcome(Image.open, io.BytesIO(data), formats=["RDC"])
    except UnidentifiedImageError:
        assert isinstance(stream, CodecError)
        return
    except Image.DecompressionBombError:
        assert Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS
        return
    assert not isinstance(stream, CodecError)
    size, mode = image.size, image.mode
    assert size == (stream.header.width, stream.header.height) and mode == attachments.mode_of(stream)
    other, _ = outcome(Image.open, io.BytesIO(data), formats=["RDC"])
    try:
        other.verify()
        assert stream.damage() is None
    except OSError:
        assert stream.damage() is not None
    decodable = codec.verify(data).decodable
    try:
        outcome(image.load)
        assert decodable and (image.size, image.mode) == (size, mode)
    except OSError:
        assert not decodable


def check_same(data: bytes) -> None:
    """The Python package and the C API say the same of a container, and of its symbols."""
    library = c_api().api
    rng = choices(data)
    assert_same_container(library, data, rng.choice((MANY, MANY, 1, 4096)))
    head, _ = outcome(container.read_head, data, max_pixels=MANY)
    if isinstance(head, CodecError):
        return
    rows, columns = (-(-side // HYPER_STRIDE) for side in (head.header.height, head.header.width))
    if rows * columns * HYPER_STRIDE**2 <= MAX_PIXELS:  # the limit of the codec, which counts the padding
        assert_same_symbols(hashing(), c_api(), data)


# --- bundles --------------------------------------------------------------------------------------


@functools.lru_cache
def _folder() -> tuple[Path, Any]:
    # Memory, where there is such a file system: a file or two for each input.
    place = "/dev/shm" if sys.platform == "linux" and os.access("/dev/shm", os.W_OK) else None
    owner = tempfile.TemporaryDirectory(prefix="rdc_fuzz_", dir=place)
    folder = Path(owner.name)
    for name in ("g.onnx", WEIGHTS):
        (folder / name).write_bytes(bundles.FILE)
    return folder, owner


def check_bundle(data: bytes) -> None:
    """A bundle is refused, or its dials rise and its symbols are read as they were written."""
    folder, _ = _folder()
    manifest, tables = bundles.unpack(data)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / "tables.npz").write_bytes(tables)
    bundle, _ = outcome(Bundle, folder)
    if isinstance(bundle, CodecError):
        return
    assert bundle.sha256 == hashlib.sha256(manifest).hexdigest()
    dials = np.array([bundle.branch_qualities(q) for q in range(0, 101, 20)])
    assert (np.diff(dials, axis=0) >= 0).all() and dials.min() >= 0 and dials.max() <= 100
    first, second = bundle.primary, bundle.auxiliary
    symbols = Symbols(np.full((first.hyper, 1, 1), 3, np.int16), np.zeros((first.latent, 4, 4), np.int16))
    symbols.y1[::3, ::2, 1] = 130
    if second is not None:
        symbols.z2 = np.full((second.hyper, 1, 1), -2, np.int16)
        symbols.y2 = np.ones((second.latent, 4, 4), np.int16)
        symbols.slices = second.slices
    header = container.Header(64, 64, 50.0, 40.0, 60.0, bundle.parse_id[:4], b"abcd")
    written = container.write(header, entropy_coding.write(symbols, bundle))
    layers = 0 if second is None else second.slices
    found = entropy_coding.read(container.read(written, max_pixels=MANY), bundle, layers)
    assert found.problem is None and found.slices == layers
    for name in ("z1", "y1", "z2", "y2"):
        np.testing.assert_array_equal(getattr(found, name), getattr(symbols, name))


# --- all ------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """Names a target. bundles: its inputs are bundles, not streams."""

    name: str
    check: Callable[[bytes], None]
    bundles: bool = False

    @property
    def seeds(self) -> str:
        """Tells which folder of seeds it starts from."""
        return "bundles" if self.bundles else "streams"

    def mutate(self, data: bytes, size: int, seed: int, change: streams.Change) -> bytes:
        """Return a mutation of an input, of at most so many bytes."""
        if self.bundles:
            return bundles.mutate(data, size, seed, change)
        return streams.mutate(hashing(), data, size, seed, change)

    def run(self, data: bytes) -> None:
        """Check an input, and what it takes."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        self.check(data)
        assert time.process_time() - start < SECONDS, "it takes too long"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown << (10 if sys.platform == "linux" else 0) < GROWTH, "it takes too much memory"


TARGETS = {
    target.name: target
    for target in (
        Target("container", check_container),
        Target("info", check_info),
        Target("verify", check_verify),
        Target("trim", check_trim),
        Target("incremental", check_incremental),
        Target("decode", check_decode),
        Target("pillow", check_pillow),
        Target("same", check_same),
        Target("bundle_python", check_bundle, bundles=True),
    )
}
