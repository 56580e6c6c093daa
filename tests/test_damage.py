"""Damaged streams: a picture (with a warning where auxiliary data is lost) or a typed error, soon, never a crash."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import TINY
from skimage import data
from surroundings import recorded_warnings

from rdc_codec import Codec, native
from rdc_codec.backends import BackendInfo
from rdc_codec.errors import CodecError, CorruptError, DamagedAuxiliaryWarning, InputError, TruncatedError

# Damage must not make a decoder slow: hundreds of damaged streams take seconds, one that hangs is stopped.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def picture(photos: list[np.ndarray]) -> np.ndarray:
    """Return a photo just below the size from which calls have threads of their own, which cost more than damage."""
    return photos[1][:, :500]


@pytest.fixture(scope="module")
def stream(tiny: Codec, picture: np.ndarray) -> bytes:
    """Return a stream of over 2 kB, most of it primary data."""
    data = tiny.encode(picture, 100)
    assert len(data) > 2048
    return data


def decode(codec: Codec, data: bytes) -> tuple[np.ndarray | None, bool]:
    """Return (picture, or None after a typed error; was there a warning). Everything else fails the test.

    What `verify` and `strict` say of the same bytes has to fit.
    """
    with recorded_warnings() as caught:
        try:
            picture = codec.decode(data)
        except CodecError:
            picture = None
    assert all(issubclass(w.category, DamagedAuxiliaryWarning) for w in caught)
    report = codec.verify(data)
    assert report.decodable == (picture is not None)
    assert report.ok == (picture is not None and not caught) == (report.problem is None)
    if not report.ok:
        with pytest.raises(CodecError):
            codec.decode(data, strict=True)
    return picture, bool(caught)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_cut_after_the_primary_data_decodes(tiny: Codec, stream: bytes, step: int) -> None:
    """Cut around the ends of chunks and, within them, after every 7th byte (after all in slow tests)."""
    chunks = tiny.info(stream)["chunks"]
    end = chunks[0]["offset"] + chunks[0]["length"]
    size = tiny.decode(stream).shape
    ends = {c["offset"] + c["length"] for c in chunks[1:]}
    pictures = {n: tiny.decode(stream, layers=n) for n in range(tiny.slices + 1)}
    for cut in [*range(end, len(stream), step), *ends, *(e - 1 for e in ends)]:
        picture, warned = decode(tiny, stream[:cut])
        assert picture is not None and picture.shape == size
        assert warned == (cut < len(stream))
        whole = sum(c["offset"] + c["length"] <= cut for c in chunks[1:])
        np.testing.assert_array_equal(picture, pictures[whole])


def test_every_cut_before_that_is_a_truncated_stream(tiny: Codec, stream: bytes) -> None:
    chunks = tiny.info(stream)["chunks"]
    for cut in range(chunks[0]["offset"] + chunks[0]["length"]):
        with pytest.raises(TruncatedError):
            tiny.decode(stream[:cut])


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_anywhere_is_noticed(tiny: Codec, stream: bytes, step: int) -> None:
    """Flip every bit of header and primary data, and one of every 7th auxiliary byte (of all in slow tests)."""
    chunks = tiny.info(stream)["chunks"]
    primary_end = chunks[0]["offset"] + chunks[0]["length"]
    in_primary = ((position, bit) for position in range(primary_end) for bit in range(8))
    in_auxiliary = ((position, position % 8) for position in range(primary_end, len(stream), step))
    for position, bit in (*in_primary, *in_auxiliary):
        damaged = bytearray(stream)
        damaged[position] ^= 1 << bit
        picture, warned = decode(tiny, bytes(damaged))
        if position < primary_end:
            assert picture is None
        else:
            assert picture is not None and warned


HOSTILE = """
import resource, sys
from rdc_codec import Codec, container
from rdc_codec.errors import CodecError

codec = Codec(sys.argv[1], threads=1)
good = container.read(open(sys.argv[2], "rb").read(), max_pixels=1 << 30)
codec.decode(container.write(good.header, [(c.type, c.payload) for c in good.chunks]))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for width, height in [(1 << 24, 1), (1, 1 << 24), (1 << 20, 1), (1 << 14, 1 << 14), (4096, 4096)]:
    header = container.Header(width, height, 0.0, 0.0, 0.0, good.header.parse_id, good.header.picture_id)
    data = container.write(header, [(c.type, c.payload) for c in good.chunks])
    codec.max_pixels = 1 << 22
    try:
        codec.decode(data)
        print("decoded", width, height)
    except CodecError as error:
        print(type(error).__name__)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
"""


def test_sizes_in_a_valid_header_are_not_believed_beyond_the_limit(stream: bytes, tmp_path) -> None:
    """Every CRC is right, only the picture claims to be huge (with its padding: 2^24 x 1 is a gigapixel)."""
    (tmp_path / "good.rdc").write_bytes(stream)
    command = [sys.executable, "-c", HOSTILE, str(TINY), str(tmp_path / "good.rdc")]
    *results, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert results == ["LimitError"] * 5
    kilobytes = int(grown) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 20_000, f"memory grew by {kilobytes} kB"


def test_a_size_within_the_limit_that_the_data_does_not_fill_is_corrupt(tiny: Codec, stream: bytes) -> None:
    from rdc_codec import container

    parsed = container.read(stream, max_pixels=1 << 30)
    for width, height in ((1, 1), (64, 64), (1024, 1024)):
        header = dataclasses.replace(parsed.header, width=width, height=height)
        data = container.write(header, [(c.type, c.payload) for c in parsed.chunks])  # type: ignore[misc]
        with pytest.raises(CorruptError):
            tiny.decode(data)


def test_more_slices_than_the_model_has_are_not_an_error(tiny: Codec, stream: bytes) -> None:
    from rdc_codec import container

    parsed = container.read(stream, max_pixels=1 << 30)
    chunks = [(c.type, c.payload) for c in parsed.chunks]
    data = container.write(parsed.header, [*chunks, chunks[-1]])  # type: ignore[list-item]
    np.testing.assert_array_equal(tiny.decode(data), tiny.decode(stream))
    assert tiny.symbols(data).keys() == tiny.symbols(stream).keys()


def test_every_damaged_stream_is_reported_not_only_the_first(stream: bytes, tmp_path) -> None:
    """In a process of its own, because pytest sets warning filters."""
    (tmp_path / "cut.rdc").write_bytes(stream[:-1])
    script = (
        "import sys; from rdc_codec import Codec; codec = Codec(sys.argv[1]); data = open(sys.argv[2], 'rb').read()\n"
        "for _ in range(3): codec.decode(data)"
    )
    command = [sys.executable, "-c", script, str(TINY), str(tmp_path / "cut.rdc")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert told.count("DamagedAuxiliaryWarning") == 3


def altered(payload: bytes) -> list[bytes]:
    """Return other contents for a chunk; none is an encoding of the same symbols."""
    noise = np.random.default_rng(len(payload)).integers(0, 256, len(payload)).astype(np.uint8).tobytes()
    turned = bytearray(payload)
    turned[len(payload) // 2] ^= 0x10
    return [b"", payload[:-2], payload[:-1], payload + b"\1\2", noise, bytes(turned)]


@pytest.mark.parametrize("number", range(5))
def test_a_segment_that_is_wrong_within_a_right_chunk_is_noticed(
    tiny: Codec, stream: bytes, picture: np.ndarray, number: int
) -> None:
    """Every CRC of bytes fits, so that only the segment can tell, and nothing of it reaches picture or symbols."""
    from rdc_codec import container

    parsed = container.read(stream, max_pixels=1 << 30)
    for payload in altered(bytes(parsed.chunks[number].payload)):  # type: ignore[arg-type]
        chunks = [(c.type, c.payload) for c in parsed.chunks]
        chunks[number] = (chunks[number][0], payload)
        data = container.write(parsed.header, chunks)  # type: ignore[arg-type]
        if number == 0:
            with pytest.raises(CorruptError):
                tiny.decode(data)
            continue
        with pytest.warns(DamagedAuxiliaryWarning, match=f"slice {number - 1}"):
            np.testing.assert_array_equal(tiny.decode(data), tiny.decode(stream, layers=number - 1))
        with pytest.warns(DamagedAuxiliaryWarning):
            found = tiny.symbols(data)
        assert ("auxiliary_latents" in found) == (number > 1)
        for name, symbols in tiny.symbols(tiny.encode(picture, 100, layers=number - 1)).items():
            np.testing.assert_array_equal(found[name], symbols)


def test_damage_costs_its_slice_and_those_after_it(tiny: Codec, stream: bytes) -> None:
    chunks = tiny.info(stream)["chunks"]
    for n, chunk in enumerate(chunks[1:]):
        damaged = bytearray(stream)
        damaged[chunk["offset"] + chunk["length"] // 2] ^= 0x10
        with pytest.warns(DamagedAuxiliaryWarning, match=f"slice {n}"):
            picture = tiny.decode(damaged)
        np.testing.assert_array_equal(picture, tiny.decode(stream, layers=n))


def shifted(name: str) -> native.Tables:
    """Give the same probabilities to other symbols: a decoder with these passes every state of the encoder."""
    with np.load(TINY / "tables.npz") as arrays:
        cdf, sizes, minimum, precision = (
            arrays[f"{name}_{k}"] for k in ("cdf", "sizes", "minimum", "precision")
        )
    return native.Tables(cdf, sizes, minimum + 1, int(precision))


def without_context(branch: str) -> native.ScaleContext:
    """Return the context of the tiny bundle, made blind to symbols."""
    arrays = np.load(TINY / "tables.npz")

    def layer(name: str, share: int) -> tuple:
        weight, *rest = (arrays[f"{branch}_{name}_{k}"] for k in ("weight", "bias", "shift"))
        return weight * np.int8(share), *rest, int(arrays[f"{branch}_{name}_clip"])

    order = Codec(TINY).bundle.manifest["parsing"][branch]["pass_order"]
    return native.ScaleContext(layer("neighbours", 0), layer("heads", 1), np.array(order, np.uint8))


def test_intact_bytes_read_with_wrong_tables_are_noticed(stream: bytes) -> None:
    """No checksum of bytes can tell: the segments carry a CRC of their symbols."""
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    # Without context, wrong symbols do not lead to wrong tables later, and nothing else could notice.
    codec.bundle.primary = dataclasses.replace(codec.bundle.primary, scale_context=without_context("primary"))
    unaware = codec.encode(data.chelsea()[:100, :100], 90, layers="base")
    codec.decode(unaware)
    primary = dataclasses.replace(codec.bundle.primary, latent_tables=shifted("primary_latent"))
    codec.bundle.primary = primary
    with pytest.raises(CorruptError, match="final state"):
        codec.decode(unaware)
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    assert codec.bundle.auxiliary is not None
    wrong = dataclasses.replace(codec.bundle.auxiliary, hyper_tables=shifted("auxiliary_hyper"))
    codec.bundle.auxiliary = wrong
    with pytest.warns(DamagedAuxiliaryWarning, match="slice 0"):
        np.testing.assert_array_equal(codec.decode(stream), codec.decode(stream, layers=0))


def test_trailing_bytes_are_an_error(tiny: Codec, stream: bytes) -> None:
    with pytest.raises(CorruptError):
        tiny.decode(stream + b"\0")


def test_a_report_says_what_decode_would_do(tiny: Codec, stream: bytes) -> None:
    whole = tiny.verify(stream)
    assert whole == (True, True, tiny.slices, None)
    assert tiny.verify(bytearray(stream)) == whole
    np.testing.assert_array_equal(tiny.decode(stream, strict=True), tiny.decode(stream))
    cut = tiny.verify(stream[:-1])
    assert (cut.ok, cut.decodable, cut.slices) == (False, True, tiny.slices - 1) and cut.problem
    with pytest.raises(CorruptError, match=re.escape(cut.problem)):
        tiny.decode(stream[:-1], strict=True)
    assert tiny.decode(stream[:-1], layers=tiny.slices - 1, strict=True).shape == tiny.decode(stream).shape
    nothing = tiny.verify(b"no stream")
    assert nothing[:3] == (False, False, 0) and nothing.problem.startswith("CorruptError: ")
    with pytest.raises(InputError):
        tiny.verify("text")  # type: ignore[arg-type]


def test_verify_runs_no_network(stream: bytes) -> None:
    class Nowhere:
        """Is a backend that cannot run."""

        info = BackendInfo("none", "nowhere", "given")
        parallel = False

        def run(self, *_: object) -> list[np.ndarray]:
            raise AssertionError

    assert Codec(TINY, backend=Nowhere()).verify(stream).ok  # type: ignore[arg-type]
