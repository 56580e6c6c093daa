"""A decoder that is fed bytes as they arrive makes what `decode` makes of the same bytes, however they are split."""

from __future__ import annotations

import dataclasses
import itertools
import time
import tracemalloc
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import DATA, TINY, in_depth
from hypothesis import given, settings
from hypothesis import strategies as st
from surroundings import recorded_warnings

from rdc_codec import Codec, container
from rdc_codec.backends.base import Inputs
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.container import LEAST_HEAD, ChunkType
from rdc_codec.errors import (
    CodecError,
    CorruptError,
    DamagedAuxiliaryWarning,
    InputError,
    LimitError,
    TruncatedError,
    UnsupportedError,
    WrongModelError,
)
from rdc_codec.progressive import ProgressiveDecoder

GOLDEN = {path.stem: path.read_bytes() for path in sorted((DATA / "golden").glob("*.rdc"))}


@pytest.fixture(scope="module")
def stream(tiny: Codec, photos: list[np.ndarray]) -> bytes:
    return tiny.encode(photos[1][:130, :190], 100)


def fed(codec: Codec, pieces: Iterable[bytes]) -> ProgressiveDecoder:
    decoder = codec.decoder()
    for piece in pieces:
        decoder.feed(piece)
    return decoder


def split(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    ends = [0, *sorted(cuts), len(data)]
    return (data[a:b] for a, b in itertools.pairwise(ends))


Outcome = tuple[str, str | None, list[str]]  # picture's bytes or error's type, its text, warnings


def outcome(make: Any) -> Outcome:
    """Return what a decoder gives: its picture or its error, and what it warns of."""
    with recorded_warnings() as caught:
        try:
            result, text = np.asarray(make()).tobytes().hex(), None
        except CodecError as error:
            # How many bytes are too many, or were there, is known to the one that has all of them alone.
            result, text = type(error).__name__, str(error).lstrip("0123456789 ")
    return result, text, [str(w.message) for w in caught]


def finished(codec: Codec, pieces: Iterable[bytes], beta: float = 0) -> np.ndarray:
    decoder = fed(codec, pieces)
    decoder.finish()
    return decoder.picture(beta)


# --- the same as decode ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_every_cut_of_a_golden_stream_gives_what_decode_gives(tiny: Codec, name: str) -> None:
    data = GOLDEN[name]
    one_by_one = tiny.decoder()
    for cut in range(len(data) + 1):
        expected = outcome(lambda cut=cut: tiny.decode(data[:cut]))
        assert outcome(lambda cut=cut: finished(tiny, [data[:cut]])) == expected
        if cut:
            one_by_one.feed(data[cut - 1 : cut])
        # Before it ends nothing is missing yet: the same picture without a warning, or none yet.
        assert outcome(one_by_one.picture)[::2] == (expected[0], [])
    assert one_by_one.complete and one_by_one.needed == 0 and one_by_one.next_step is None
    one_by_one.finish()
    assert one_by_one.problem is None


@pytest.mark.parametrize(
    ("before", "empty"),
    [
        (0, ChunkType.PRIMARY),
        *((before, kind) for before in (1, 2, 4) for kind in (ChunkType.AUX_SLICE, ChunkType.LOSSLESS)),
    ],
)
def test_a_chunk_of_no_bytes_is_there_behind_the_end(tiny: Codec, before: int, empty: ChunkType) -> None:
    """Docs/bitstream.md: and so it is not missing, but damaged."""
    whole = container.read(GOLDEN["full"], max_pixels=1 << 20)
    kept = [(c.type, c.payload) for c in whole.chunks[:before]]
    data = container.write(whole.header, [*kept, (99, b"to be cut off"), (empty, b"")])[:-3]
    expected = outcome(lambda: tiny.decode(data))
    assert expected[0] == "CorruptError" or expected[2]
    assert outcome(lambda: finished(tiny, [data])) == expected


@given(drawn=st.data())
def test_any_split_gives_the_same(tiny: Codec, drawn: st.DataObject) -> None:
    data = GOLDEN[drawn.draw(st.sampled_from(sorted(GOLDEN)))]
    data = data[: drawn.draw(st.integers(0, len(data)))]
    cuts = drawn.draw(st.lists(st.integers(0, len(data)), max_size=8))
    beta = drawn.draw(st.sampled_from([0, 0.25, 1]))
    assert outcome(lambda: finished(tiny, split(data, cuts), beta)) == outcome(
        lambda: tiny.decode(data, beta)
    )


test_any_split_gives_the_same_in_depth = in_depth(
    test_any_split_gives_the_same, drawn=st.data(), examples=1000
)


@given(drawn=st.data())
@settings(max_examples=150)
def test_damage_anywhere_gives_what_decode_gives(tiny: Codec, drawn: st.DataObject) -> None:
    data = bytearray(GOLDEN["full"])
    for _ in range(drawn.draw(st.integers(1, 2))):
        data[drawn.draw(st.integers(0, len(data) - 1))] ^= drawn.draw(st.integers(1, 255))
    data += drawn.draw(st.sampled_from([b"", b"", b"\0", b"more"]))
    cuts = drawn.draw(st.lists(st.integers(0, len(data)), max_size=4))
    found = outcome(lambda: finished(tiny, split(bytes(data), cuts)))
    expected = outcome(lambda: tiny.decode(data))
    if expected[1] == "bytes after the end of the stream":
        assert found[0] == "CorruptError"  # damage that comes before those bytes is noticed before them
    else:
        assert found == expected


def test_every_cut_of_a_lossless_stream_gives_what_decode_gives(tiny: Codec) -> None:
    board = (np.indices((70, 90)).sum(0)[..., None] % 2 * [200, 100, 250] + 5).astype(np.uint8)
    data = tiny.encode(board, 90, min_psnr=40)
    one_by_one = tiny.decoder()
    for cut in range(len(data) + 1):
        for beta in (0, 0.5, 1):
            expected = outcome(lambda cut=cut, beta=beta: tiny.decode(data[:cut], beta))
            assert outcome(lambda cut=cut, beta=beta: finished(tiny, [data[:cut]], beta)) == expected
        if cut:
            one_by_one.feed(data[cut - 1 : cut])
    assert one_by_one.steps == 2 and one_by_one.next_step is None
    np.testing.assert_array_equal(one_by_one.picture(), board)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        expected = outcome(lambda damaged=damaged: tiny.decode(damaged))
        assert outcome(lambda damaged=damaged: finished(tiny, split(bytes(damaged), [9, 80]))) == expected


def test_symbols_are_parsed_and_networks_run_once_for_a_step(photos: list[np.ndarray]) -> None:
    class Counting(OnnxRuntimeBackend):
        """Counts the graphs that it runs."""

        def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
            graphs.append(graph)
            return super().run(graph, inputs, cuda_stream)

    graphs: list[str] = []
    like = Codec(TINY, backend="onnxruntime", threads=1)
    data = like.encode(photos[0][:64, :64], 100)
    codec = Codec(TINY, backend=Counting(like.bundle, 1, None))
    decoder = codec.decoder()
    for k in range(len(data)):
        decoder.feed(data[k : k + 1])
        if decoder.steps:
            first, second = decoder.picture(), decoder.picture()
            assert first is not second and first.flags.writeable
            np.testing.assert_array_equal(first, second)
            first[:] = 7  # is the caller's own
    assert len(graphs) == 1 + codec.slices
    np.testing.assert_array_equal(decoder.picture(), like.decode(data))
    np.testing.assert_array_equal(decoder.picture(1), like.decode(data, beta=1))
    assert len(graphs) == 2 + codec.slices


# --- steps ----------------------------------------------------------------------------------------------------------


def test_needed_is_what_the_next_step_needs(tiny: Codec, stream: bytes) -> None:
    decoder = tiny.decoder()
    assert (decoder.header, decoder.length, decoder.steps, decoder.complete) == (None, None, 0, False)
    assert (decoder.next_step, decoder.needed) == ("header", LEAST_HEAD)
    position, names, pictures = 0, [], []
    while decoder.next_step is not None:
        if not names or names[-1] != decoder.next_step:
            names.append(decoder.next_step)
        before = decoder.steps
        size = decoder.needed
        decoder.feed(stream[position : position + size - 1])
        assert decoder.steps == before  # with one byte less there is nothing new
        decoder.feed(stream[position + size - 1 : position + size])
        position += size
        if decoder.steps > before:
            pictures.append(decoder.picture())
    assert names == ["header", "base", *(f"slice {s}" for s in range(tiny.slices))]
    assert position == len(stream) == decoder.received == decoder.length and decoder.complete
    assert decoder.header == container.read(stream, max_pixels=1 << 20).header
    assert len(pictures) == decoder.steps == 1 + tiny.slices
    for n, picture in enumerate(pictures):
        np.testing.assert_array_equal(picture, tiny.decode(stream, layers=n))


def test_chunks_that_no_picture_needs_come_last(tiny: Codec, stream: bytes) -> None:
    parsed = container.read(stream, max_pixels=1 << 20)
    chunks = [(c.type, c.payload) for c in parsed.chunks]
    data = container.write(parsed.header, [*chunks, (ChunkType.XMP, b"x" * 1000), (99, b"y" * 500)])  # type: ignore[list-item]
    decoder = fed(tiny, [data[:-1500]])
    assert (decoder.next_step, decoder.needed, decoder.steps) == ("end", 1500, 1 + tiny.slices)
    np.testing.assert_array_equal(decoder.picture(), tiny.decode(stream))
    decoder.finish()
    assert decoder.problem is None and not decoder.complete
    assert (decoder.next_step, decoder.needed) == (None, 0)


def test_bytes_that_are_not_needed_take_no_memory(tiny: Codec, stream: bytes) -> None:
    parsed = container.read(stream, max_pixels=1 << 20)
    chunks = [(c.type, c.payload) for c in parsed.chunks]
    long = 1 << 24
    data = container.write(parsed.header, [*chunks, (99, bytes(long))])  # type: ignore[list-item]
    decoder = fed(tiny, [data[:-long]])
    tracemalloc.start()
    for k in range(len(data) - long, len(data), 1 << 16):
        decoder.feed(data[k : k + (1 << 16)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoder.complete and peak < 1 << 19


def test_a_picture_before_the_base_is_an_error_that_says_what_it_takes(tiny: Codec, stream: bytes) -> None:
    decoder = tiny.decoder()
    with pytest.raises(TruncatedError, match=f"header takes {LEAST_HEAD} more bytes"):
        decoder.picture()
    decoder.feed(stream[:100])
    with pytest.raises(TruncatedError, match=f"base takes {decoder.needed} more bytes"):
        decoder.picture()
    decoder.feed(stream[100:])  # asking was no harm
    np.testing.assert_array_equal(decoder.picture(), tiny.decode(stream))
    with pytest.raises(InputError, match="beta"):
        decoder.picture(1.5)


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_as_soon_as_it_is_there(tiny: Codec, shipped: Codec, stream: bytes) -> None:
    wrong_version = stream[:3] + b"\2"
    with pytest.raises(CorruptError, match="not an RDC stream"):
        tiny.decoder().feed(b"RDX")
    with pytest.raises(UnsupportedError, match="version 2"):
        tiny.decoder().feed(wrong_version)
    with pytest.raises(WrongModelError):
        shipped.decoder().feed(stream[:100])
    primary = next(
        c for c in container.read(stream, max_pixels=1 << 20).chunks if c.type == ChunkType.PRIMARY
    )
    damaged = bytearray(stream)
    damaged[primary.offset] ^= 1
    decoder = fed(tiny, [damaged[: primary.offset + primary.length - 1]])
    with pytest.raises(CorruptError, match="primary data is damaged"):
        decoder.feed(damaged[primary.offset + primary.length - 1 :])


def test_an_error_stays(tiny: Codec, stream: bytes) -> None:
    decoder = fed(tiny, [stream])
    decoder.picture()
    with pytest.raises(CorruptError, match="after the end"):
        decoder.feed(b"\0")
    for call in (decoder.picture, decoder.finish, lambda: decoder.feed(b"")):
        with pytest.raises(CorruptError, match="after the end"):
            call()


def test_arguments_that_are_wrong_are_no_harm(tiny: Codec, stream: bytes) -> None:
    decoder = fed(tiny, [stream[:200], b""])
    for bad in ("text", None, 7, np.zeros((4, 4))[:, ::2]):
        with pytest.raises(InputError, match="contiguous bytes"):
            decoder.feed(bad)  # type: ignore[arg-type]
    buffer = bytearray(stream[200:])
    decoder.feed(buffer)
    buffer[:] = bytes(len(buffer))  # is the caller's again
    np.testing.assert_array_equal(decoder.picture(), tiny.decode(stream))
    decoder.finish()
    with pytest.raises(InputError, match="after finish"):
        decoder.feed(b"")
    np.testing.assert_array_equal(decoder.picture(), tiny.decode(stream))


def test_a_damaged_slice_stops_the_steps_with_a_warning(tiny: Codec, stream: bytes) -> None:
    slices = [c for c in container.read(stream, max_pixels=1 << 20).chunks if c.type == ChunkType.AUX_SLICE]
    damaged = bytearray(stream)
    damaged[slices[1].offset] ^= 1
    decoder = fed(tiny, [damaged[: slices[2].offset]])
    assert decoder.steps == 2 and decoder.problem == "auxiliary slice 1 is damaged"
    assert decoder.next_step == "end" and decoder.needed == len(stream) - slices[2].offset
    decoder.feed(damaged[slices[2].offset :])
    assert decoder.complete and decoder.steps == 2
    with pytest.warns(DamagedAuxiliaryWarning, match="slice 1 is damaged") as caught:
        np.testing.assert_array_equal(decoder.picture(), tiny.decode(stream, layers=1))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoder.picture(1), tiny.decode(stream, beta=1))


def test_limits_hold_before_anything_is_kept(stream: bytes) -> None:
    codec = Codec(TINY, backend="onnxruntime", threads=1)
    parsed = container.read(stream, max_pixels=1 << 20)
    header = dataclasses.replace(parsed.header, width=1 << 24, height=1)
    with pytest.raises(LimitError):
        codec.decoder().feed(container.write(header, [(ChunkType.PRIMARY, b"")]))
    start = stream[:23]  # up to the number of chunks, in the shortest form for sides of two bytes
    assert start[-6:] == container.write(parsed.header, [(1, b"")])[17:23]
    with pytest.raises(LimitError, match="65537 chunks"):
        codec.decoder().feed(start + bytes([0x81, 0x80, 0x04]))


def test_the_longest_header_in_small_pieces_takes_no_quadratic_time(tiny: Codec, stream: bytes) -> None:
    parsed = container.read(stream, max_pixels=1 << 20)
    chunks = [(c.type, c.payload) for c in parsed.chunks]
    most = [*chunks, *[(1 << 31, b"")] * (container.MAX_CHUNKS - len(chunks))]
    data = container.write(parsed.header, most)  # type: ignore[arg-type]
    assert len(data) > 600_000
    start = time.monotonic()
    decoder = fed(tiny, (data[k : k + 4] for k in range(0, len(data), 4)))
    assert decoder.complete and decoder.steps == 1 + tiny.slices
    assert time.monotonic() - start < 60  # a try at each piece would take hours
    assert decoder.problem is None


def test_an_interrupted_feed_leaves_no_decoder_that_seems_to_work(tiny: Codec, stream: bytes) -> None:
    def interrupt(*_: object) -> container.Head:
        raise KeyboardInterrupt

    decoder = ProgressiveDecoder(tiny.bundle, interrupt, lambda *_: np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        decoder.feed(stream)
    with pytest.raises(InputError, match="interrupted"):
        decoder.feed(stream)
