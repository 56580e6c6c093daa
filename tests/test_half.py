"""fp16 graphs: the same streams, pictures that lose next to nothing."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from conftest import SHIPPED, TINY
from PIL import Image, ImageFilter

from benchmarks.common import psnr
from benchmarks.precision import rounded_to_int8, rounding_codec, to_bf16
from export.errors import ExportError
from export.to_half import conv1x1_as_matmul, copy_bundle, to_half
from rdc_codec import Codec
from rdc_codec.backends.typed_graphs import load_graph


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Rounds between layers as a GPU does, which ONNX Runtime leaves out on a CPU."""
    return rounding_codec(Codec(SHIPPED, backend="onnxruntime"), tmp_path_factory.mktemp("half") / "bundle")


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Rounds to bf16 where a processor that has it does for precision="fast"."""
    folder = tmp_path_factory.mktemp("brain") / "bundle"
    return rounding_codec(Codec(SHIPPED, backend="onnxruntime"), folder, "bf16")


def test_an_fp16_bundle_is_the_same_model_in_smaller_files(tmp_path) -> None:
    copy_bundle(SHIPPED, tmp_path / "half", "fp16")
    before, after = (json.loads((f / "manifest.json").read_text()) for f in (SHIPPED, tmp_path / "half"))
    assert after["precision"] == "fp16"
    assert all(after[k] == before[k] for k in ("parse_id", "picture_id", "quality_map", "parsing"))
    weights = {
        t.name: int(np.prod(t.dims))
        for graph in before["graphs"].values()
        for t in load_graph(SHIPPED / graph["file"]).graph.initializer
    }
    assert (tmp_path / "half" / "weights.bin").stat().st_size < 0.7 * 4 * sum(weights.values())
    for graph in after["graphs"].values():
        onnx.checker.check_model(str(tmp_path / "half" / graph["file"]), full_check=True)
        model = onnx.load(str(tmp_path / "half" / graph["file"]), load_external_data=False)
        names = [n.name for n in model.graph.node]
        assert all(names) and len(set(names)) == len(names) and model.doc_string
        types = {v.type.tensor_type.elem_type for v in model.graph.value_info}
        assert onnx.TensorProto.FLOAT16 in types, "inner tensors still have their shapes"


@pytest.mark.parametrize("name", ["encode_full", "decode_full"])
def test_only_what_carries_the_picture_stays_fp32(name: str) -> None:
    model = onnx.shape_inference.infer_shapes(to_half(load_graph(SHIPPED / f"{name}.onnx")))
    graph = model.graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    types = {t.name: t.data_type for t in graph.initializer}
    exact = {
        n.input[1] for n in graph.node if n.op_type == "Conv" and types[n.input[1]] == onnx.TensorProto.FLOAT
    }
    ways = {
        "encode_full": ("primary.branch.analysis", "primary.branch.synthesis", "auxiliary.branch.analysis"),
        "decode_full": ("primary.branch.synthesis", "auxiliary.branch.synthesis"),
    }
    main = {"analysis": ("stem", "down", "head"), "synthesis": ("stem", "up.0", "head")}
    expected = {f"{way}.{part}.weight" for way in ways[name] for part in main[way.split(".")[-1]]}
    if "encode" in name:
        expected |= {w for w in types if ".hyper_analysis." in w and w.endswith("weight")}
    expected |= {w for w in types if (".mean.first." in w or ".mean.heads." in w) and w.endswith("weight")}
    assert exact == expected
    for node in graph.node:
        if node.op_type in ("GainQuantize", "GainDequantize", "BlendToImage"):
            known = [values[i] for i in node.input if i in values]
            assert len(known) >= 2 and onnx.TensorProto.FLOAT16 not in known
    assert onnx.TensorProto.FLOAT16 in values.values()


def test_convolutions_of_1x1_may_be_matrix_products(tmp_path) -> None:
    """For ONNX Runtime on a GPU: the same values, up to the order of sums."""
    codecs = []
    for name, convert in (
        ("convolutions", to_half),
        ("products", lambda model: conv1x1_as_matmul(to_half(model))),
    ):
        copy_bundle(SHIPPED, tmp_path / name, "fp16", convert)
        codecs.append(Codec(tmp_path / name, backend="onnxruntime"))
        graph = onnx.load(str(tmp_path / name / "encode_full.onnx")).graph
        sizes = {t.name: t.dims for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
        groups = {
            n.input[1]: [a.i for a in n.attribute if a.name == "group"]
            for n in graph.node
            if n.op_type == "Conv"
        }
        left = [
            w for w, dims in sizes.items() if list(dims[2:]) == [1, 1] and groups.get(w, [1]) in ([], [1])
        ]
        assert bool(left) == (name == "convolutions")
    picture = np.asarray(
        Image.effect_noise((150, 100), 60).convert("RGB").filter(ImageFilter.GaussianBlur(2))
    )
    for quality in (0, 50, 100):
        streams = [codec.encode(picture, quality) for codec in codecs]
        assert abs(len(streams[0]) - len(streams[1])) <= 0.01 * len(streams[0])
        shown = [codec.decode(streams[0]).astype(int) for codec in codecs]
        assert np.abs(shown[0] - shown[1]).max() <= 1


def test_a_bundle_is_never_replaced_by_its_own_copy(tmp_path) -> None:
    source = tmp_path / "source"
    copy_bundle(TINY, source, "fp32")
    with pytest.raises(ExportError, match="the bundle itself"):
        copy_bundle(source, source, "fp16")
    copy_bundle(source, tmp_path / "half", "fp16")
    with pytest.raises(ExportError, match="is an fp16 bundle"):
        copy_bundle(tmp_path / "half", tmp_path / "back", "fp32")
    assert (source / "weights.bin").read_bytes() == (TINY / "weights.bin").read_bytes()


@pytest.mark.parametrize("precision", ["half", "brain"])
def test_streams_of_either_precision_decode_under_the_other(precision, request, shipped, photos) -> None:
    """To the same symbols; PSNR falls by at most 0.05 dB at every quality, also where latents are largest."""
    half = request.getfixturevalue(precision)
    rng = np.random.default_rng(0)
    flat = np.asarray(Image.fromarray(photos[0][:256, :320]).filter(ImageFilter.GaussianBlur(24)))
    noise = rng.integers(0, 2, (128, 192, 3)).astype(np.uint8) * 255  # black or white: the largest latents
    for picture in (*(p[:256, :320] for p in photos), flat, noise):
        for quality in (0, 35, 70, 100):
            for writer, reader in ((shipped, half), (half, shipped)):
                stream = writer.encode(picture, quality)
                for mine, theirs in zip(
                    writer.symbols(stream).items(), reader.symbols(stream).items(), strict=True
                ):
                    np.testing.assert_array_equal(mine[1], theirs[1])
            stream = shipped.encode(picture, quality)
            for beta in (0.0, 1.0):
                exact, found = (psnr(picture, c.decode(stream, beta=beta)) for c in (shipped, half))
                assert found > exact - 0.05, (quality, beta)
            own = psnr(picture, half.decode(half.encode(picture, quality)))
            assert own > psnr(picture, shipped.decode(stream)) - 0.05, quality


def test_bf16_rounds_to_the_nearest_with_ties_to_even() -> None:
    bits = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0xBF80FFFF], np.uint32)
    expected = np.array([0x3F800000, 0x3F800000, 0x3F820000, 0x3F810000, 0xBF810000], np.uint32)
    assert np.array_equal(to_bf16(bits.view(np.float32)).view(np.uint32), expected)


def test_int8_has_at_most_255_values_of_a_weight_in_each_channel() -> None:
    model = load_graph(SHIPPED / "decode_people.onnx")
    before, after = (
        {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        for graph in (model.graph, rounded_to_int8(model).graph)
    )
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed and all(".synthesis." in n and ".head" not in n and ".up" not in n for n in changed)
    for name in changed:
        for channel, plain in zip(after[name], before[name], strict=True):
            step = np.abs(plain).max() / 127
            assert np.abs(channel - plain).max() <= 0.5001 * step
            assert len(np.unique(channel)) <= 255
