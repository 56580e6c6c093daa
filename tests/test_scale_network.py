"""The integer scale network equals its int64 reference (docs/entropy_coding.md)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from conftest import in_depth, on_every_path
from hypothesis import given, settings
from hypothesis import strategies as st

from rdc_codec.native import ScaleNetwork
from tests.reference_coder import scale_indexes


def random_layer(rng, outputs, inputs, kernel, clip_max):
    weight = rng.integers(-128, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
    bias = rng.integers(-(2**15), 2**15, outputs).astype(np.int32)
    # Shifts for which the output uses its range instead of being all 0 or clip_max.
    shift = rng.integers(7, 14, outputs).astype(np.int32)
    return weight, bias, shift, clip_max


def random_input(rng, channels, height, width):
    return rng.integers(-127, 128, (channels, height, width)).astype(np.int32)


DRAWN = {
    "seed": st.integers(0, 2**32),
    "channels": st.tuples(*[st.integers(1, 40)] * 4),
    "kernels": st.tuples(*[st.sampled_from([1, 3])] * 3),
    "height": st.integers(1, 7),
    "width": st.integers(1, 20),
    "shuffle": st.integers(1, 4),
}


@given(**DRAWN)
def test_equals_the_reference(seed, channels, kernels, height, width, shuffle):
    rng = np.random.default_rng(seed)
    first, second, third, planes = channels
    layers = [
        random_layer(rng, second, first, kernels[0], 127),
        random_layer(rng, third, second, kernels[1], 100),
        random_layer(rng, planes * shuffle**2, third, kernels[2], 63),
    ]
    z = random_input(rng, first, height, width)
    network, expected = ScaleNetwork(layers, shuffle), scale_indexes(z, layers, shuffle)
    for result in on_every_path(lambda: network(z)):
        assert result.dtype == np.uint8
        assert np.array_equal(result, expected)


test_equals_the_reference_in_depth = in_depth(test_equals_the_reference, examples=1000, **DRAWN)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    sides=st.sampled_from([(1, 500), (2, 200), (7, 60), (64, 9), (400, 1), (30, 40)]),
    threads=st.integers(2, 12),
    kernel=st.sampled_from([1, 3]),
)
def test_threads_change_nothing(seed, sides, threads, kernel):
    rng = np.random.default_rng(seed)
    network = ScaleNetwork([random_layer(rng, 6, 5, kernel, 127), random_layer(rng, 8, 6, 3, 63)], 2)
    z = random_input(rng, 5, *sides)
    assert np.array_equal(network(z, threads), network(z))


def test_there_is_at_least_one_thread():
    network = ScaleNetwork([random_layer(np.random.default_rng(0), 4, 1, 1, 63)], 2)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        network(np.zeros((1, 4, 4), np.int16), threads=0)


def test_the_shipped_shape():
    rng = np.random.default_rng(1)
    layers = [
        random_layer(rng, 64, 64, 1, 127),
        random_layer(rng, 64, 64, 3, 127),
        random_layer(rng, 4096, 64, 1, 63),
    ]
    z = random_input(rng, 64, 8, 12)
    network = ScaleNetwork(layers)
    expected = scale_indexes(z, layers, 4)
    assert expected.shape == (256, 32, 48)
    assert len(np.unique(expected)) == 64
    for result in on_every_path(lambda: network(z)):
        assert np.array_equal(result, expected)
    for dtype in (np.int32, np.int16, np.int8):
        assert np.array_equal(network(z.astype(dtype)), expected)


def test_sums_at_the_edge_of_32_bits():
    """Largest weights and inputs, and a bias that takes the sum to 2**31 - 1 with the rounding."""
    weight = np.full((2, 64, 3, 3), -128, np.int8)
    weight[0] = 127
    shift = np.array([30, 1], np.int32)
    room = 2**31 - 1 - np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * 127 - (1 << (shift - 1))
    bias = (room * [1, -1]).astype(np.int32)
    for layer_bias, valid in ((bias, True), (bias + np.array([1, 0], np.int32), False)):
        layers = [(weight, layer_bias, shift, 127)]
        if not valid:
            with pytest.raises(ValueError, match="overflow"):
                ScaleNetwork(layers, 1)
            continue
        network = ScaleNetwork(layers, 1)
        for z in (np.full((64, 3, 3), 127, np.int32), np.full((64, 3, 3), -127, np.int32)):
            for result in on_every_path(partial(network, z)):
                assert np.array_equal(result, scale_indexes(z, layers, 1))


def test_the_shift_rounds_half_up_and_negative_sums_down():
    weight = np.ones((1, 1, 1, 1), np.int8)
    network = ScaleNetwork([(weight, np.array([8], np.int32), np.array([2], np.uint8), 127)], 1)
    z = np.arange(-12, 4, dtype=np.int32).reshape(1, 1, -1)
    # (z + 8) / 4, halves up, and nothing below zero.
    assert network(z).ravel().tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]


def test_the_shuffle_is_pytorchs():
    weight = np.zeros((8, 1, 1, 1), np.int8)
    bias = np.arange(8, dtype=np.int32) * 2
    network = ScaleNetwork([(weight, bias, np.ones(8, np.uint8), 63)], 2)
    expected = [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert network(np.zeros((1, 1, 1), np.int8)).tolist() == expected


def test_an_empty_plane_stays_empty():
    network = ScaleNetwork([random_layer(np.random.default_rng(0), 4, 2, 3, 63)], 2)
    assert network(np.zeros((2, 0, 5), np.int32)).shape == (1, 0, 10)


@pytest.mark.parametrize("value", [128, -128, 2**31 - 1, -(2**31)])
def test_inputs_beyond_127_are_refused(value):
    network = ScaleNetwork([random_layer(np.random.default_rng(0), 1, 1, 1, 63)], 1)
    with pytest.raises(ValueError, match="127"):
        network(np.array([[[value]]], np.int32))


def test_inputs_of_another_shape_or_type_are_refused():
    network = ScaleNetwork([random_layer(np.random.default_rng(0), 1, 2, 1, 63)], 1)
    for z in (np.zeros((1, 2, 2), np.int32), np.zeros((2, 2), np.int32), np.zeros((2, 2, 2), np.float32)):
        with pytest.raises(ValueError, match="z must"):
            network(z)
    with pytest.raises(ValueError, match="contiguous"):
        network(np.zeros((2, 4, 4), np.int32)[:, ::2, ::2])


WEIGHT, BIAS, SHIFT = np.ones((4, 2, 3, 3), np.int8), np.zeros(4, np.int32), np.ones(4, np.int32)


@pytest.mark.parametrize(
    ("layer", "shuffle", "message"),
    [
        ((WEIGHT.astype(np.int16), BIAS, SHIFT, 63), 2, "weight"),
        ((WEIGHT[0], BIAS, SHIFT, 63), 2, "weight"),
        ((WEIGHT[..., :2], BIAS, SHIFT, 63), 2, "weight"),
        ((np.ones((4, 2, 5, 5), np.int8), BIAS, SHIFT, 63), 2, "kernel"),
        ((WEIGHT, BIAS[:3], SHIFT, 63), 2, "bias"),
        ((WEIGHT, BIAS.astype(np.int64), SHIFT, 63), 2, "bias"),
        ((WEIGHT, BIAS, SHIFT * 0, 63), 2, "shift"),
        ((WEIGHT, BIAS, SHIFT * 31, 63), 2, "shift"),
        ((WEIGHT, BIAS, SHIFT.astype(np.float32), 63), 2, "shift"),
        ((WEIGHT, BIAS + (2**31 - 1), SHIFT, 63), 2, "overflow"),
        ((WEIGHT, BIAS, SHIFT, 0), 2, "clip_max"),
        ((WEIGHT, BIAS, SHIFT, 256), 2, "clip_max"),
        ((WEIGHT, BIAS, SHIFT), 2, "layer 0"),
        ((WEIGHT, BIAS, SHIFT, 63), 3, "shuffle"),
        ((WEIGHT, BIAS, SHIFT, 63), 0, "shuffle"),
    ],
)
def test_bad_layers_are_named(layer, shuffle, message):
    with pytest.raises(ValueError, match=message):
        ScaleNetwork([layer], shuffle)


def test_layers_must_fit_together():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least one"):
        ScaleNetwork([], 1)
    with pytest.raises(ValueError, match="layer 1: takes 3 channels"):
        ScaleNetwork([random_layer(rng, 2, 1, 1, 127), random_layer(rng, 1, 3, 1, 63)], 1)
    with pytest.raises(ValueError, match="layer 0: clip_max"):
        ScaleNetwork([random_layer(rng, 2, 1, 1, 128), random_layer(rng, 1, 2, 1, 63)], 1)
