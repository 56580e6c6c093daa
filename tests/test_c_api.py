"""The C API reads and writes what the Python package does: two implementations of one specification, held together.

The container of the one is written from docs/bitstream.md alone. Whatever the bytes are, both say the same of them.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from c_library import (
    SOURCE,
    CBundle,
    CError,
    CLibrary,
    CStream,
    built_in,
    configure_and_build,
)
from conftest import DATA, SHIPPED, TINY, in_depth
from fuzz import bundles
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_library import CMAKE
from verdicts import MANY, PLANES, assert_same_container, assert_same_symbols

from rdc_codec import Codec, conformance, container, pixels
from rdc_codec.container import ChunkType
from rdc_codec.entropy_coding import Symbols, write
from rdc_codec.native import crc32c

ROOT = Path(__file__).parents[1]
GOLDEN = {path.stem: path.read_bytes() for path in sorted((DATA / "golden").glob("*.rdc"))}
SMALLEST = min(GOLDEN.values(), key=len)
KIT = Path(__file__).parent / "conformance"
TYPES = (np.int32, np.int16)

pytestmark = pytest.mark.timeout(600)  # the first test waits for the compiler


@pytest.fixture(scope="session")
def c_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a build that takes no warning of the compiler."""
    folder = tmp_path_factory.mktemp("c_api")
    configure_and_build(SOURCE, folder, "-DRDC_WERROR=ON")
    return folder


@pytest.fixture(scope="session")
def library(c_build: Path) -> CLibrary:
    return CLibrary(built_in(c_build))


@pytest.fixture(scope="session")
def bundle(library: CLibrary) -> CBundle:
    return library.bundle(TINY)


@pytest.fixture(scope="session")
def shipped_bundle(library: CLibrary) -> CBundle:
    return library.bundle(SHIPPED)


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
    stream = bundle.api.stream(GOLDEN[name])
    read = bundle.read(stream, dtype=dtype)
    with np.load(DATA / "golden" / f"{name}.npz") as expected:
        assert read.problem is None
        assert read.slices == sum(c.type == ChunkType.AUX_SLICE for c in stream.chunks)
        for key, plane in PLANES.items():
            wanted = expected[key] if key in expected else np.zeros_like(read.planes[plane])
            np.testing.assert_array_equal(read.planes[plane], wanted)
    assert bundle.write(stream.header, read.planes, read.slices) == GOLDEN[name]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["name"]) for case in conformance.read(KIT)["cases"]]
)
def test_the_conformance_kit(bundle: CBundle, case: dict[str, Any]) -> None:
    """What stands beside the symbols, and may be damaged as well, is for whoever makes the picture."""
    data = (KIT / case["stream"]).read_bytes()
    try:
        read = bundle.read(bundle.api.stream(data, case.get("max_pixels", MANY >> 8)))
    except CError as error:
        assert case["result"] in conformance.ERRORS
        assert error.status == case["result"].upper().replace(" ", "_").replace("_EXCEEDED", "")
        return
    assert case["result"] in (conformance.WHOLE, conformance.DAMAGED)
    assert read.slices == case["slices"]
    with np.load(KIT / case["symbols"]) as expected:
        for key, plane in PLANES.items():
            wanted = expected[key] if key in expected else np.zeros_like(read.planes[plane])
            np.testing.assert_array_equal(read.planes[plane], wanted)
    if case.get("rewritable"):
        assert bundle.write(bundle.api.stream(data).header, read.planes, read.slices) == data


@pytest.mark.parametrize("quality", [15, 85])
def test_a_photo_of_the_shipped_model(
    shipped: Codec, shipped_bundle: CBundle, photo: np.ndarray, quality: int
) -> None:
    data = shipped.encode(photo[:150, :200], quality)
    stream = shipped_bundle.api.stream(data)
    read = shipped_bundle.read(stream)
    for name, plane in shipped.symbols(data).items():
        np.testing.assert_array_equal(read.planes[PLANES[name]], plane)
    assert shipped_bundle.write(stream.header, read.planes, read.slices) == data


@pytest.mark.parametrize("dtype", TYPES)
def test_segments_of_many_lanes_escapes_and_extreme_symbols(
    tiny: Codec, bundle: CBundle, dtype: type
) -> None:
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
    stream = bundle.api.stream(data)
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
    read = bundle.read(bundle.api.stream(data), layers)
    expected = bundle.read(bundle.api.stream(container.write(trimmed.header, kept)))
    assert read.slices == expected.slices == layers
    for name, plane in read.planes.items():
        np.testing.assert_array_equal(plane, expected.planes[name])


def test_contents_beside_the_symbols(tiny: Codec, bundle: CBundle) -> None:
    parsed = container.read(GOLDEN["base"], max_pixels=MANY)
    contents = ((99, b"x"), (32, b"profile"), (34, b""), (1 << 31, b"large"), (40, b"RIFF" * 50))
    data = container.write(parsed.header, [(1, parsed.primary()), *contents])
    stream = bundle.api.stream(data)
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
        assert_same_container(bundle.api, data[:size])
        if data is SMALLEST or size % 41 == 0:
            assert_same_symbols(tiny, bundle, data[:size])
    assert_same_container(bundle.api, data + b"\0")


def test_every_flip_of_the_smallest_stream(tiny: Codec, bundle: CBundle) -> None:
    for position in range(len(SMALLEST)):
        for flip in (*(1 << bit for bit in range(8)), 255):
            damaged = bytearray(SMALLEST)
            damaged[position] ^= flip
            assert_same_container(bundle.api, bytes(damaged))
        assert_same_symbols(tiny, bundle, bytes(damaged))


@pytest.mark.slow
def test_every_other_byte_at_every_place_of_the_smallest_stream(tiny: Codec, bundle: CBundle) -> None:
    for position, flip in itertools.product(range(len(SMALLEST)), range(1, 256)):
        damaged = bytearray(SMALLEST)
        damaged[position] ^= flip
        assert_same_container(bundle.api, bytes(damaged))


@pytest.mark.parametrize("name", GOLDEN)
def test_damage_within_segments_that_no_checksum_of_bytes_shows(
    tiny: Codec, bundle: CBundle, name: str
) -> None:
    """Flips in chunks whose CRC is made to match: the coder itself has to find them."""
    data = GOLDEN[name]
    first = bundle.api.stream(data).header.header_bytes
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


small, edges = (
    st.integers(0, 70),
    st.sampled_from([0, 1, 2**24, 2**24 + 1, 2**30, 2**32 - 1, 2**32, 2**35 - 1]),
)
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


@settings(max_examples=400)
@given(made_streams(), st.sampled_from([MANY, 1, 4096]))
def test_every_header_with_a_right_checksum(library: CLibrary, data: bytes, max_pixels: int) -> None:
    assert_same_container(library, data, max_pixels)


test_every_header_with_a_right_checksum_in_depth = in_depth(
    test_every_header_with_a_right_checksum,
    data=made_streams(),
    max_pixels=st.sampled_from([MANY, 1, 4096]),
    examples=5000,
)


@settings(max_examples=300)
@given(st.binary(max_size=80), st.booleans())
def test_arbitrary_bytes(library: CLibrary, noise: bytes, led_by_magic: bool) -> None:
    assert_same_container(library, b"RDC\x01\x00" + noise if led_by_magic else noise)


@pytest.mark.parametrize("path", sorted((DATA / "fuzz" / "streams").glob("*")), ids=lambda path: path.name)
def test_what_fuzzing_found(tiny: Codec, bundle: CBundle, path: Path) -> None:
    data = path.read_bytes()
    assert_same_container(bundle.api, data)
    if container.claimed_pixels(data) <= 1 << 20:
        assert_same_symbols(tiny, bundle, data)


# --- bundles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("auxiliary", [True, False])
def test_the_small_bundle_of_fuzzing_is_one(library: CLibrary, auxiliary: bool) -> None:
    opened = library.open_bundle(*bundles.unpack(bundles.small(auxiliary)))
    assert (opened.info.latent1, opened.info.slices) == (4, 4 * auxiliary)


@pytest.mark.parametrize("folder", [TINY, SHIPPED], ids=["tiny", "shipped"])
def test_a_bundle_says_what_the_package_says(library: CLibrary, folder: Path) -> None:
    bundle, manifest = library.bundle(folder), json.loads((folder / "manifest.json").read_text())
    info = bundle.info
    for number, branch in enumerate(("primary", "auxiliary"), 1):
        described = manifest["parsing"][branch]
        found = [getattr(info, f"{name}{number}") for name in ("latent", "hyper", "levels")]
        assert found == [described[name] for name in ("latent", "hyper", "levels")]
    assert info.slices == 4
    assert bytes(info.parse_id).hex() == manifest["parse_id"]
    assert bytes(info.picture_id).hex() == manifest["picture_id"]
    assert library.native.rdc_bundle_name(bundle.handle).decode() == manifest["name"]
    for graph, described in manifest["graphs"].items():
        assert library.native.rdc_bundle_graph(bundle.handle, graph.encode()).decode() == described["file"]
    assert library.native.rdc_bundle_graph(bundle.handle, b"no such graph") is None


def test_files_of_a_bundle_are_checked(bundle: CBundle) -> None:
    data = (TINY / "decode_base.onnx").read_bytes()
    arguments = bundle.handle, b"decode_base.onnx"
    assert bundle.api.call("rdc_bundle_check_file", *arguments, data, len(data)) is None
    with pytest.raises(CError, match=r"CORRUPT: decode_base.onnx is not the file"):
        bundle.api.call("rdc_bundle_check_file", *arguments, data, len(data) - 1)
    with pytest.raises(CError, match="INVALID"):
        bundle.api.call("rdc_bundle_check_file", bundle.handle, b"other.onnx", data, len(data))


def zip_of(members: dict[str, bytes], strategy: int | None) -> bytes:
    """Write a zip archive whose members are deflated with a strategy of zlib, or stored."""
    out, directory = io.BytesIO(), b""
    for name, content in members.items():
        packed = content
        if strategy is not None:
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
            packed = deflate.compress(content) + deflate.flush()
        method = 0 if strategy is None else 8
        sizes = zlib.crc32(content), len(packed), len(content)
        fields = struct.pack("<5H3I2H", 20, 0, method, 0, 0x21, *sizes, len(name), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields + bytes(10)
        directory += struct.pack("<I", out.tell()) + name.encode()
        out.write(b"PK\3\4" + fields + name.encode() + packed)
    start, count = out.tell(), len(members)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(directory), start, 7)
    return out.getvalue() + directory + b"PK\5\6" + end + b"comment"


def with_tables(tables: bytes) -> bytes:
    """Return the tiny bundle's manifest for other bytes of tables.npz."""
    manifest = json.loads((TINY / "manifest.json").read_text())
    manifest["files"]["tables.npz"] = sha256(tables).hexdigest()
    return json.dumps(manifest).encode()


@pytest.mark.parametrize(
    "strategy", [None, zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED], ids=str
)
def test_tables_of_any_compression_of_zip_are_read(library: CLibrary, strategy: int | None) -> None:
    with zipfile.ZipFile(TINY / "tables.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    tables = zip_of(members, strategy)
    assert zipfile.ZipFile(io.BytesIO(tables)).testzip() is None
    found = library.open_bundle(with_tables(tables), tables)
    assert found.read(library.stream(SMALLEST)).problem is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"format": 3}, "UNSUPPORTED"),
        ({"format": None}, "UNSUPPORTED"),
        ({"parse_id": "00" * 32}, "CORRUPT"),
        ({"picture_id": "xy"}, "CORRUPT"),
        ({"strides": {"pixels": 8, "latent": 16, "hyper": 32}}, "CORRUPT"),
        ({"graphs": {}}, "CORRUPT"),
        ({"files": {}}, "CORRUPT"),
        ({"quality_map": {"quality": [0], "base_quality": [0], "aux_quality": [0]}}, "CORRUPT"),
        ({"quality_map": {"quality": [0, 100], "base_quality": [60, 0], "aux_quality": [0, 9]}}, "CORRUPT"),
    ],
)
def test_manifests_that_are_refused(library: CLibrary, change: dict[str, Any], status: str) -> None:
    tables = (TINY / "tables.npz").read_bytes()
    manifest = json.loads(with_tables(tables)) | change
    with pytest.raises(CError) as caught:
        library.open_bundle(json.dumps(manifest).encode(), tables)
    assert caught.value.status == status


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"nul", b'{"format": 2}', b"[" * 5000, b"\xff\xfe{}"])
def test_what_is_no_manifest(library: CLibrary, text: bytes) -> None:
    with pytest.raises(CError) as caught:
        library.open_bundle(text, (TINY / "tables.npz").read_bytes())
    assert caught.value.status in ("CORRUPT", "UNSUPPORTED")


def test_files_over_the_limits(library: CLibrary) -> None:
    manifest, tables = (TINY / "manifest.json").read_bytes(), (TINY / "tables.npz").read_bytes()
    with pytest.raises(CError, match="LIMIT: bundle: the manifest"):
        library.open_bundle(manifest + b" " * 262144, tables)
    with pytest.raises(CError, match=r"LIMIT: bundle: tables.npz"):
        library.open_bundle(manifest, bytes((1 << 24) + 1))
    bomb = zip_of({"a.npy": bytes(1 << 25)}, zlib.Z_DEFAULT_STRATEGY)
    with pytest.raises(CError, match=r"LIMIT: tables.npz: it holds more"):
        library.open_bundle(with_tables(bomb), bomb)


@settings(max_examples=200)
@given(st.floats(0, 100))
def test_qualities_and_levels_are_those_of_the_package(
    shipped: Codec, shipped_bundle: CBundle, dial: float
) -> None:
    known = shipped.bundle
    fixed = container.from_fixed(container.to_fixed(dial))
    expected = [container.from_fixed(container.to_fixed(q)) for q in known.branch_qualities(fixed)]
    assert shipped_bundle.qualities(dial) == (fixed, *expected)
    assert shipped_bundle.level(1, dial) == np.float32(known.primary.level(dial))
    assert shipped_bundle.level(2, dial) == np.float32(known.auxiliary.level(dial))


@pytest.mark.parametrize("dial", [-0.01, 100.01, float("nan"), float("inf")])
def test_qualities_out_of_range(bundle: CBundle, dial: float) -> None:
    with pytest.raises(CError, match="INVALID"):
        bundle.qualities(dial)
    with pytest.raises(CError, match="INVALID"):
        bundle.level(1, dial)


def test_the_graph_for_each_beta(bundle: CBundle, shipped_bundle: CBundle) -> None:
    def graph(of: CBundle, slices: int, beta: float) -> bytes | None:
        return of.api.native.rdc_decode_graph(of.handle, slices, beta)

    assert graph(shipped_bundle, 4, 0) == b"decode_people"
    assert graph(bundle, 4, 0) == b"decode_full", "an older bundle, which has no decode_people"
    assert graph(shipped_bundle, 1, 0.5) == b"decode_full"
    assert graph(shipped_bundle, 4, 1) == graph(shipped_bundle, 0, 0) == b"decode_base"
    assert graph(bundle, 5, 0) is graph(bundle, 4, 1.5) is graph(bundle, 4, float("nan")) is None


# --- pixels -----------------------------------------------------------------------------------------


@given(st.integers(1, 130), st.integers(1, 70), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_pixels_are_padded_and_cropped_as_in_the_package(
    bundle: CBundle, width: int, height: int, gap: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).integers(0, 256, (height, 3 * width + gap), np.uint8)
    picture = rows[:, : 3 * width].reshape(height, width, 3)
    expected = pixels.to_tensor(picture, 64)[0]
    shapes = bundle.shapes(width, height)
    assert (shapes.padded_height, shapes.padded_width, 3) == expected.shape
    made, back = np.empty_like(expected), np.empty_like(rows)
    size = rows.size - gap  # the last row ends with its pixels
    memory = [ctypes.c_void_p(a.ctypes.data) for a in (rows, made, back)]
    sizes = ctypes.c_uint32(width), ctypes.c_uint32(height)
    row_bytes = rows.shape[1]
    bundle.api.call("rdc_pad_pixels", memory[0], size, row_bytes, *sizes, memory[1], made.size)
    np.testing.assert_array_equal(made, expected)
    bundle.api.call("rdc_crop_pixels", memory[1], made.size, *sizes, memory[2], row_bytes, size)
    np.testing.assert_array_equal(back[:, : 3 * width], rows[:, : 3 * width])
    for arguments in (
        (memory[0], size - 1, row_bytes, *sizes, memory[1], made.size),
        (memory[0], size, row_bytes, *sizes, memory[1], made.size - 1),
    ):
        with pytest.raises(CError, match="NO_ROOM"):
            bundle.api.call("rdc_pad_pixels", *arguments)
    with pytest.raises(CError, match="INVALID"):
        bundle.api.call("rdc_pad_pixels", memory[0], size, 3 * width - 1, *sizes, memory[1], made.size)


# --- arguments --------------------------------------------------------------------------------------


def parsed(bundle: CBundle, name: str = "full") -> tuple[CStream, dict[str, np.ndarray]]:
    stream = bundle.api.stream(GOLDEN[name])
    return stream, bundle.read(stream).planes


def test_a_stream_of_another_model(bundle: CBundle, shipped_bundle: CBundle) -> None:
    stream = bundle.api.stream(SMALLEST)
    assert bundle.api.call("rdc_stream_check_model", stream.handle, bundle.handle) is None
    with pytest.raises(CError, match="WRONG_MODEL"):
        bundle.api.call("rdc_stream_check_model", stream.handle, shipped_bundle.handle)
    with pytest.raises(CError, match="WRONG_MODEL"):
        shipped_bundle.read(stream)


def test_memory_that_is_too_small(bundle: CBundle) -> None:
    stream, planes = parsed(bundle)
    with pytest.raises(CError, match="NO_ROOM") as caught:
        bundle.write(stream.header, planes, 4, room=len(GOLDEN["full"]) - 1)
    assert caught.value.size == len(GOLDEN["full"])
    assert bundle.write(stream.header, planes, 4, room=len(GOLDEN["full"])) == GOLDEN["full"]
    with pytest.raises(CError, match="NO_ROOM"):
        bundle.write(stream.header, planes | {"y2": planes["y2"].ravel()[:-1]}, 4)


@pytest.mark.parametrize(
    ("change", "slices", "contents"),
    [
        ({"width": 0}, 4, ()),
        ({"height": (1 << 24) + 1}, 4, ()),
        ({"quality": float("nan")}, 4, ()),
        ({"base_quality": 100.1}, 4, ()),
        ({"aux_quality": -1.0}, 4, ()),
        ({}, 5, ()),
        ({}, 4, ((40, b"lossless"),)),
        ({}, 0, ((33, b""), (32, b""))),
        ({}, 0, ((36, b""), (36, b""))),
        ({}, 0, ((1, b""),)),
        ({}, 0, ((3, b""),)),
    ],
)
def test_what_cannot_be_written(
    bundle: CBundle, change: dict[str, Any], slices: int, contents: tuple[tuple[int, bytes], ...]
) -> None:
    stream, planes = parsed(bundle)
    header = stream.header
    for name, value in change.items():
        setattr(header, name, value)
    with pytest.raises(CError, match="INVALID"):
        bundle.write(header, planes, slices, contents)


@pytest.mark.parametrize(("name", "limit"), [("z1", 127), ("y1", 2047), ("z2", 127), ("y2", 2047)])
@pytest.mark.parametrize("sign", [1, -1])
def test_symbols_beyond_the_limit(bundle: CBundle, name: str, limit: int, sign: int) -> None:
    stream, planes = parsed(bundle)
    planes[name][-1, -1, -1] = sign * limit
    assert bundle.write(stream.header, planes, 4)
    for beyond in (sign * (limit + 1), sign * (2**31 - 1)):
        planes[name][-1, -1, -1] = beyond
        with pytest.raises(CError, match="INVALID"):
            bundle.write(stream.header, planes, 4)


def test_null_is_an_error_and_no_crash(bundle: CBundle) -> None:
    """Every function with one argument after the other NULL, or all."""
    native = bundle.api.native
    declared = re.findall(
        r"^RDC_API rdc_status (rdc_\w+)\(([^;]*?)\);", (SOURCE / "rdc.h").read_text(), re.M | re.S
    )
    assert len(declared) > 15
    for name, parameters in declared:
        nothing = [ctypes.c_void_p() for _ in parameters.split(",")]
        status = getattr(native, name)(*nothing)
        assert ctypes.c_int32(status).value == -6, name
    for name in ("rdc_bundle_close", "rdc_stream_close"):
        getattr(native, name)(None)
    assert native.rdc_bundle_name(None) is None and native.rdc_bundle_graph(None, None) is None


def test_sizes_that_no_memory_holds(bundle: CBundle) -> None:
    """The largest picture of the format has its shapes on a machine of 64 bits, without any allocation."""
    shapes = bundle.shapes(1 << 24, 1 << 24)
    assert tuple(shapes.y1)[1:] == (1 << 20, 1 << 20) and shapes.y1_count == shapes.y1[0] << 40
    for width, height in ((0, 1), (1, 0), ((1 << 24) + 1, 1), (1, 2**32 - 1)):
        with pytest.raises(CError, match="INVALID"):
            bundle.shapes(width, height)


def test_names_and_version(library: CLibrary) -> None:
    header = (SOURCE / "rdc.h").read_text()
    first = header[header.index("rdc_status;") : header.index("};")]  # the first list of names
    declared = {int(n): name for name, n in re.findall(r"^  RDC_([A-Z_]+) = (-?\d+)", first, re.M)}
    major, minor = (int(re.search(rf"RDC_VERSION_{part} (\d+)", header)[1]) for part in ("MAJOR", "MINOR"))
    assert library.native.rdc_version() == major << 16 | minor
    for status in range(-9, 2):
        assert library.native.rdc_status_name(status).decode() == f"RDC_{declared[status]}"
    assert library.native.rdc_status_name(5) == b"unknown status"


# --- the library ------------------------------------------------------------------------------------


def test_nothing_but_the_header_is_exported(c_build: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("needs nm")
    listed = subprocess.run(
        [nm, "-D", "--defined-only", c_build / "librdc.so"], capture_output=True, text=True
    )
    strong = {line.split()[2] for line in listed.stdout.splitlines() if line.split()[1] in "TDBR"}
    declared = set(re.findall(r"\b(rdc_\w+)\(", (SOURCE / "rdc.h").read_text()))
    assert strong == declared - {"rdc_status"}


@pytest.mark.parametrize(
    "compiler", [("cc", "-std=c99", "-xc"), ("c++", "-std=c++17", "-xc++")], ids=["c", "c++"]
)
def test_the_header_is_c99_and_cpp(compiler: tuple[str, ...]) -> None:
    strict = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", str(SOURCE / "rdc.h"))
    done = subprocess.run(
        [*compiler[:2], *strict[:-1], compiler[2], strict[-1]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def built_harness(folder: Path, *arguments: str) -> Path:
    program = folder / "harness"
    coder = SOURCE.parent / "entropy_coder"
    sources = [ROOT / "tests" / "c_api_harness.cpp", SOURCE / "sha256.cpp", coder / "crc32c.cpp"]
    command = ["c++", "-std=c++17", "-O1", *map(str, sources), *arguments, "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def run_program(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_memory_stays_within_what_is_stated(c_build: Path, tmp_path: Path) -> None:
    """A program whose operator new counts, with every cut and flip of a stream and many of a bundle."""
    program = built_harness(tmp_path, f"-L{c_build}", "-lrdc", f"-Wl,-rpath,{c_build}")
    assert run_program(program, TINY, DATA / "golden" / "one_pixel.rdc") == "ok\n"


# --- the example ------------------------------------------------------------------------------------


def installed_onnxruntime(folder: Path) -> Path | None:
    """Lay out ONNX Runtime's C headers, if they are on this machine, beside the library of the Python package."""
    places = [
        Path(os.environ.get("ONNXRUNTIME_ROOT", "/nowhere")) / "include",
        Path("/usr/include/onnxruntime"),
    ]
    headers = next((h.parent for place in places for h in sorted(place.rglob("onnxruntime_c_api.h"))), None)
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))
    if headers is None or not libraries:
        return None
    (folder / "lib").mkdir(parents=True)
    (folder / "include").symlink_to(headers)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(libraries[0])
    return folder


@pytest.fixture(scope="session")
def programs(c_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build the examples as an application's build would: with the installed package."""
    folder = tmp_path_factory.mktemp("programs")
    prefix = folder / "prefix"
    run_program(*CMAKE, "--install", c_build, "--prefix", prefix)
    options = [
        f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_C_FLAGS=-Werror",
        f"-DCMAKE_BUILD_RPATH={prefix}/lib",
    ]
    if (runtime := installed_onnxruntime(folder / "onnxruntime")) is not None:
        options.append(f"-DONNXRUNTIME_ROOT={runtime}")
    configure_and_build(ROOT / "examples" / "c", folder / "build", *options)
    yield folder / "build"


def symbols_of(path: Path, bundle: CBundle, width: int, height: int) -> dict[str, np.ndarray]:
    planes = bundle.arrays(width, height)
    values = np.fromfile(path, np.int32)
    ends = np.cumsum([plane.size for plane in planes.values()])
    assert len(values) == ends[-1]
    parts = np.split(values, ends[:-1])
    return {name: part.reshape(planes[name].shape) for name, part in zip(planes, parts, strict=True)}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_example_in_c_has_the_symbols_of_python(
    programs: Path, tiny: Codec, bundle: CBundle, tmp_path: Path, name: str
) -> None:
    program, out = programs / "rdc_symbols", tmp_path / "symbols.bin"
    assert "python" not in run_program("ldd", program).lower()
    said = run_program(program, TINY, DATA / "golden" / f"{name}.rdc", out)
    header = bundle.api.stream(GOLDEN[name]).header
    assert f"{header.width}x{header.height}" in said and "the same" in said
    found = symbols_of(out, bundle, header.width, header.height)
    for key, plane in tiny.symbols(GOLDEN[name]).items():
        np.testing.assert_array_equal(found[PLANES[key]], plane)


def test_the_example_says_what_is_wrong(programs: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.rdc"
    damaged.write_bytes(GOLDEN["base"][:-1])
    done = subprocess.run(
        [programs / "rdc_symbols", TINY, damaged, tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "RDC_TRUNCATED" in done.stderr and not (tmp_path / "out").exists()


def read_ppm(path: Path) -> np.ndarray:
    head, size, most, samples = path.read_bytes().split(b"\n", 3)
    assert (head, most) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(samples, np.uint8).reshape(height, width, 3)


def test_pictures_with_onnxruntime_and_without_python(
    programs: Path, shipped: Codec, photo: np.ndarray, tmp_path: Path
) -> None:
    if not (programs / "rdc_decode").exists():
        pytest.skip("ONNX Runtime's C headers are not on this machine (ONNXRUNTIME_ROOT, libonnxruntime-dev)")
    picture = np.ascontiguousarray(photo[:100, :150])
    ppm, stream, back = (tmp_path / name for name in ("in.ppm", "out.rdc", "back.ppm"))
    ppm.write_bytes(b"P6\n150 100\n255\n" + picture.tobytes())
    assert "python" not in run_program("ldd", programs / "rdc_encode").lower()
    run_program(programs / "rdc_encode", SHIPPED, ppm, stream, 70)
    data, expected = stream.read_bytes(), shipped.encode(picture, 70)
    assert container.read(data, max_pixels=MANY).header == container.read(expected, max_pixels=MANY).header
    wanted = shipped.symbols(expected)
    for name, plane in shipped.symbols(data).items():
        assert (plane != wanted[name]).mean() <= 0.001, "as between any two engines (docs/bundle.md)"
    for beta in (0, 0.5, 1):
        run_program(programs / "rdc_decode", SHIPPED, stream, back, beta)
        difference = read_ppm(back).astype(int) - shipped.decode(data, beta)
        assert np.abs(difference).max() <= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_static_and_under_sanitizers(tmp_path: Path, tiny: Codec, bundle: CBundle) -> None:
    """The whole API and the example, with every cut and flip, under AddressSanitizer and UBSan."""
    flags = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    build, prefix, programs = tmp_path / "build", tmp_path / "prefix", tmp_path / "programs"
    configure_and_build(
        SOURCE, build, "-DBUILD_SHARED_LIBS=OFF", f"-DCMAKE_CXX_FLAGS={flags}", "-DCMAKE_BUILD_TYPE=Debug"
    )
    program = built_harness(tmp_path, *flags.split(), "-DRDC_SANITIZED", str(build / "librdc.a"))
    for name in ("one_pixel", "two_slices"):
        assert run_program(program, TINY, DATA / "golden" / f"{name}.rdc") == "ok\n"
    run_program(*CMAKE, "--install", build, "--prefix", prefix)
    sanitized = [f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}"]
    configure_and_build(ROOT / "examples" / "c", programs, f"-DCMAKE_PREFIX_PATH={prefix}", *sanitized)
    out = tmp_path / "symbols.bin"
    assert "the same" in run_program(programs / "rdc_symbols", TINY, DATA / "golden" / "full.rdc", out)
    for key, plane in tiny.symbols(GOLDEN["full"]).items():
        np.testing.assert_array_equal(symbols_of(out, bundle, 191, 127)[PLANES[key]], plane)
