"""The C API reads and writes what the Python package does: two implementations of one specification, held together.

The container of the one is written from docs/bitstream.md alone. Whatever the bytes are, both say the same of them.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import json
import re
import shutil
import struct
import subprocess
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_library import (
    ALL_LAYERS,
    SOURCE,
    STATES,
    CBundle,
    CError,
    CLibrary,
    CStream,
    HeaderFields,
    configure_and_build,
)
from conftest import DATA, SHIPPED, TINY, in_depth
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rdc_codec import Codec, container, pixels
from rdc_codec.container import ChunkType
from rdc_codec.entropy_coding import Symbols, write
from rdc_codec.errors import CodecError
from rdc_codec.native import crc32c

ROOT = Path(__file__).parents[1]
GOLDEN = {path.stem: path.read_bytes() for path in sorted((DATA / "golden").glob("*.rdc"))}
SMALLEST = min(GOLDEN.values(), key=len)
PLANES = {"primary_hyper": "z1", "primary_latents": "y1", "auxiliary_hyper": "z2", "auxiliary_latents": "y2"}
MANY = 1 << 48
TYPES = (np.int32, np.int16)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="session")
def c_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a build that takes no warning of the compiler."""
    folder = tmp_path_factory.mktemp("c_api")
    configure_and_build(SOURCE, folder, "-DRDC_WERROR=ON")
    return folder


@pytest.fixture(scope="session")
def library(c_build: Path) -> CLibrary:
    (path,) = (p for p in c_build.glob("librdc.*") if p.suffix in (".so", ".dylib"))
    return CLibrary(path)


@pytest.fixture(scope="session")
def bundle(library: CLibrary) -> CBundle:
    return library.bundle(TINY)


@pytest.fixture(scope="session")
def shipped_bundle(library: CLibrary) -> CBundle:
    return library.bundle(SHIPPED)


# --- verdicts -------------------------------------------------------------------------------------


def class_of(error: CodecError) -> str:
    """Return the name of the status that stands for an error of the package."""
    words = re.findall("[A-Z][a-z]+", type(error).__name__)[:-1]
    return "_".join(words).upper()


def python_container(data: bytes, max_pixels: int = MANY) -> Any:
    """Return what the package says of a container: all that it accepts, or the class of its error."""
    try:
        stream = container.read(data, max_pixels=max_pixels)
    except CodecError as error:
        return class_of(error)
    h = stream.header
    fields = (h.width, h.height, h.quality, h.base_quality, h.aux_quality, h.parse_id, h.picture_id)
    return fields, [(int(c.type), c.offset, c.length, c.state.value) for c in stream.chunks], bool(stream.damage())


def c_container(library: CLibrary, data: bytes, max_pixels: int = MANY) -> Any:
    """Return the same of the C API."""
    try:
        stream = library.stream(data, max_pixels)
    except CError as error:
        return error.status
    h = stream.header
    identities = bytes(h.parse_id), bytes(h.picture_id)
    fields = (h.width, h.height, h.quality, h.base_quality, h.aux_quality, *identities)
    return fields, [(c.type, c.offset, c.length, STATES[c.state]) for c in stream.chunks], bool(stream.damage())


def python_symbols(codec: Codec, data: bytes) -> Any:
    """Return the package's symbols with how many slices there are and whether there was a warning, or an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = {PLANES[name]: plane for name, plane in codec.symbols(data).items()}
        except CodecError as error:
            return class_of(error)
    return found, codec.verify(data).slices, bool(caught)


def c_symbols(bundle: CBundle, data: bytes) -> Any:
    try:
        read = bundle.read(bundle.library.stream(data, 1 << 27))
    except CError as error:
        return error.status
    return read.planes, read.slices, read.problem is not None


def assert_same_container(library: CLibrary, data: bytes, max_pixels: int = MANY) -> None:
    assert c_container(library, data, max_pixels) == python_container(data, max_pixels), data.hex()


def assert_same_symbols(codec: Codec, bundle: CBundle, data: bytes) -> None:
    expected, found = python_symbols(codec, data), c_symbols(bundle, data)
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected, data.hex()
        return
    assert found[1:] == expected[1:]
    for name, plane in found[0].items():
        np.testing.assert_array_equal(plane, expected[0].get(name, np.zeros_like(plane)))


def with_right_checksums(data: bytes) -> bytes:
    """Set every CRC of a whole stream to match, so that what was changed gets past them."""
    stream = container.read(data, max_pixels=MANY)
    chunks = [(c.type, data[c.offset : c.offset + c.length]) for c in stream.chunks]
    return container.write(stream.header, chunks)


# --- symbols --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", GOLDEN)
def test_pinned_streams_have_their_symbols_and_symbols_their_bytes(
    bundle: CBundle, name: str, dtype: type
) -> None:
    stream = bundle.library.stream(GOLDEN[name])
    read = bundle.read(stream, dtype=dtype)
    with np.load(DATA / "golden" / f"{name}.npz") as expected:
        assert read.problem is None
        assert read.slices == sum(c.type == ChunkType.AUX_SLICE for c in stream.chunks)
        for key, plane in PLANES.items():
            wanted = expected[key] if key in expected else np.zeros_like(read.planes[plane])
            np.testing.assert_array_equal(read.planes[plane], wanted)
    assert bundle.write(stream.header, read.planes, read.slices) == GOLDEN[name]


@pytest.mark.parametrize("quality", [15, 85])
def test_a_photo_of_the_shipped_model(
    shipped: Codec, shipped_bundle: CBundle, photo: np.ndarray, quality: int
) -> None:
    data = shipped.encode(photo[:150, :200], quality)
    stream = shipped_bundle.library.stream(data)
    read = shipped_bundle.read(stream)
    for name, plane in shipped.symbols(data).items():
        np.testing.assert_array_equal(read.planes[PLANES[name]], plane)
    assert shipped_bundle.write(stream.header, read.planes, read.slices) == data


@pytest.mark.parametrize("dtype", TYPES)
def test_segments_of_many_lanes_escapes_and_extreme_symbols(tiny: Codec, bundle: CBundle, dtype: type) -> None:
    """A picture large enough for several lanes a part, with symbols up to the limits."""
    width, height = 4096, 2048
    rng = np.random.default_rng(3)
    planes = bundle.arrays(width, height, dtype)
    for name, plane in planes.items():
        plane[...] = np.rint(rng.laplace(0, 2 if name[0] == "z" else 1.5, plane.shape))
        limit = 127 if name[0] == "z" else 2047
        plane[0, 0, :2] = limit, -limit
    symbols = Symbols(*(planes[n].astype(np.int16) for n in ("z1", "y1", "z2", "y2")), slices=3)
    header = container.Header(
        width, height, 50.0, 40.5, 62.25, tiny.bundle.parse_id[:4], tiny.bundle.picture_id[:4]
    )
    data = container.write(header, write(symbols, tiny.bundle))
    stream = bundle.library.stream(data)
    assert bundle.write(stream.header, planes, 3) == data
    read = bundle.read(stream, dtype=dtype)
    assert read.slices == 3
    np.testing.assert_array_equal(read.planes["z2"], planes["z2"])
    np.testing.assert_array_equal(read.planes["y1"], planes["y1"])
    assert_same_symbols(tiny, bundle, data)


@pytest.mark.parametrize("layers", range(5))
def test_as_many_slices_as_are_asked_for(tiny: Codec, bundle: CBundle, layers: int) -> None:
    data = GOLDEN["full"]
    trimmed = container.read(data, max_pixels=MANY)
    kept = [(c.type, c.payload) for c in trimmed.chunks[: 1 + layers]]
    read = bundle.read(bundle.library.stream(data), layers)
    expected = bundle.read(bundle.library.stream(container.write(trimmed.header, kept)))
    assert read.slices == expected.slices == layers
    for name, plane in read.planes.items():
        np.testing.assert_array_equal(plane, expected.planes[name])


def test_contents_beside_the_symbols(tiny: Codec, bundle: CBundle) -> None:
    parsed = container.read(GOLDEN["base"], max_pixels=MANY)
    contents = ((99, b"x"), (32, b"profile"), (34, b""), (1 << 31, b"large"), (40, b"RIFF" * 50))
    data = container.write(parsed.header, [(1, parsed.primary()), *contents])
    stream = bundle.library.stream(data)
    read = bundle.read(stream)
    assert bundle.write(stream.header, read.planes, 0, contents) == data
    found = stream.find(40)
    assert data[found.offset : found.offset + found.length] == b"RIFF" * 50


# --- every cut, every flip, every header ------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_every_cut(tiny: Codec, bundle: CBundle, name: str) -> None:
    """Of the smallest stream symbols, too; of larger ones at a sample of places."""
    data = GOLDEN[name]
    for size in range(len(data) + 1):
        assert_same_container(bundle.library, data[:size])
        if data is SMALLEST or size % 41 == 0:
            assert_same_symbols(tiny, bundle, data[:size])
    assert_same_container(bundle.library, data + b"\0")


def test_every_flip_of_the_smallest_stream(tiny: Codec, bundle: CBundle) -> None:
    for position in range(len(SMALLEST)):
        for flip in (*(1 << bit for bit in range(8)), 255):
            damaged = bytearray(SMALLEST)
            damaged[position] ^= flip
            assert_same_container(bundle.library, bytes(damaged))
        assert_same_symbols(tiny, bundle, bytes(damaged))


@pytest.mark.slow
def test_every_other_byte_at_every_place_of_the_smallest_stream(tiny: Codec, bundle: CBundle) -> None:
    for position, flip in itertools.product(range(len(SMALLEST)), range(1, 256)):
        damaged = bytearray(SMALLEST)
        damaged[position] ^= flip
        assert_same_container(bundle.library, bytes(damaged))


@pytest.mark.parametrize("name", GOLDEN)
def test_damage_within_segments_that_no_checksum_of_bytes_shows(
    tiny: Codec, bundle: CBundle, name: str
) -> None:
    """Flips in chunks whose CRC is made to match: the coder itself has to find them."""
    data = GOLDEN[name]
    first = bundle.library.stream(data).header.header_bytes
    for position in range(first, len(data), max(1, (len(data) - first) // 60)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        assert_same_symbols(tiny, bundle, with_right_checksums(bytes(damaged)))


@st.composite
def varints(draw: st.DrawFn, values: st.SearchStrategy[int]) -> bytes:
    """Draw numbers as they should be and, seldom, in forms that are not valid."""
    value = draw(values)
    groups = [value >> (7 * k) & 127 for k in range(max(1, -(-value.bit_length() // 7)))]
    if draw(st.integers(0, 40)) == 0:
        groups += [0] * draw(st.integers(1, 4))
    return bytes([g | 128 for g in groups[:-1]] + groups[-1:])


small, edges = st.integers(0, 70), st.sampled_from([0, 1, 2**24, 2**24 + 1, 2**30, 2**32 - 1, 2**32, 2**35 - 1])
sides = st.one_of(small, edges, st.integers(1, 2**24))
fixed = st.one_of(st.integers(0, 25600), st.integers(0, 65535)).map(lambda q: struct.pack("<H", q))


@st.composite
def made_streams(draw: st.DrawFn) -> bytes:
    """Draw headers that a writer of other ideas, or an attacker, would make; the header's CRC is right."""
    kinds = draw(
        st.one_of(
            st.lists(st.sampled_from([0, 1, 2, 3, 4, 32, 33, 36, 40, 99, 2**32 - 1]), max_size=7),
            st.just([1, 2, 2, 2, 2, 2, 33, 40]),
        )
    )
    contents = [draw(st.binary(max_size=5)) for _ in kinds]
    head = draw(st.sampled_from([b"RDC\x01\x00"] * 20 + [b"RDC\x01\x80", b"RDC\x00\x00", b"RDD\x01\x00"]))
    head += draw(st.binary(min_size=8, max_size=8)) + draw(varints(sides)) + draw(varints(sides))
    head += draw(fixed) + draw(fixed) + draw(fixed)
    count = draw(st.sampled_from([len(kinds)] * 30 + [len(kinds) + 1, 65536, 65537, 2**32 - 1]))
    head += draw(varints(st.just(count)))
    for kind, content in zip(kinds, contents, strict=True):
        length = draw(st.sampled_from([len(content)] * 30 + [2**29, 2**30 - 1]))
        short = kind if 0 < kind < 4 else 0
        head += draw(varints(st.just(4 * length + short)))
        if not short or draw(st.integers(0, 30)) == 0:
            head += draw(varints(st.just(kind)))
        head += crc32c(content).to_bytes(4, "little") if draw(st.integers(0, 9)) else b"\0\0\0\0"
    head += crc32c(head).to_bytes(4, "little")
    data = head + b"".join(contents) + draw(st.sampled_from([b""] * 10 + [b"\0"]))
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data


@settings(max_examples=700)
@given(made_streams(), st.sampled_from([MANY, 1, 4096]))
def test_every_header_with_a_right_checksum(library: CLibrary, data: bytes, max_pixels: int) -> None:
    assert_same_container(library, data, max_pixels)


test_every_header_with_a_right_checksum_in_depth = in_depth(
    test_every_header_with_a_right_checksum,
    data=made_streams(),
    max_pixels=st.sampled_from([MANY, 1, 4096]),
    examples=30_000,
)


@settings(max_examples=300)
@given(st.binary(max_size=80), st.booleans())
def test_arbitrary_bytes(library: CLibrary, noise: bytes, led_by_magic: bool) -> None:
    assert_same_container(library, b"RDC\x01\x00" + noise if led_by_magic else noise)
