"""These tests say what docs/bitstream.md says."""

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import in_depth
from hypothesis import given, settings
from hypothesis import strategies as st

from rdc_codec import container
from rdc_codec.container import Chunk, ChunkState, ChunkType, Header, Stream
from rdc_codec.errors import (
    CodecError,
    CorruptError,
    InputError,
    LimitError,
    TruncatedError,
    UnsupportedError,
    WrongModelError,
)
from rdc_codec.native import crc32c

SPECIFICATION = Path(__file__).parents[1] / "docs" / "bitstream.md"
MANY = 1 << 48

EXAMPLE_HEADER = Header(320, 200, 50.0, 40.5, 62.25, bytes.fromhex("a1b2c3d4"), bytes.fromhex("0badf00d"))
EXAMPLE_CHUNKS = [
    (ChunkType.PRIMARY, bytes.fromhex("1122334455")),
    (ChunkType.AUX_SLICE, b"\x66\x77\x88"),
    (ChunkType.AUX_SLICE, b"\x99"),
    (99, b"ok"),
]
EXAMPLE_HEADER_BYTES = 49
FULL_CHUNKS = [
    (ChunkType.PRIMARY, b"y" * 34),
    *((ChunkType.AUX_SLICE, bytes([s]) * 15) for s in range(4)),
]

qualities = st.integers(0, 25600).map(container.from_fixed)
sides = st.integers(1, 1 << 24)
headers = st.builds(
    Header,
    *(sides, sides, qualities, qualities, qualities),
    *(st.binary(min_size=4, max_size=4),) * 2,
)
payloads = st.binary(max_size=300)


@st.composite
def chunk_lists(draw):
    chunks = [(ChunkType.PRIMARY, draw(payloads))]
    chunks += [(ChunkType.AUX_SLICE, p) for p in draw(st.lists(payloads, max_size=6))]
    metadata = [kind for kind in ChunkType if kind > ChunkType.AUX_SLICE]
    chunks += [(kind, draw(payloads)) for kind in metadata if draw(st.booleans())]
    for _ in range(draw(st.integers(0, 3))):
        unknown = (
            draw(st.integers(3, (1 << 32) - 1).filter(lambda k: k not in set(ChunkType))),
            draw(payloads),
        )
        chunks.insert(draw(st.integers(0, len(chunks))), unknown)
    return chunks


def read(data) -> Stream:
    return container.read(data, max_pixels=MANY)


def repair(data: bytearray, header_bytes: int = EXAMPLE_HEADER_BYTES) -> bytes:
    """Set the header CRC to match, as a writer with other ideas would."""
    data[header_bytes - 4 : header_bytes] = crc32c(bytes(data[: header_bytes - 4])).to_bytes(4, "little")
    return bytes(data)


def with_byte(offset: int, value: int) -> bytes:
    """Return the example with one header byte changed on purpose."""
    data = bytearray(container.write(EXAMPLE_HEADER, EXAMPLE_CHUNKS))
    data[offset] = value
    return repair(data)


def states(stream: Stream) -> list[ChunkState]:
    return [chunk.state for chunk in stream.chunks]


# --- round trips ------------------------------------------------------------------------------


@given(headers, chunk_lists(), st.sampled_from([bytes, bytearray, memoryview]))
def test_what_is_written_is_read(header, chunks, buffer):
    stream = read(buffer(container.write(header, chunks)))
    assert stream.header == header
    assert [(c.type, bytes(c.payload)) for c in stream.chunks] == chunks
    assert stream.primary() == dict(chunks)[ChunkType.PRIMARY]
    auxiliary = stream.auxiliary()
    assert list(auxiliary.slices) == [p for kind, p in chunks if kind == ChunkType.AUX_SLICE]
    assert auxiliary.problem is None


test_what_is_written_is_read_in_depth = in_depth(
    test_what_is_written_is_read,
    headers,
    chunk_lists(),
    st.sampled_from([bytes, bytearray, memoryview]),
    examples=2000,
)


@given(headers, chunk_lists())
def test_offsets_and_lengths_locate_every_payload(header, chunks):
    data = container.write(header, chunks)
    stream = read(data)
    assert [data[c.offset : c.offset + c.length] for c in stream.chunks] == [p for _, p in chunks]
    last = stream.chunks[-1]
    assert last.offset + last.length == len(data)


@given(st.floats(0, 100))
def test_fixed_point_quality_is_within_half_a_step(quality):
    fixed = container.to_fixed(quality)
    assert 0 <= fixed <= 25600
    assert abs(container.from_fixed(fixed) - quality) <= 1 / 512
    assert container.to_fixed(container.from_fixed(fixed)) == fixed


@pytest.mark.parametrize(
    "quality", [float("nan"), -0.01, 100.01, float("inf"), "high", "50", b"5", None, 1j, 10**400]
)
def test_quality_outside_the_dial_names_its_argument(quality):
    with pytest.raises(InputError, match="base_quality"):
        container.to_fixed(quality, "base_quality")


# --- pinned bytes -----------------------------------------------------------------------------


def test_crc_is_castagnoli():
    assert crc32c(b"123456789") == 0xE3069283


def test_worked_example_of_the_specification():
    block = re.search(r"```hex\n(.*?)```", SPECIFICATION.read_text(), re.DOTALL)
    assert block is not None
    expected = bytearray()
    for line in block[1].splitlines():
        offset, digits = re.fullmatch(r" *(\d+): ([0-9a-f ]+)\|.*", line).groups()
        assert int(offset) == len(expected)
        expected += bytes.fromhex(digits)
    assert container.write(EXAMPLE_HEADER, EXAMPLE_CHUNKS) == expected
    assert read(expected).header == EXAMPLE_HEADER


@pytest.mark.parametrize(
    ("chunks", "stated"),
    [
        ([(1, bytes(500_000))], 35),
        ([(1, bytes(500_000)), *[(2, bytes(500_000))] * 4], 63),
    ],
    ids=["base", "four slices"],
)
def test_fixed_costs_are_as_specified(chunks, stated):
    header = replace(EXAMPLE_HEADER, width=10_000, height=10_000)
    size = len(container.write(header, chunks))
    assert size - sum(len(p) for _, p in chunks) <= stated


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [EXAMPLE_CHUNKS, FULL_CHUNKS], ids=["example", "full"])
def test_every_cut(chunks):
    data = container.write(EXAMPLE_HEADER, chunks)
    whole = read(data)
    first, last_primary = whole.chunks[0].offset, whole.chunks[0]
    for size in range(len(data)):
        if size < first:
            with pytest.raises(TruncatedError, match="header"):
                read(data[:size])
            continue
        stream = read(data[:size])
        assert stream.header == whole.header
        for chunk, original in zip(stream.chunks, whole.chunks, strict=True):
            end = chunk.offset + chunk.length
            if end <= size:
                assert chunk.payload == original.payload
            else:
                assert chunk.payload is None
                cut = ChunkState.TRUNCATED if chunk.offset < size else ChunkState.MISSING
                assert chunk.state is cut
        if size < last_primary.offset + last_primary.length:
            with pytest.raises(TruncatedError, match="primary"):
                stream.primary()
        else:
            stream.primary()
            found = [c.payload for c in stream.chunks if c.type == ChunkType.AUX_SLICE]
            auxiliary = stream.auxiliary()
            assert list(auxiliary.slices) == [p for p in found if p is not None]
            assert (auxiliary.problem is not None) == (None in found)


@pytest.mark.parametrize("chunks", [EXAMPLE_CHUNKS, FULL_CHUNKS], ids=["example", "full"])
def test_every_single_bit_flip(chunks):
    data = container.write(EXAMPLE_HEADER, chunks)
    header_bytes = read(data).chunks[0].offset
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            if position < header_bytes:
                with pytest.raises(CodecError):
                    read(damaged)
                continue
            stream = read(damaged)
            assert stream.header == EXAMPLE_HEADER
            (hit,) = (c for c in stream.chunks if c.state is not ChunkState.OK)
            assert hit.state is ChunkState.DAMAGED and hit.payload is None
            assert hit.offset <= position < hit.offset + hit.length
            check_one_damaged_chunk(stream, hit)


def check_one_damaged_chunk(stream: Stream, hit: Chunk) -> None:
    auxiliary = stream.auxiliary()
    total = sum(c.type == ChunkType.AUX_SLICE for c in stream.chunks)
    if hit.type == ChunkType.PRIMARY:
        with pytest.raises(CorruptError, match="primary"):
            stream.primary()
        return
    stream.primary()
    if hit.type == ChunkType.AUX_SLICE:
        index = [c for c in stream.chunks if c.type == ChunkType.AUX_SLICE].index(hit)
        assert len(auxiliary.slices) == index
        assert auxiliary.problem == f"auxiliary slice {index} is damaged"
    else:
        assert len(auxiliary.slices) == total and auxiliary.problem is None


@settings(max_examples=500)
@given(st.binary(max_size=80), st.booleans())
def test_arbitrary_bytes_give_a_stream_or_a_typed_error(noise, led_by_magic):
    with contextlib.suppress(CodecError):
        read(b"RDC\x01\x00" + noise if led_by_magic else noise)


test_arbitrary_bytes_give_a_stream_or_a_typed_error_in_depth = in_depth(
    test_arbitrary_bytes_give_a_stream_or_a_typed_error,
    st.binary(max_size=80),
    st.booleans(),
    examples=10_000,
)


@settings(max_examples=500)
@given(st.binary(min_size=16, max_size=16), st.lists(st.integers(0, 3), max_size=8), st.integers(0, 3))
def test_any_header_with_a_right_checksum_gives_a_stream_or_a_typed_error(fields, types, tail):
    """Identities, sizes and qualities at random, and chunk types in any order: what is behind the CRC."""
    head = b"RDC\x01\x00" + fields + bytes([len(types)])
    entries = [bytes([kind] if kind else [0, 32]) for kind in types]
    head += b"".join(entry + bytes(4) for entry in entries)  # the CRC of no bytes is 0
    with contextlib.suppress(CodecError):
        read(head + crc32c(head).to_bytes(4, "little") + bytes(tail))


test_any_header_with_a_right_checksum_gives_a_stream_or_a_typed_error_in_depth = in_depth(
    test_any_header_with_a_right_checksum_gives_a_stream_or_a_typed_error,
    st.binary(min_size=16, max_size=16),
    st.lists(st.integers(0, 3), max_size=8),
    st.integers(0, 3),
    examples=10_000,
)


def test_slices_beyond_those_asked_for_are_not_looked_at():
    data = bytearray(container.write(EXAMPLE_HEADER, FULL_CHUNKS))
    data[read(data).chunks[3].offset] ^= 1
    stream = read(data)
    assert stream.auxiliary(limit=0) == ((), None)
    assert stream.auxiliary(limit=2).problem is None
    assert len(stream.auxiliary(limit=2).slices) == 2
    assert stream.auxiliary(limit=3).problem == "auxiliary slice 2 is damaged"


# --- headers that are refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", TruncatedError, "0 bytes"),
        (b"RD", TruncatedError, "header"),
        (b"\x89PNG\r\n\x1a\n", CorruptError, "not an RDC stream"),
        (b"X", CorruptError, "not an RDC stream"),
        (with_byte(3, 2), UnsupportedError, "version 2"),
        (with_byte(4, 1), UnsupportedError, "flags"),
        (with_byte(18, 0x65), CorruptError, "quality"),
        (with_byte(24, 3 << 2 | 2), CorruptError, "no PRIMARY"),
        (with_byte(29, 3 << 2 | 1), CorruptError, "only occurs once"),
        (with_byte(40, 2), CorruptError, "bad type"),
        (container.write(EXAMPLE_HEADER, EXAMPLE_CHUNKS) + b"\x00", CorruptError, "1 bytes after"),
    ],
)
def test_refused(data, error, message):
    with pytest.raises(error, match=message):
        read(data)


@pytest.mark.parametrize("number", ["8000", "ffffffff7f", "ffffffffff01", "808080808000"])
def test_numbers_that_are_not_canonical_are_corrupt(number):
    data = container.write(EXAMPLE_HEADER, EXAMPLE_CHUNKS)
    with pytest.raises(CorruptError, match="bad number"):
        read(data[:13] + bytes.fromhex(number) + data[15:])


def test_zero_width_is_corrupt():
    data = bytearray(container.write(replace(EXAMPLE_HEADER, width=1), EXAMPLE_CHUNKS))
    data[13] = 0
    with pytest.raises(CorruptError, match="width"):
        read(repair(data, EXAMPLE_HEADER_BYTES - 1))


def test_pixel_limit_is_checked_from_the_header_alone():
    data = container.write(replace(EXAMPLE_HEADER, width=1 << 24, height=1 << 24), EXAMPLE_CHUNKS)
    header_only = data[: read(data).chunks[0].offset]
    with pytest.raises(LimitError, match="16777216x16777216"):
        container.read(header_only, max_pixels=(1 << 48) - 1)
    assert states(container.read(header_only, max_pixels=1 << 48)) == [ChunkState.MISSING] * 4


def test_chunk_count_is_limited_at_both_ends():
    data = container.write(EXAMPLE_HEADER, EXAMPLE_CHUNKS)
    with pytest.raises(LimitError, match="65537 chunks"):
        read(data[:23] + bytes.fromhex("818004") + data[24:])
    most = [FULL_CHUNKS[0], *[(ChunkType.AUX_SLICE, b"")] * (container.MAX_CHUNKS - 1)]
    assert len(read(container.write(EXAMPLE_HEADER, most)).chunks) == container.MAX_CHUNKS
    with pytest.raises(LimitError):
        container.write(EXAMPLE_HEADER, [*most, (ChunkType.AUX_SLICE, b"")])


@pytest.mark.parametrize("data", ["RDC", 7, memoryview(bytes(8))[::2]])
def test_data_that_is_not_contiguous_bytes_is_an_input_error(data):
    with pytest.raises(InputError, match="bytes"):
        read(data)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": (1 << 24) + 1},
        {"quality": 0.001},
        {"aux_quality": 101.0},
        {"parse_id": b"abc"},
    ],
)
def test_a_header_that_could_not_be_read_back_cannot_be_made(change):
    with pytest.raises(InputError, match=next(iter(change))):
        replace(EXAMPLE_HEADER, **change)


@pytest.mark.parametrize(
    "chunks", [[], FULL_CHUNKS[1:], FULL_CHUNKS[:1] * 2, FULL_CHUNKS[::-1], [*FULL_CHUNKS, (0, b"")]]
)
def test_chunks_out_of_order_cannot_be_written(chunks):
    with pytest.raises(InputError):
        container.write(EXAMPLE_HEADER, chunks)


# --- model identity ---------------------------------------------------------------------------


def test_model_identity():
    container.identify(EXAMPLE_HEADER, EXAMPLE_HEADER.parse_id + bytes(28), EXAMPLE_HEADER.picture_id)
    with pytest.raises(WrongModelError, match=r"a1b2c3d4/0badf00d.*a1b2c3d4/00000000"):
        container.identify(EXAMPLE_HEADER, EXAMPLE_HEADER.parse_id, bytes(32))


def test_chunk_names():
    assert [c.name for c in read(container.write(EXAMPLE_HEADER, EXAMPLE_CHUNKS)).chunks] == [
        *("primary", "aux_slice", "aux_slice", "unknown_99"),
    ]


def test_claimed_pixels_are_those_of_the_header_or_none() -> None:
    header = Header(70000, 300, 1.0, 2.0, 3.0, bytes(4), bytes(4))
    stream = container.write(header, [(ChunkType.PRIMARY, b"x")])
    assert container.claimed_pixels(stream) == container.claimed_pixels(stream[:20]) == 21_000_000
    for wrong in (b"", stream[:13], stream[:13] + b"\xff" * 6, "no bytes"):
        assert container.claimed_pixels(wrong) == 0  # type: ignore[arg-type]
