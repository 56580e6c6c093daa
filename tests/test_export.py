"""Export: `rdc` operations with bodies and plugin attributes, bundles that give the model back exactly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import SHIPPED, TINY, TINY_CHECKPOINT, run_operator
from onnx import TensorProto, helper, inliner

from export import from_bundle
from export.bundle_writer import WeightsFile, new_bundle, write_graph
from export.compare import STEPS
from export.errors import ExportError
from export.from_bundle import load_model
from export.function_bodies import DOMAIN, FUNCTIONS
from export.half_weights import keep_in_half
from export.to_half import conv1x1_as_matmul, to_half
from export.to_onnx import DEFAULT_MAP, chosen_quality_map, export_bundle
from export.to_onnx import main as to_onnx
from export.verify import verify
from model import checkpoint
from model.context import pass_of
from model.gain import interpolate
from model.tables import parsing_config, picture_identity, tables_of
from model.transforms import fold, unfold
from rdc_codec import Codec
from rdc_codec.backends.typed_graphs import load_graph
from rdc_codec.bundle import Bundle, identity

TWIN = Path(__file__).parents[1] / "benchmarks" / "twin"
FLOAT, INT8, INT32 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT32


def test_image_to_tensor_is_fold_of_the_scaled_picture() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (2, 16, 24, 3)).astype(np.uint8)
    (found,) = run_operator("ImageToTensor", {"pixels": (picture ^ 0x80).view(np.int8)}, ["y"], to=FLOAT)
    expected = fold(torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_bodies_serve_fp16_graphs(dtype: type) -> None:
    """One body for both: casts in, cast-like out."""
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    (folded,) = run_operator("ImageToTensor", {"pixels": (picture ^ 0x80).view(np.int8)}, ["y"], to=to)
    expected = fold(torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255).numpy()
    assert folded.dtype == dtype
    np.testing.assert_array_equal(folded, expected.astype(dtype))
    nothing, beta = np.zeros_like(folded), np.zeros(1, np.float32)
    (pixels,) = run_operator("BlendToImage", {"x1": folded, "r": nothing, "beta": beta}, ["p"])
    np.testing.assert_array_equal(pixels.view(np.uint8) ^ 0x80, picture)  # 11 bits hold 256 levels


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("index", [-1, 0, 1, 2, 3])
def test_gain_quantize_and_dequantize_are_two_ends_of_one_loop(index: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    y, mean = (rng.normal(0, s, (2, 8, 4, 6)).astype(dtype) for s in (30, 3))
    acc = rng.normal(0, 1, y.shape).astype(np.float32)
    gains = rng.uniform(0.1, 5, (3, 8)).astype(np.float32)
    level = np.array([0.25, 2.0], np.float32)
    inputs = {"y": y, "mean": mean, "gains": gains, "level": level, "acc": acc}
    symbols, decoded = run_operator("GainQuantize", inputs, ["s", "d"], **{"pass": index})
    gain = interpolate(torch.from_numpy(gains), torch.from_numpy(level)).numpy()
    mask = (pass_of(torch.zeros(1, 8, 4, 6)).numpy() == index) if index >= 0 else np.ones((1, 8, 4, 6), bool)
    expected = np.round(y.astype(np.float32) * gain - mean.astype(np.float32)) * mask
    assert symbols.dtype == np.int32 and (symbols != expected).mean() < 1e-3  # ties of exp()
    np.testing.assert_allclose(
        decoded, acc + mask * (symbols + mean.astype(np.float32)), rtol=1e-6, atol=1e-6
    )
    (again,) = run_operator(
        "GainDequantize", {"symbols": symbols, "mean": mean, "acc": acc}, ["d"], **{"pass": index}
    )
    np.testing.assert_array_equal(again, decoded)


def test_gain_quantize_clamps_and_gives_nan_a_meaning() -> None:
    y = np.zeros((1, 4, 1, 2), np.float32)
    y[0, :, 0, 0] = [np.inf, -np.inf, np.nan, 1e30]
    y[0, :2, 0, 1] = [2.5, 3.5]  # ties to even
    inputs = {
        "y": y,
        "mean": np.zeros_like(y),
        "gains": np.ones((2, 4), np.float32),
        "level": np.zeros(1, np.float32),
        "acc": np.zeros_like(y),
    }
    symbols, decoded = run_operator("GainQuantize", inputs, ["s", "d"], **{"pass": -1})
    assert symbols[0, :, 0, 0].tolist() == [2047, -2047, 0, 2047]
    assert symbols[0, :2, 0, 1].tolist() == [2, 4]
    assert np.isfinite(decoded).all()


def test_blend_to_image_clips_rounds_and_interleaves() -> None:
    rng = np.random.default_rng(2)
    x1, r = (rng.normal(m, 0.4, (2, 192, 2, 3)).astype(np.float32) for m in (0.5, 0))
    x1[0, :3, 0, 0] = [np.nan, np.inf, -np.inf]
    beta = np.array([0.25, 1.0], np.float32)
    (pixels,) = run_operator("BlendToImage", {"x1": x1, "r": r, "beta": beta}, ["p"])
    assert pixels.dtype == np.int8 and pixels.shape == (2, 16, 24, 3)
    blend = np.nan_to_num(x1 + (1 - beta[:, None, None, None]) * r, nan=0.0, posinf=1.0, neginf=0.0)
    expected = unfold(torch.from_numpy((blend.clip(0, 1) * np.float32(255)).round()))
    np.testing.assert_array_equal(
        pixels.view(np.uint8) ^ 0x80, expected.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    )


@pytest.mark.parametrize("bundle", [TINY, SHIPPED], ids=["tiny", "shipped"])
def test_every_rdc_node_has_a_body_and_plugin_attributes(bundle) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    newer = {"decode_people", *STEPS} if bundle == SHIPPED else set()  # the golden bundle is from before them
    older = {"encode_base", "decode_base", "encode_full", "decode_full"}
    assert set(manifest["graphs"]) == older | newer
    seen = set()
    for graph in manifest["graphs"].values():
        model = onnx.load(str(bundle / graph["file"]))
        onnx.checker.check_model(model, full_check=True)
        bodies = {f.name for f in model.functions}
        nodes = [n for n in model.graph.node if n.domain == DOMAIN]
        for node in nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            assert node.op_type in bodies
            assert attributes["plugin_namespace"] == b"rdc" and attributes["plugin_version"] == b"1"
        seen |= {n.op_type for n in nodes}
        values = (*model.graph.input, *model.graph.output)
        shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        described = graph["inputs"] + graph["outputs"]
        assert [(d["name"], d["shape"]) for d in described] == list(shapes.items())
        config = manifest["parsing"]
        expected = {"pixels": ["n", "64*rows", "64*columns", 3]}
        for number, branch in enumerate(b for b in ("primary", "auxiliary") if config[b]):
            expected[f"z{number + 1}"] = ["n", config[branch]["hyper"], "rows", "columns"]
            for kind in "yac":
                expected[f"{kind}{number + 1}"] = ["n", config[branch]["latent"], "4*rows", "4*columns"]
        assert all(d["shape"] == expected.get(d["name"], ["n"]) for d in described)
        types = dict.fromkeys(("base_level", "aux_level", "beta", "a1", "a2", "c1"), "float32")
        types["pixels"] = "int8"
        assert all(d["dtype"] == types.get(d["name"], "int32") for d in described)
        # Of the file: the loaded model has all weights in it, and 20 MB of them spell anything.
        assert b".py" not in (bundle / graph["file"]).read_bytes(), "source paths of the builder leaked"
    assert seen == set(FUNCTIONS)


# Inputs that a GPU's runtime has on the CPU.
SHAPES_OF = {"Reshape": {1}, "Expand": {1}, "Slice": {1, 2, 3, 4}}
# Of shapes, these are shapes again, where all they take are shapes or constants.
SHAPE_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Concat", "Squeeze", "Unsqueeze", "Cast", "Gather", "Reshape"}
# They wait on the CPU for a value.
WAITING = {"GatherND", "NonZero", "Range", "If", "Loop", "Scan", "Compress", "Unique"}


@pytest.mark.parametrize(
    "convert",
    [lambda m: m, to_half, lambda m: conv1x1_as_matmul(to_half(m))],
    ids=["fp32", "fp16", "products"],
)
@pytest.mark.parametrize("bundle", [TINY, SHIPPED], ids=["tiny", "shipped"])
def test_no_value_is_made_of_a_shape(bundle, convert: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    """What a GPU's runtime computes of shapes on the CPU is not copied to the GPU: only so CUDA graphs hold it all."""
    for step, graph in json.loads((bundle / "manifest.json").read_text())["graphs"].items():
        model = onnx.load(str(bundle / graph["file"]))
        flat = inliner.inline_local_functions(convert(model)).graph
        of_shapes: set[str] = set()
        constants = {t.name for t in flat.initializer}
        for node in flat.node:
            assert node.op_type not in WAITING
            known = [name in of_shapes or name in constants or not name for name in node.input]
            if all(known) and not of_shapes.intersection(node.input):
                constants |= set(node.output)  # the table of gains has a shape, too
            elif node.op_type == "Shape" or (all(known) and node.op_type in SHAPE_ARITHMETIC):
                of_shapes |= set(node.output)
            else:
                allowed = SHAPES_OF.get(node.op_type, set())
                for position, name in enumerate(node.input):
                    assert name not in of_shapes or position in allowed, node
        assert of_shapes or step in STEPS


def test_the_shipped_bundle_is_small() -> None:
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) <= 25e6


@pytest.mark.parametrize("bundle", [TINY, SHIPPED], ids=["tiny", "shipped"])
def test_a_bundle_gives_its_model_back_and_equals_it(bundle) -> None:
    verify(load_model(bundle), bundle)


def assert_the_kept_graphs(folder: Path, names: Iterable[str]) -> None:
    """Compare graphs with those of the kept bundle, where the same exporter made both."""
    made, kept = (json.loads((p / "manifest.json").read_text()) for p in (folder, TINY))
    if made["made_with"] != kept["made_with"]:  # a graph's metadata name a version
        return
    for name in names:
        a, b = (onnx.load(str(f / f"{name}.onnx"), load_external_data=False) for f in (folder, TINY))
        assert a.graph.SerializeToString(deterministic=True) == b.graph.SerializeToString(deterministic=True)


def test_identities_are_those_of_the_kept_bundle() -> None:
    """They name tensors and tables, never ONNX bytes: a newer exporter keeps streams readable."""
    kept = json.loads((TINY / "manifest.json").read_text())
    model = checkpoint.load(TINY_CHECKPOINT)
    for branch in (model.primary, model.auxiliary):
        assert branch is not None
        branch.scale_network.snap_to_integers()
    assert json.loads(json.dumps(parsing_config(model))) == kept["parsing"]
    assert identity(tables_of(model), kept["parsing"]).hex() == kept["parse_id"]
    assert picture_identity(model).hex() == kept["picture_id"]


def test_one_branch_alone_is_exported_as_with_the_other(tmp_path) -> None:
    """All branches are exported by a slow test: PyTorch takes ten seconds to trace a graph."""
    model = checkpoint.load(TINY_CHECKPOINT)
    model.auxiliary, model.config = None, replace(model.config, auxiliary=None)
    both = json.loads((TINY / "manifest.json").read_text())
    export_bundle(model, tmp_path / "one", "one", both["quality_map"])
    made = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert made["config"]["auxiliary"] is None and made["quality_map"] == both["quality_map"]
    assert not any("aux" in name or "full" in name for name in made["graphs"])
    assert_the_kept_graphs(tmp_path / "one", ["encode_base", "decode_base"])


@pytest.mark.slow
def test_exporting_again_gives_the_same_bundle(tmp_path, capsys) -> None:
    to_onnx(
        [str(TINY_CHECKPOINT), "-o", str(tmp_path / "again"), "--quality-map", str(TINY), "--name", "tiny"]
    )
    made, kept = (json.loads((p / "manifest.json").read_text()) for p in (tmp_path / "again", TINY))
    assert {k: made[k] for k in ("parse_id", "picture_id", "parsing")} == {
        k: kept[k] for k in ("parse_id", "picture_id", "parsing")
    }
    assert_the_kept_graphs(tmp_path / "again", kept["graphs"])
    said = capsys.readouterr().out
    assert "within the tolerance" in said and "from the bundle tiny" in said
    assert made["quality_map"] == kept["quality_map"] and "bundle tiny" in made["quality_map_from"]


def test_weights_kept_in_fp16_are_those_of_the_fp32_graph(tmp_path) -> None:
    """A graph with rounded weights, its other form with half the bytes, and back: the same graph, the same outputs."""
    inputs = {"pixels": np.arange(64 * 64 * 3, dtype=np.int32).reshape(1, 64, 64, 3).astype(np.int8)}
    inputs |= {name: np.full(1, 1.5, np.float32) for name in ("base_level", "aux_level")}
    wide = onnx.load(str(TINY / "encode_full.onnx"))
    taken = {node.input[1] for node in wide.graph.node if node.op_type == "Conv"}
    with pytest.raises(ExportError, match="not rounded"):
        keep_in_half(onnx.ModelProto.FromString(wide.SerializeToString()))
    for tensor in wide.graph.initializer:
        if tensor.name in taken:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    half = onnx.ModelProto.FromString(wide.SerializeToString())
    keep_in_half(half)
    onnx.checker.check_model(half, full_check=True)
    made = {}
    for name, model in {"wide": wide, "half": half}.items():
        weights = WeightsFile(tmp_path / f"{name}.bin")
        write_graph(model, tmp_path / f"{name}.onnx", weights)
        weights.close()
        session = onnxruntime.InferenceSession(
            str(tmp_path / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        made[name] = session.run(None, inputs)
    for a, b in zip(made["wide"], made["half"], strict=True):
        np.testing.assert_array_equal(a, b)
    sizes = [(tmp_path / f"{name}.bin").stat().st_size for name in ("wide", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again, first = (load_graph(tmp_path / f"{name}.onnx").graph for name in ("half", "wide"))
    assert list(again.node) == list(first.node)
    for a, b in zip(again.initializer, first.initializer, strict=True):
        assert (a.name, a.data_type) == (b.name, b.data_type)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b))


@pytest.mark.slow
def test_a_bundle_with_weights_in_fp16_is_of_the_rounded_model(tmp_path) -> None:
    model = checkpoint.load(TINY_CHECKPOINT)
    to_onnx(
        [str(TINY_CHECKPOINT), "-o", str(tmp_path / "half"), "--quality-map", str(TINY), "--half-weights"]
    )
    manifest = json.loads((tmp_path / "half" / "manifest.json").read_text())
    assert manifest["picture_id"] != json.loads((TINY / "manifest.json").read_text())["picture_id"]
    again = load_model(tmp_path / "half")  # whose identity is checked on the way
    for name, value in again.state_dict().items():
        if name.endswith("synthesis.head.weight"):
            torch.testing.assert_close(value, model.state_dict()[name].half().float(), rtol=0, atol=0)
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    streams = {}
    for backend in ("onnxruntime", "openvino"):
        codec = Codec(tmp_path / "half", backend=backend)
        streams[backend] = codec.encode(picture, 60)
        codec.decode(streams[backend])
    assert abs(len(streams["openvino"]) - len(streams["onnxruntime"])) <= 8


def test_a_shipped_model_becomes_a_checkpoint_to_train_on(tmp_path, capsys) -> None:
    from_bundle.main([str(TINY), "-o", str(tmp_path / "again.safetensors")])
    expected = json.loads((TINY / "manifest.json").read_text())["picture_id"]
    assert picture_identity(checkpoint.load(tmp_path / "again.safetensors")).hex() == expected
    assert expected[:8] in capsys.readouterr().out
    assert checkpoint.read_info(tmp_path / "again.safetensors")["picture_id"] == expected


def test_a_quality_map_is_of_a_file_an_earlier_bundle_or_the_default(tmp_path) -> None:
    mine = {"quality": [0, 100], "base_quality": [1, 2], "aux_quality": [3, 4]}
    (tmp_path / "map.json").write_text(json.dumps(mine))
    assert chosen_quality_map(tmp_path / "map.json", single=False) == (mine, "map.json")
    of_bundle, origin = chosen_quality_map(SHIPPED, single=False)
    assert len(of_bundle["quality"]) > 2 and "bundle light" in origin
    assert chosen_quality_map(None, single=False) == (DEFAULT_MAP, "the default")


DIMENSION = re.compile(r"(\d+\*)?(n|rows|columns)")


@pytest.mark.parametrize("bundle", [TINY, SHIPPED, TWIN], ids=["tiny", "shipped", "twin"])
def test_graphs_explain_themselves(bundle) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    for graph in manifest["graphs"].values():
        model = onnx.load(str(bundle / graph["file"]), load_external_data=False)
        names = [n.name for n in model.graph.node]
        assert all(names) and len(set(names)) == len(names)
        for node in model.graph.node:
            if node.op_type == "Conv":  # the weights' own names are paths of modules
                weight = node.name.partition("#")[0] + ".weight"
                assert node.input[1] in (
                    weight,
                    f"{weight}.float",
                )  # behind the cast of one that is kept in fp16
        if graph["file"].removesuffix(".onnx") not in STEPS:
            assert "primary.GainQuantize.0" in names or "primary.GainDequantize.0" in names
        facts = {p.key: p.value for p in model.metadata_props}
        assert facts["rdc.bundle"] == manifest["name"] and facts["rdc.version"]
        assert all(facts[f"rdc.{k}"] == manifest[k] for k in ("parse_id", "picture_id"))
        assert model.graph.doc_string and all(f.doc_string for f in model.functions)
        described = {v.name for v in (*model.graph.value_info, *model.graph.output)}
        assert {o for n in model.graph.node for o in n.output} <= described
        for value in model.graph.value_info:
            for dim in value.type.tensor_type.shape.dim:
                assert dim.dim_value or DIMENSION.fullmatch(dim.dim_param) or not dim.dim_param


def test_export_fails_loudly_when_a_graph_computes_something_else(tmp_path) -> None:
    model = load_model(TINY)
    with torch.no_grad():
        model.primary.synthesis.head.bias += 0.01
    with pytest.raises(ExportError, match="pixels differ"):
        verify(model, TINY)


def test_export_never_writes_over_what_is_not_a_bundle(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match="not a bundle"):
        to_onnx([str(TINY_CHECKPOINT), "-o", str(tmp_path)])
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(checkpoint.CheckpointError):
        to_onnx([str(tmp_path / "x.safetensors"), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path) -> None:
    (tmp_path / "manifest.json").write_text("{}")  # as a browser extension has
    (tmp_path / "work.txt").write_text("mine")
    with pytest.raises(ExportError):
        export_bundle(checkpoint.load(TINY_CHECKPOINT), tmp_path, "x", DEFAULT_MAP)
    assert (tmp_path / "work.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": [0, 100], "base_quality": [50, 20], "aux_quality": [0, 100]},
        {"quality": [0, 90], "base_quality": [0, 60], "aux_quality": [0, 100]},
        {"quality": [0, 100], "base_quality": [0, 60, 70], "aux_quality": [0, 100]},
        {"quality": [0, 100], "base_quality": ["low", "high"], "aux_quality": [0, 100]},
        {"quality": [0, 100], "base_quality": [0, 60]},
    ],
    ids=["falling", "short", "uneven", "words", "incomplete"],
)
def test_a_quality_map_that_the_runtime_refuses_ends_an_export_before_it_begins(tmp_path, wrong) -> None:
    with pytest.raises(ExportError, match="not a quality map"):
        export_bundle(checkpoint.load(TINY_CHECKPOINT), tmp_path / "made", "x", wrong)
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_fails_a_check_replaces_none(tmp_path) -> None:
    copytree(TINY, tmp_path / "made")
    with pytest.raises(ExportError, match="pixels differ"), new_bundle(tmp_path / "made") as made:
        copytree(TINY, made, dirs_exist_ok=True)
        raise ExportError("pixels differ")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    Bundle(tmp_path / "made").check_files(["weights.bin"])
