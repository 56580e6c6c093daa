"""The fused kernels compute what the function bodies say: on the CPU always, on the GPU where there is one.

The arithmetic of an element is one source for both (kernels/cuda/elements.h). Where there is no GPU, the CUDA sources
also run on the CPU (tests/emulated_cuda), which shows that every thread finds its elements.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import run_operator
from kernel_library import LAYOUTS, MIXED, Kernels, build, build_emulated
from onnx import helper

SHAPES = [(1, 192, 5, 8), (2, 8, 4, 6), (3, 7, 3, 5), (1, 1, 1, 1), (2, 192, 1, 13)]
PASSES = [-1, 0, 1, 2, 3]
EXTREMES = [np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, 2.5, 2046.5, 2047.5, -2048, 65504, 1e-7, -0.0, 0.0]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(build(tmp_path_factory.mktemp("host"), cuda=False))


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(
        build(tmp_path_factory.mktemp("cuda"), True, "-DCMAKE_CUDA_ARCHITECTURES=native"), device=True
    )


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(build_emulated(tmp_path_factory.mktemp("emulated")))


@pytest.fixture(params=["host", "emulated", pytest.param("device", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return request.getfixturevalue(request.param)


def with_extremes(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Replace a tenth of the values by ones on which implementations disagree."""
    chosen = rng.random(values.shape) < 0.1
    return np.where(chosen, rng.choice(np.array(EXTREMES), values.shape), values).astype(values.dtype)


@pytest.mark.parametrize("layout", MIXED)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("index", PASSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gains_of_one_quantise_and_dequantise_as_the_body_does(kernels, shape, index, dtype, layout) -> None:
    """The gain is exactly 1, so integers are equal, ties, infinities and NaN included."""
    rng = np.random.default_rng(abs(index) + shape[1])
    y, mean, acc = (with_extremes(rng, rng.normal(0, s, shape).astype(dtype)) for s in (30, 3, 1))
    gains, level = np.ones((3, shape[1]), np.float32), rng.uniform(-1, 3, shape[0]).astype(np.float32)
    inputs = {"y": y, "mean": mean, "gains": gains, "level": level, "acc": acc}
    expected_symbols, expected = run_operator("GainQuantize", inputs, ["s", "d"], **{"pass": index})
    symbols, decoded = kernels.gain_quantize(y, mean, gains, level, acc, index, layout)
    np.testing.assert_array_equal(symbols, expected_symbols)
    np.testing.assert_array_equal(decoded, expected)
    inputs = {"symbols": symbols, "mean": mean, "acc": acc}
    (expected,) = run_operator("GainDequantize", inputs, ["d"], **{"pass": index})
    np.testing.assert_array_equal(kernels.gain_dequantize(symbols, mean, acc, index, layout), expected)


@pytest.mark.parametrize("layout", MIXED)
def test_gains_are_interpolated_geometrically_to_an_ulp_or_two(kernels, layout) -> None:
    """Symbols are those of the exact product, unless its distance to a tie is within the error of the exponential."""
    rng = np.random.default_rng(5)
    shape = (4, 24, 9, 16)
    y, mean = (rng.normal(0, s, shape).astype(np.float32) for s in (60, 3))
    gains = np.exp(rng.uniform(-5, 3, (8, 24))).astype(np.float32)
    level = np.array([0.0, 2.3, 6.999, 9.0], np.float32)
    inputs = {"y": y, "mean": mean, "gains": gains, "level": level, "acc": np.zeros_like(y)}
    (expected, _), (symbols, _) = (
        run_operator("GainQuantize", inputs, ["s", "d"], **{"pass": -1}),
        kernels.gain_quantize(y, mean, gains, level, np.zeros_like(y), -1, layout),
    )
    low = np.minimum(np.clip(level, 0, 7).astype(int), 6)
    share = (np.clip(level, 0, 7) - low)[:, None]
    gain = np.exp(
        np.log(gains[low].astype(float)) * (1 - share) + np.log(gains[low + 1].astype(float)) * share
    )
    exact = y.astype(float) * gain[:, :, None, None] - mean
    tie = np.abs(exact - np.floor(exact) - 0.5)
    clear = tie > 4e-6 * np.maximum(np.abs(exact), 1) + 1e-6 * np.abs(mean)
    assert clear.mean() > 0.99
    rounded = np.clip(np.round(exact), -2047, 2047)
    np.testing.assert_array_equal(symbols[clear], rounded[clear])
    np.testing.assert_array_equal(expected[clear], rounded[clear])
    assert np.abs(symbols - expected).max() <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("size", [(8, 8), (16, 24), (40, 64), (8, 1048), (24, 520)])
@pytest.mark.parametrize("batch", [1, 3])
def test_pictures_become_tensors_and_back_as_the_bodies_do(kernels, batch, size, dtype, layout) -> None:
    rng = np.random.default_rng(size[0] + size[1])
    pixels = rng.integers(-128, 128, (batch, *size, 3)).astype(np.int8)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    (expected,) = run_operator("ImageToTensor", {"pixels": pixels}, ["y"], to=to)
    folded = kernels.image_to_tensor(pixels, dtype, layout)
    np.testing.assert_array_equal(folded, expected)

    nothing, beta = np.zeros_like(folded), np.zeros(batch, np.float32)
    np.testing.assert_array_equal(kernels.blend_to_image(folded, nothing, beta, layout), pixels)

    x1, r = (with_extremes(rng, rng.normal(m, 0.4, folded.shape).astype(dtype)) for m in (0.5, 0))
    beta = rng.uniform(0, 1, batch).astype(np.float32)
    (expected,) = run_operator("BlendToImage", {"x1": x1, "r": r, "beta": beta}, ["p"])
    np.testing.assert_array_equal(kernels.blend_to_image(x1, r, beta, layout), expected)


def test_impossible_shapes_are_refused(kernels) -> None:
    wrong = np.zeros((1, 64, 2, 2), np.float32)  # a folded picture has 192 channels
    with pytest.raises(AssertionError, match="error 1"):
        kernels.blend_to_image(wrong, wrong, np.zeros(1, np.float32), "planar")


def test_the_cuda_kernels_compile_for_every_supported_gpu(tmp_path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("nvcc is not installed")
    assert build(tmp_path, cuda=True).stat().st_size > 100_000
