"""The second half of the integer scale network equals its int64 reference (docs/entropy_coding.md)."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import in_depth, on_every_path
from hypothesis import given, settings
from hypothesis import strategies as st

from rdc_codec.native import ScaleContext, ScaleState
from tests.reference_coder import context_indexes, pass_of

ORDER = np.array([[0, 2], [3, 1]], np.uint8)


def random_parts(rng, latent, hidden, other, order=ORDER):
    neighbours = (
        rng.integers(-128, 128, (hidden, latent + other, 3, 3)).astype(np.int8),
        rng.integers(-2000, 2000, (4, hidden)).astype(np.int32),
        rng.integers(2, 9, hidden).astype(np.int32),
        127,
    )
    heads = (
        rng.integers(-128, 128, (4, latent, hidden)).astype(np.int8),
        rng.integers(-2000, 2000, (4, latent)).astype(np.int32),
        rng.integers(6, 12, (4, latent)).astype(np.int32),
        63,
    )
    return neighbours, heads, order


def random_symbols(rng, channels, height, width):
    """Draw symbols that are mostly zero, as real ones are, and a few far out."""
    spread = rng.choice([0.3, 1.0, 30.0, 2000.0], (channels, 1, 1))
    return np.clip(np.round(rng.laplace(0, spread, (channels, height, width))), -2047, 2047).astype(np.int32)


def run(context, start, symbols, other, order=ORDER, dtype="int32", threads=1):
    """Return indexes of all passes as a plane, from a state that learns the symbols pass by pass."""
    symbols = symbols.astype(dtype)
    state = ScaleState(context, start, None if other is None else other.astype(dtype), dtype, threads=threads)
    assert state.symbols.dtype == dtype
    passes = pass_of(symbols.shape, order)
    indexes = np.zeros(symbols.shape, np.uint8)
    for index in range(4):
        indexes[passes == index] = state.indexes()
        part = state.gather(symbols)
        assert np.array_equal(part, symbols[passes == index])
        state.add(part)
        assert np.array_equal(state.symbols, np.where(passes <= index, symbols, 0))
    return indexes


DRAWN = {
    "seed": st.integers(0, 2**32),
    "quarter": st.integers(1, 6),
    "hidden": st.integers(1, 20),
    "other": st.sampled_from([0, 3, 8]),
    "height": st.integers(0, 3),
    "width": st.integers(0, 5),
    "order": st.permutations([0, 1, 2, 3]),
}


@settings(max_examples=40)
@given(**DRAWN)
def test_equals_the_reference(seed, quarter, hidden, other, height, width, order):
    rng = np.random.default_rng(seed)
    order = np.array(order, np.uint8).reshape(2, 2)
    latent, height, width = 4 * quarter, 2 * height, 2 * width
    neighbours, heads, _ = random_parts(rng, latent, hidden, other)
    start = rng.integers(0, 256, (latent + hidden, height, width)).astype(np.uint8)
    symbols = random_symbols(rng, latent, height, width)
    more = random_symbols(rng, other, height, width) if other else None
    context = ScaleContext(neighbours, heads, order)
    assert (context.latent, context.hidden, context.other) == (latent, hidden, other)
    expected = context_indexes(start, symbols, neighbours, heads, order, more)
    for dtype in ("int32", "int16"):
        for found in on_every_path(lambda dtype=dtype: run(context, start, symbols, more, order, dtype)):
            assert np.array_equal(found, expected)


test_equals_the_reference_in_depth = in_depth(test_equals_the_reference, examples=1000, **DRAWN)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    sides=st.sampled_from([(2, 6200), (4, 1600), (6, 1100), (80, 80), (3100, 2), (6200, 0), (60, 400)]),
    threads=st.integers(2, 12),
    other=st.sampled_from([0, 5]),
)
def test_threads_change_nothing(seed, sides, threads, other):
    """Parts of a picture add to sums of their neighbours' rows, in whatever order."""
    rng = np.random.default_rng(seed)
    neighbours, heads, order = random_parts(rng, 8, 6, other)
    start = rng.integers(0, 256, (14, *sides)).astype(np.uint8)
    symbols = random_symbols(rng, 8, *sides)
    more = random_symbols(rng, other, *sides) if other else None
    context = ScaleContext(neighbours, heads, order)
    alone = run(context, start, symbols, more, order, "int16")
    assert np.array_equal(run(context, start, symbols, more, order, "int16", threads), alone)


def test_a_state_may_keep_no_symbols():
    rng = np.random.default_rng(3)
    context = ScaleContext(*random_parts(rng, 8, 16, 0))
    start, symbols = rng.integers(0, 64, (24, 4, 6)).astype(np.uint8), random_symbols(rng, 8, 4, 6)
    kept, lost = ScaleState(context, start), ScaleState(context, start, keep=False)
    assert lost.symbols is None
    for _ in range(4):
        assert np.array_equal(kept.indexes(), lost.indexes())
        part = kept.gather(symbols)
        kept.add(part)
        lost.add(part)


def test_symbols_are_of_one_type():
    rng = np.random.default_rng(4)
    context = ScaleContext(*random_parts(rng, 8, 16, 0))
    start, symbols = rng.integers(0, 64, (24, 4, 6)).astype(np.uint8), random_symbols(rng, 8, 4, 6)
    with pytest.raises(ValueError, match="plane must be an array of int16"):
        ScaleState(context, start, dtype="int16").gather(symbols)
    with pytest.raises(ValueError, match="symbols must be an array of int32"):
        ScaleState(context, start).add(symbols[:, 0, 0].astype(np.int16))
    with pytest.raises(ValueError, match="dtype must be int32 or int16"):
        ScaleState(context, start, dtype="int8")


def test_the_shipped_shape():
    rng = np.random.default_rng(5)
    neighbours, heads, order = random_parts(rng, 192, 64, 192)
    start = rng.integers(0, 64, (256, 8, 12)).astype(np.uint8)
    symbols, more = random_symbols(rng, 192, 8, 12), random_symbols(rng, 192, 8, 12)
    expected = context_indexes(start, symbols, neighbours, heads, order, more)
    assert len(np.unique(expected)) > 40
    context = ScaleContext(neighbours, heads, order)
    for found in on_every_path(lambda: run(context, start, symbols, more)):
        assert np.array_equal(found, expected)


def test_an_index_never_depends_on_its_own_pass_or_later_ones():
    rng = np.random.default_rng(2)
    context = ScaleContext(*random_parts(rng, 8, 16, 0))
    start = rng.integers(0, 64, (24, 4, 6)).astype(np.uint8)
    one, two = (random_symbols(rng, 8, 4, 6) for _ in range(2))
    passes = pass_of(one.shape, ORDER)
    for index in range(4):
        mixed = np.where(passes < index, one, two)
        same = passes <= index
        assert np.array_equal(run(context, start, mixed, None)[same], run(context, start, one, None)[same])


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_at_the_edge_of_32_bits(sign):
    """Largest weights, symbols of any int32, and a bias that takes the sum to +-(2**31 - 1) with the rounding.

    Own symbols have no weight and those of the other branch all of it, so that every one counts in every pass.
    """
    weight = np.concatenate([np.zeros((1, 4, 3, 3)), np.full((1, 4, 3, 3), 127 * sign)], 1).astype(np.int8)
    room = 2**31 - 1 - 127 * 36 * 32 - (255 << 20) - (1 << 19)
    neighbours = (weight, np.full((4, 1), room * sign, np.int32), np.array([20], np.int32), 127)
    # 64 where hidden is 127, 0 where the sum has wrapped round.
    heads = (np.ones((4, 4, 1), np.int8), np.zeros((4, 4), np.int32), np.ones((4, 4), np.int32), 255)
    with pytest.raises(ValueError, match="overflow"):
        ScaleContext(changed(neighbours, 1, neighbours[1] + np.int32(sign)), heads, ORDER)
    context = ScaleContext(neighbours, heads, ORDER)
    start = np.zeros((5, 4, 4), np.uint8)
    start[4] = 255
    symbols, other = np.zeros((4, 4, 4), np.int32), np.full((4, 4, 4), -(2**31), np.int32)
    expected = context_indexes(start, symbols, neighbours, heads, ORDER, other)
    assert (expected == (64 if sign > 0 else 0)).all()
    for found in on_every_path(lambda: run(context, start, symbols, other)):
        assert np.array_equal(found, expected)


def changed(part: tuple, item: int, value: object) -> tuple:
    return (*part[:item], value, *part[item + 1 :])


NEIGHBOURS, HEADS, _ = random_parts(np.random.default_rng(0), 8, 4, 2)


@pytest.mark.parametrize(
    ("neighbours", "heads", "order", "message"),
    [
        (NEIGHBOURS[:3], HEADS, ORDER, "neighbours"),
        (changed(NEIGHBOURS, 0, NEIGHBOURS[0].astype(np.int32)), HEADS, ORDER, "neighbours weight"),
        (changed(NEIGHBOURS, 0, NEIGHBOURS[0][..., :1].copy()), HEADS, ORDER, "neighbours"),
        (changed(NEIGHBOURS, 0, NEIGHBOURS[0][:, :7].copy()), HEADS, ORDER, "at least the latent"),
        (changed(NEIGHBOURS, 1, NEIGHBOURS[1][:3].copy()), HEADS, ORDER, "neighbours"),
        (changed(NEIGHBOURS, 2, NEIGHBOURS[2] * 0), HEADS, ORDER, "shift"),
        (changed(NEIGHBOURS, 2, NEIGHBOURS[2] * 0 + 21), HEADS, ORDER, "shift"),
        (changed(NEIGHBOURS, 3, 128), HEADS, ORDER, "clip_max"),
        (NEIGHBOURS, changed(HEADS, 0, HEADS[0][:3].copy()), ORDER, "heads"),
        (NEIGHBOURS, changed(HEADS, 1, HEADS[1] + (2**31 - 3000)), ORDER, "overflow"),
        (NEIGHBOURS, changed(HEADS, 2, HEADS[2] * 0 + 31), ORDER, "shift"),
        (NEIGHBOURS, changed(HEADS, 3, 256), ORDER, "clip_max"),
        (NEIGHBOURS, HEADS, ORDER % 2, "order"),
        (NEIGHBOURS, HEADS, ORDER.astype(np.int32), "order"),
        (NEIGHBOURS, HEADS, ORDER.reshape(1, 4), "order"),
    ],
)
def test_bad_parts_are_named(neighbours, heads, order, message):
    with pytest.raises(ValueError, match=message):
        ScaleContext(neighbours, heads, order)


def test_a_state_takes_what_fits_and_four_passes():
    context = ScaleContext(NEIGHBOURS, HEADS, ORDER)
    start, other = np.zeros((12, 4, 6), np.uint8), np.zeros((2, 4, 6), np.int32)
    for bad_start, bad_other in (
        (start[:11], other),
        (np.zeros((12, 3, 6), np.uint8), np.zeros((2, 3, 6), np.int32)),
        (start.astype(np.int32), other),
        (start, None),
        (start, other[:1]),
        (start, np.zeros((2, 6, 4), np.int32)),
    ):
        with pytest.raises(ValueError, match=r"start|other"):
            ScaleState(context, bad_start, bad_other)
    state = ScaleState(context, start, other)
    with pytest.raises(ValueError, match="next pass"):
        state.add(np.zeros(47, np.int32))
    with pytest.raises(ValueError, match="plane"):
        state.gather(np.zeros((8, 6, 4), np.int32))
    for _ in range(4):
        state.add(np.zeros(48, np.int32))
    for after in (state.indexes, lambda: state.add(np.zeros(48, np.int32))):
        with pytest.raises(ValueError, match="already"):
            after()
