"""The entropy coder does what docs/entropy_coding.md says, and gives what its plain reference gives."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest
from conftest import in_depth
from hypothesis import given
from hypothesis import strategies as st

from model.cdf import gaussian_pmf, pmf_tables, scale_tables, table_sigmas
from rdc_codec import native
from rdc_codec.native import CorruptStream, Decoder, Tables, decode, encode, encode_parts
from tests import reference_coder as reference

LIMIT = 2047
GAUSSIAN = scale_tables(table_sigmas())
TABLES = Tables(*GAUSSIAN)
PLAIN_TABLES = reference.split_tables(*GAUSSIAN)


@pytest.fixture(params=["scalar", "avx512"])
def path(request):
    """Choose each code path of the coder that this machine has."""
    try:
        native.set_simd(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    native.set_simd("auto")


def draw_symbols(rng: np.random.Generator, n: int, highest: int = 40, spread: float = 1.0):
    """Draw symbols as their tables expect them (spread 1), or ones that often escape (spread > 1)."""
    sigmas = table_sigmas()
    indexes = np.clip(rng.normal(10, 10, n), 0, highest).astype(np.uint8)
    symbols = np.round(rng.normal(0, spread, n) * sigmas[indexes])
    return np.clip(symbols, -LIMIT, LIMIT).astype(np.int32), indexes


# --- one format, whatever the path


@pytest.mark.parametrize("n", [0, 1, 2, 3, 15, 16, 17, 1000])
@pytest.mark.parametrize("spread", [0.5, 1.0, 4.0])
def test_equals_the_reference_byte_for_byte(n, spread):
    symbols, indexes = draw_symbols(np.random.default_rng(n), n, spread=spread)
    data = encode(symbols, indexes, TABLES, LIMIT)
    assert data == reference.encode(symbols, indexes, PLAIN_TABLES, 14)
    assert decode(data, indexes, TABLES, LIMIT).tolist() == symbols.tolist()
    assert reference.decode(data, indexes, PLAIN_TABLES, 14, LIMIT) == symbols.tolist()


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_equals_the_reference_around_the_lane_thresholds(lanes, path):
    rng = np.random.default_rng(lanes)
    threshold = lanes * 16384
    symbols, indexes = draw_symbols(rng, threshold + 5, spread=1.1)
    for n in (threshold - 1, threshold, threshold + 5):
        assert native.lanes(n) == reference.lane_count(n)
        data = encode(symbols[:n], indexes[:n], TABLES, LIMIT)
        assert data == reference.encode(symbols[:n], indexes[:n], PLAIN_TABLES, 14)
        assert np.array_equal(decode(data, indexes[:n], TABLES, LIMIT), symbols[:n])


def test_lanes_grow_with_the_segment():
    counts = [0, 1, 32767, 32768, 65535, 65536, 131072, 262143, 262144, 10**9]
    assert [native.lanes(n) for n in counts] == [1, 1, 1, 2, 2, 4, 8, 8, 16, 16]


@pytest.mark.parametrize("spread", [0.0, 1.0, 1.5, 30.0])
def test_large_segments(spread, path):
    symbols, indexes = draw_symbols(np.random.default_rng(7), 1_000_003, highest=63, spread=spread)
    data = encode(symbols, indexes, TABLES, LIMIT)
    assert np.array_equal(decode(data, indexes, TABLES, LIMIT), symbols)
    native.set_simd("scalar")
    assert data == encode(symbols, indexes, TABLES, LIMIT)


def test_int16_symbols_give_the_same_bytes(path):
    symbols, indexes = draw_symbols(np.random.default_rng(3), 300_000, spread=1.2)
    data = encode(symbols, indexes, TABLES, LIMIT)
    assert encode(symbols.astype(np.int16), indexes, TABLES, LIMIT) == data
    narrow = decode(data, indexes, TABLES, LIMIT, dtype=np.int16)
    assert narrow.dtype == np.int16 and np.array_equal(narrow, symbols)


@pytest.mark.parametrize("cut", [0, 100])
def test_damage_is_named_alike_by_every_path(cut, path):
    """Where a symbol is beyond the limit and words are missing after it, it is the words that are named."""
    symbols, indexes = draw_symbols(np.random.default_rng(5), 300_000, highest=63, spread=30)
    data = encode(symbols, indexes, TABLES, LIMIT)
    with pytest.raises(CorruptStream, match="truncated" if cut else "a symbol beyond the limit"):
        decode(data[: len(data) - cut], indexes, TABLES, 5)


@pytest.mark.parametrize("n", [100, 40_000, 70_000, 300_000])  # 1, 2, 4 and 16 lanes
def test_tables_that_differ_only_in_what_symbols_mean_are_noticed(n):
    """Such a decoder passes every state that the encoder had: only the CRC of the symbols tells."""
    cdf, sizes, minimum = GAUSSIAN
    other = Tables(cdf, sizes, minimum + 1)
    symbols, indexes = draw_symbols(np.random.default_rng(n), n)
    data = encode(symbols, indexes, TABLES, LIMIT)
    with pytest.raises(CorruptStream, match="final state"):
        decode(data, indexes, other, LIMIT)


PINNED = Tables(
    np.array([0, 4000, 12000, 16000, 16384, 0, 16383, 16384], np.uint16),
    np.array([3, 1], np.int32),
    np.array([-1, 0], np.int32),
)


def test_golden_bytes():
    """A changed byte here is a broken promise to every stream already written."""
    symbols = np.array([0, 1, -1, 0, 0, 5, -300, 0, 0, 1, 0, 0], np.int32)
    indexes = np.array([0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1], np.uint8)
    data = encode(symbols, indexes, PINNED, 300)
    assert data.hex() == "9b01fd9684f82b53c029"
    assert decode(data, indexes, PINNED, 300).tolist() == symbols.tolist()


def test_golden_bytes_of_many_lanes(path):
    """Sixteen lanes, three of which end in a part of the CRC, and a rest that fills no group of lanes."""
    number = np.arange(262_149)
    symbols = (number * number % 7 - 2).astype(np.int32)
    data = encode(symbols, (number % 5 == 0).astype(np.uint8), PINNED, 300)
    assert (
        hashlib.sha256(data).hexdigest() == "2c0fa2a5bcbc1af640e6a1bacca3f8de50ee2ee30f5a79c242dd221a26f93603"
    )


# --- any tables, any symbols


@st.composite
def segments(draw):
    """Draw random tables, and symbols of which many lie outside them."""
    precision = draw(st.integers(8, 14))
    total = 1 << precision
    cdf, sizes, minimum = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(st.lists(st.integers(1, total - 1), min_size=1, max_size=12, unique=True))
        cdf += [0, *sorted(inner), total]
        sizes.append(len(inner))
        minimum.append(draw(st.integers(-20, 20)))
    limit = draw(st.integers(0, 16383))
    pairs = draw(
        st.lists(
            st.tuples(
                st.integers(max(-30, -limit), min(30, limit)) | st.integers(-limit, limit),
                st.integers(0, len(sizes) - 1),
            ),
            max_size=60,
        )
    )
    arrays = np.array(cdf, np.uint16), np.array(sizes, np.int32), np.array(minimum, np.int32)
    symbols = np.array([s for s, _ in pairs], np.int32)
    indexes = np.array([t for _, t in pairs], np.uint8)
    return arrays, precision, symbols, indexes, limit


@given(segments())
def test_any_segment_equals_the_reference(segment):
    arrays, precision, symbols, indexes, limit = segment
    tables, plain = Tables(*arrays, precision), reference.split_tables(*arrays)
    data = encode(symbols, indexes, tables, limit)
    assert data == reference.encode(symbols, indexes, plain, precision)
    assert decode(data, indexes, tables, limit).tolist() == symbols.tolist()


test_any_segment_equals_the_reference_in_depth = in_depth(
    test_any_segment_equals_the_reference, segments(), examples=2000
)


@given(segments(), st.binary(max_size=40))
def test_garbage_decodes_as_the_reference_decodes_it(segment, garbage):
    arrays, precision, _, indexes, limit = segment
    tables, plain = Tables(*arrays, precision), reference.split_tables(*arrays)
    try:
        expected = reference.decode(garbage, indexes, plain, precision, limit)
    except reference.Corrupt:
        with pytest.raises(CorruptStream):
            decode(garbage, indexes, tables, limit)
    else:
        assert decode(garbage, indexes, tables, limit).tolist() == expected


test_garbage_decodes_as_the_reference_decodes_it_in_depth = in_depth(
    test_garbage_decodes_as_the_reference_decodes_it, segments(), st.binary(max_size=40), examples=2000
)


# --- segments of several parts


def decode_parts(data, parts):
    decoder = Decoder(data)
    decoded = [decoder.read(indexes, tables, limit).tolist() for _, indexes, tables, limit in parts]
    decoder.finish()
    return decoded


@given(st.lists(segments(), max_size=4))
def test_any_parts_equal_the_reference(drawn):
    parts = [(s, i, Tables(*arrays, precision), limit) for arrays, precision, s, i, limit in drawn]
    plain = [(reference.split_tables(*arrays), precision) for arrays, precision, *_ in drawn]
    data = encode_parts(parts)
    assert data == reference.encode_parts([(p[0], p[1], *q) for p, q in zip(parts, plain, strict=True)])
    assert decode_parts(data, parts) == [p[0].tolist() for p in parts]
    known = [(p[1], *q, p[3]) for p, q in zip(parts, plain, strict=True)]
    assert reference.decode_parts(data, known) == [p[0].tolist() for p in parts]


test_any_parts_equal_the_reference_in_depth = in_depth(
    test_any_parts_equal_the_reference, st.lists(segments(), max_size=4), examples=1000
)


@given(st.lists(segments(), max_size=3), st.binary(max_size=40))
def test_garbage_in_parts_decodes_as_the_reference_decodes_it(drawn, garbage):
    parts = [(s, i, Tables(*arrays, precision), limit) for arrays, precision, s, i, limit in drawn]
    known = [
        (i, reference.split_tables(*arrays), precision, limit) for arrays, precision, _, i, limit in drawn
    ]
    try:
        expected = reference.decode_parts(garbage, known)
    except reference.Corrupt:
        with pytest.raises(CorruptStream):
            decode_parts(garbage, parts)
    else:
        assert decode_parts(garbage, parts) == expected


test_garbage_in_parts_decodes_as_the_reference_decodes_it_in_depth = in_depth(
    test_garbage_in_parts_decodes_as_the_reference_decodes_it,
    st.lists(segments(), max_size=3),
    st.binary(max_size=40),
    examples=1000,
)


@pytest.mark.parametrize("sizes", [(500, 70_000), (40_000, 3), (300_000, 5, 40_000), (7, 262_144)])
def test_parts_of_many_lanes_equal_the_reference(sizes, path):
    parts = [(*draw_symbols(np.random.default_rng(n), n, spread=1.1), TABLES, LIMIT) for n in sizes]
    data = encode_parts(parts)
    assert data == reference.encode_parts([(s, i, PLAIN_TABLES, 14) for s, i, *_ in parts])
    assert decode_parts(data, parts) == [s.tolist() for s, *_ in parts]


@pytest.mark.parametrize("sizes", [(100, 100), (40_000, 100), (100, 40_000)])
def test_flipped_bits_in_parts_are_noticed(sizes):
    parts = [(*draw_symbols(np.random.default_rng(n), n), TABLES, LIMIT) for n in sizes]
    data = encode_parts(parts)
    for position in range(0, len(data), max(1, len(data) // 200)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CorruptStream):
            decode_parts(bytes(damaged), parts)


def test_parts_cost_less_than_segments():
    parts = [(*draw_symbols(np.random.default_rng(n), 1000), TABLES, LIMIT) for n in range(8)]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    saved = [len(encode(*a)) + len(encode(*b)) - len(encode_parts([a, b])) for a, b in pairs]
    assert min(saved) >= 2 and sum(saved) >= 4 * 3


def test_a_decoder_is_of_no_use_after_its_end():
    symbols, indexes = draw_symbols(np.random.default_rng(0), 100)
    data = encode(symbols, indexes, TABLES, LIMIT)
    finished, failed = Decoder(data), Decoder(data[:-2])
    finished.read(indexes, TABLES, LIMIT)
    finished.finish()
    with pytest.raises(CorruptStream):
        failed.read(indexes, TABLES, LIMIT)
    for decoder in (finished, failed):
        with pytest.raises(ValueError, match="finished"):
            decoder.read(indexes, TABLES, LIMIT)
        with pytest.raises(ValueError, match="finished"):
            decoder.finish()


def test_parts_of_different_types_are_refused():
    wide, narrow = (np.zeros(1, t) for t in (np.int32, np.int16))
    part = np.zeros(1, np.uint8), TABLES, LIMIT
    for first, second in ((wide, narrow), (narrow, wide)):
        with pytest.raises(ValueError, match="symbols must be an array of int"):
            encode_parts([(first, *part), (second, *part)])
    with pytest.raises(ValueError, match=r"must be \(symbols, indexes, tables, limit"):
        encode_parts([(wide, *part[:2])])  # type: ignore[list-item]


# --- arithmetic, damage, arguments


def test_every_frequency_divides_exactly():
    """All frequencies from 1 to 16383, at the largest states the encoder divides."""
    for first in range(1, 16384, 1487):
        frequencies = range(first, min(first + 1487, 16384))
        cdf = np.concatenate([[0, f, 16384] for f in frequencies]).astype(np.uint16)
        for chunk in range(0, len(frequencies), 256):
            part = cdf[3 * chunk : 3 * (chunk + 256)]
            count = len(part) // 3
            arrays = part, np.ones(count, np.int32), np.zeros(count, np.int32)
            tables, plain = Tables(*arrays), reference.split_tables(*arrays)
            indexes = np.tile(np.arange(count, dtype=np.uint8), 3)
            symbols = np.zeros(len(indexes), np.int32)
            data = encode(symbols, indexes, tables, 0)
            assert data == reference.encode(symbols, indexes, plain, 14)


# --- damage


def test_truncation_at_every_byte_is_corrupt():
    symbols, indexes = draw_symbols(np.random.default_rng(5), 800, spread=1.2)
    data = encode(symbols, indexes, TABLES, LIMIT)
    for size in range(len(data)):
        with pytest.raises(CorruptStream):
            decode(data[:size], indexes, TABLES, LIMIT)


def test_truncation_of_many_lanes_is_corrupt(path):
    symbols, indexes = draw_symbols(np.random.default_rng(6), 270_000)
    data = encode(symbols, indexes, TABLES, LIMIT)
    for size in [*range(80), *range(len(data) - 80, len(data)), len(data) // 2]:
        with pytest.raises(CorruptStream):
            decode(data[:size], indexes, TABLES, LIMIT)


@pytest.mark.parametrize("extra", [b"\0", b"\0\0", b"\xff" * 64])
def test_trailing_bytes_are_corrupt(extra):
    for n in (0, 1, 500):
        symbols, indexes = draw_symbols(np.random.default_rng(n), n)
        with pytest.raises(CorruptStream):
            decode(encode(symbols, indexes, TABLES, LIMIT) + extra, indexes, TABLES, LIMIT)


@pytest.mark.parametrize("n", [50, 270_000])
def test_flipped_bits_never_pass_for_the_same_symbols(n, path):
    rng = np.random.default_rng(8)
    symbols, indexes = draw_symbols(rng, n)
    data = encode(symbols, indexes, TABLES, LIMIT)
    for position in rng.integers(0, 8 * len(data), 60):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        try:
            decoded = decode(damaged, indexes, TABLES, LIMIT)
        except CorruptStream:
            continue
        assert not np.array_equal(decoded, symbols)
        assert np.abs(decoded).max() <= LIMIT


def test_garbage_for_many_lanes_never_crashes(path):
    rng = np.random.default_rng(9)
    indexes = rng.integers(0, 64, 263_000).astype(np.uint8)
    for size in (64, 1000, 100_000, 1_000_000):
        with pytest.raises(CorruptStream):
            decode(rng.bytes(size), indexes, TABLES, LIMIT)


def test_a_symbol_of_the_table_beyond_the_limit_is_corrupt(path):
    n = 263_000
    symbols, indexes = np.zeros(n, np.int32), np.full(n, 30, np.uint8)
    symbols[1234] = 6
    data = encode(symbols, indexes, TABLES, 6)
    assert np.array_equal(decode(data, indexes, TABLES, 6), symbols)
    with pytest.raises(CorruptStream):
        decode(data, indexes, TABLES, 5)


# --- arguments


def test_symbols_beyond_the_limit_are_refused(path):
    for n in (1, 100, 263_000):
        for value, index in ((11, 0), (-11, 0), (11, 40), (-11, 40)):
            symbols, indexes = np.zeros(n, np.int32), np.full(n, index, np.uint8)
            symbols[n // 2] = value
            encode(symbols, indexes, TABLES, 11)
            with pytest.raises(ValueError, match="limit"):
                encode(symbols, indexes, TABLES, 10)


def test_extreme_symbols_are_refused():
    for value in (2**31 - 1, -(2**31)):
        with pytest.raises(ValueError, match="limit"):
            encode(np.array([value], np.int32), np.zeros(1, np.uint8), TABLES, 16383)


def test_indexes_without_a_table_are_refused():
    bad = np.array([0, 64], np.uint8)
    with pytest.raises(ValueError, match=r"indexes\[1\] is 64"):
        encode(np.zeros(2, np.int32), bad, TABLES, LIMIT)
    with pytest.raises(ValueError, match=r"indexes\[1\] is 64"):
        decode(b"", bad, TABLES, LIMIT)


ZEROS, INDEXES = np.zeros(4, np.int32), np.zeros(4, np.uint8)


@pytest.mark.parametrize(
    ("symbols", "indexes", "limit", "message"),
    [
        (ZEROS.astype(np.int64), INDEXES, LIMIT, "symbols"),
        (ZEROS.astype(np.float32), INDEXES, LIMIT, "symbols"),
        (np.zeros(8, np.int32)[::2], INDEXES, LIMIT, "symbols"),
        (np.frombuffer(bytes(17), np.uint8)[1:].view(np.int32), INDEXES, LIMIT, "symbols must be aligned"),
        (ZEROS, INDEXES.astype(np.int32), LIMIT, "indexes"),
        (ZEROS, np.zeros((2, 4), np.uint8)[:, ::2], LIMIT, "indexes"),
        (ZEROS, INDEXES[:3], LIMIT, "length"),
        (ZEROS, INDEXES, -1, "limit"),
        (ZEROS, INDEXES, 16384, "limit"),
    ],
)
def test_bad_arguments_are_named(symbols, indexes, limit, message):
    with pytest.raises(ValueError, match=message):
        encode(symbols, indexes, TABLES, limit)


def test_decode_refuses_other_types():
    with pytest.raises(ValueError, match="dtype"):
        decode(b"", INDEXES, TABLES, LIMIT, dtype=np.int64)


def test_any_shape_and_any_buffer():
    symbols = np.arange(-12, 12, dtype=np.int32).reshape(2, 3, 4)
    indexes = np.full((2, 3, 4), 20, np.uint8)
    symbols.setflags(write=False)
    data = encode(symbols, indexes, TABLES, LIMIT)
    for view in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert np.array_equal(decode(view, indexes, TABLES, LIMIT), symbols.reshape(-1))


@pytest.mark.parametrize(
    ("cdf", "sizes", "minimum", "precision", "message"),
    [
        ([0, 1, 256], [1], [0], 7, "precision"),
        ([0, 1, 32768], [1], [0], 15, "precision"),
        ([], [], [], 8, "tables"),
        ([0, 1, 256] * 257, [1] * 257, [0] * 257, 8, "tables"),
        ([0, 256], [0], [0], 8, "size"),
        ([0, 1, 256], [-1], [0], 8, "size"),
        ([0, 1, 256], [2], [0], 8, "ends before"),
        ([0, 1, 256], [2**31 - 1], [0], 8, "ends before"),
        ([0, 1, 256, 0], [1], [0], 8, "entries"),
        ([1, 2, 256], [1], [0], 8, "start"),
        ([0, 1, 255], [1], [0], 8, "end at"),
        ([0, 256, 256], [1], [0], 8, "increase"),
        ([0, 9, 8, 256], [2], [0], 8, "increase"),
        ([0, 1, 256], [1], [16384], 8, "within"),
        ([0, 1, 256], [1], [-16384], 8, "within"),
        ([0, 1, 256], [1], [2**31 - 1], 8, "within"),
        ([0, 1, 256], [1], [0, 0], 8, "length"),
    ],
)
def test_bad_tables_are_named(cdf, sizes, minimum, precision, message):
    with pytest.raises(ValueError, match=message):
        Tables(np.array(cdf, np.uint16), np.array(sizes, np.int32), np.array(minimum, np.int32), precision)


def test_tables_describe_themselves():
    assert len(TABLES) == 64
    assert TABLES.precision == 14


def test_set_simd_refuses_unknown_names():
    with pytest.raises(ValueError, match="simd"):
        native.set_simd("sse9")


def test_threads_share_tables():
    inputs = [draw_symbols(np.random.default_rng(k), 50_000 + k) for k in range(4)]
    expected = [encode(*pair, TABLES, LIMIT) for pair in inputs]
    results: dict[int, bool] = {}

    def work(k: int) -> None:
        symbols, indexes = inputs[k]
        results[k] = all(
            encode(symbols, indexes, TABLES, LIMIT) == expected[k]
            and np.array_equal(decode(expected[k], indexes, TABLES, LIMIT), symbols)
            for _ in range(20)
        )

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), True)


# --- size


def test_bytes_are_close_to_the_entropy():
    symbols, indexes = draw_symbols(np.random.default_rng(11), 400_000)
    sigmas = table_sigmas()
    bits = 0.0
    for level in np.unique(indexes):
        magnitudes = np.abs(symbols[indexes == level])
        bits -= np.log2(gaussian_pmf(sigmas[level], int(magnitudes.max()))[magnitudes]).sum()
    assert 8 * len(encode(symbols, indexes, TABLES, LIMIT)) <= 1.003 * bits


def test_zeros_at_the_smallest_scale_cost_almost_nothing():
    for n in (1, 5_000, 30_000):
        assert len(encode(np.zeros(n, np.int32), np.zeros(n, np.uint8), TABLES, LIMIT)) <= 4
    assert len(encode(np.zeros(10**6, np.int32), np.zeros(10**6, np.uint8), TABLES, LIMIT)) <= 64


def test_a_segment_of_one_regular_symbol_is_two_to_four_bytes():
    for symbol in range(-15, 16):
        data = encode(np.array([symbol], np.int32), np.array([30], np.uint8), TABLES, LIMIT)
        assert 2 <= len(data) <= 4


# --- tables made at export


def test_sigmas_of_the_tables_are_geometric():
    levels = table_sigmas()
    assert len(levels) == 64 and levels[0] == pytest.approx(0.11) and levels[-1] == pytest.approx(256)
    assert np.allclose(levels[1:] / levels[:-1], levels[1] / levels[0])


@given(st.lists(st.floats(0.01, 300), min_size=1, max_size=5), st.floats(0, 1), st.integers(12, 14))
def test_scale_tables_are_valid_and_nearly_symmetric(sigmas, share, precision):
    arrays = scale_tables(np.array(sigmas), share, precision)
    Tables(*arrays, precision)
    for table in reference.split_tables(*arrays):
        assert table.minimum == -table.maximum
        frequencies = np.diff(table.cdf)[:-1]
        assert np.abs(frequencies - frequencies[::-1]).max() <= 1
        assert frequencies.max() - frequencies[table.size // 2] <= 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_scale_tables_follow_the_mixture(share):
    rng, sigma, n = np.random.default_rng(1), 3.0, 400_000
    draws = np.where(rng.random(n) < share, rng.normal(0, sigma, n), rng.laplace(0, sigma / 2**0.5, n))
    counts = {int(k): int(c) for k, c in zip(*np.unique(np.round(draws), return_counts=True), strict=True)}
    (table,) = reference.split_tables(*scale_tables([sigma], share))
    for k in range(-8, 9):
        place = k - table.minimum
        assert (table.cdf[place + 1] - table.cdf[place]) / 2**14 == pytest.approx(counts[k] / n, abs=1.5e-3)
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="shares"):
            scale_tables([sigma], bad)


def test_pmf_tables_follow_the_pmf():
    arrays = pmf_tables([(-3, [0.1, 0.4, 0.25]), (5, [0.0, 1.0])])
    Tables(*arrays)
    first, second = reference.split_tables(*arrays)
    assert (first.minimum, second.minimum) == (-3, 5)
    assert np.allclose(np.diff(first.cdf) / 16384, [0.1, 0.4, 0.25, 0.25], atol=1e-4)
    assert np.diff(second.cdf).tolist() == [1, 16382, 1]


@pytest.mark.parametrize("pmf", [[], [-0.1, 0.5], [0.7, 0.7], [np.nan]])
def test_pmf_tables_refuse_what_is_no_pmf(pmf):
    with pytest.raises(ValueError, match="pmf"):
        pmf_tables([(0, pmf)])


# --- checksums


def test_crc32c_check_value():
    assert native.crc32c(b"123456789") == 0xE3069283
    assert native.crc32c(b"") == 0


@given(st.binary(max_size=100), st.integers(0, 100))
def test_crc32c_continues(data, cut):
    head, tail = data[:cut], data[cut:]
    assert native.crc32c(tail, native.crc32c(head)) == native.crc32c(data)
    assert native.crc32c(memoryview(data)) == plain_crc32c(data)


def plain_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
