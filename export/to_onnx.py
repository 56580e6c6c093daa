"""Makes a bundle of a checkpoint: `python export/to_onnx.py CKPT [-o BUNDLE]`.

Writes manifest.json, the ONNX graphs with their shared weights and the integer tables, then runs every graph
in ONNX Runtime against PyTorch and refuses to keep a bundle that differs beyond the tolerance.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save as safetensors_bytes

if __package__ in (None, ""):  # run as a script from a clone
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.bundle_writer import LEFT_OVER, WeightsFile, new_bundle, write_graph, write_manifest
from export.errors import ExportError
from export.from_bundle import is_in_tables, load_model, parameter_name
from export.function_bodies import OPSET
from export.graphs import GRAPHS
from export.half_weights import keep_in_half, round_weights
from export.tracing import describe, export_graph
from export.verify import verify
from model import RateDistortionCognition, checkpoint
from model.config import HYPER_STRIDE, LATENT_STRIDE, PIXEL_STRIDE
from model.tables import parsing_config, picture_identity, tables_of
from rdc_codec import __version__
from rdc_codec.bundle import FORMAT, WEIGHTS, identity, quality_map_columns, read_quality_map
from rdc_codec.rates import Expected

# Quality 0-100 -> quality of each branch. Chosen on training photos; `--quality-map` replaces it.
DEFAULT_MAP = {"quality": [0.0, 100.0], "base_quality": [0.0, 60.0], "aux_quality": [0.0, 100.0]}
SINGLE_MAP = {"quality": [0.0, 100.0], "base_quality": [0.0, 100.0], "aux_quality": [0.0, 100.0]}


def example_inputs(model: RateDistortionCognition) -> dict[str, torch.Tensor]:
    """Make small inputs of every graph, by name (batch 2, 192x128 pixels)."""
    n, h, w = 2, 192, 128
    primary = model.config.primary
    deep, hyper = LATENT_STRIDE, HYPER_STRIDE
    inputs = {
        "pixels": torch.zeros(n, h, w, 3, dtype=torch.int8),
        "base_level": torch.full((n,), 1.5),
        "z1": torch.zeros(n, primary.hyper, h // hyper, w // hyper, dtype=torch.int32),
        "y1": torch.zeros(n, primary.latent, h // deep, w // deep, dtype=torch.int32),
        "a1": torch.zeros(n, primary.latent, h // deep, w // deep),
        "c1": torch.zeros(n, primary.latent, h // deep, w // deep),
    }
    if (auxiliary := model.config.auxiliary) is not None:
        inputs |= {
            "aux_level": torch.full((n,), 1.5),
            "z2": torch.zeros(n, auxiliary.hyper, h // hyper, w // hyper, dtype=torch.int32),
            "y2": torch.zeros(n, auxiliary.latent, h // deep, w // deep, dtype=torch.int32),
            "a2": torch.zeros(n, auxiliary.latent, h // deep, w // deep),
            "slices": torch.full((n,), auxiliary.slices, dtype=torch.int32),
            "beta": torch.zeros(n),
        }
    return inputs


def _dynamic_shapes() -> dict[str, dict[int, Any]]:
    n = torch.export.Dim("n", min=1, max=1024)
    rows = torch.export.Dim("rows", min=1, max=1 << 18)  # of hyper-latents: H / 64
    columns = torch.export.Dim("columns", min=1, max=1 << 18)
    step = HYPER_STRIDE // LATENT_STRIDE
    hyper = {0: n, 2: rows, 3: columns}
    latent = {0: n, 2: step * rows, 3: step * columns}
    batch = {0: n}
    return {
        "pixels": {0: n, 1: HYPER_STRIDE * rows, 2: HYPER_STRIDE * columns},
        "z1": hyper,
        "z2": hyper,
        "y1": latent,
        "y2": latent,
        "a1": latent,
        "a2": latent,
        "c1": latent,
        "base_level": batch,
        "aux_level": batch,
        "slices": batch,
        "beta": batch,
    }


def _borders(graph: onnx.GraphProto) -> dict[str, Any]:
    """Describe inputs and outputs as the manifest has them: name, type, shape."""

    def border(value: onnx.ValueInfoProto) -> dict[str, Any]:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        return {"name": value.name, "dtype": dtype, "shape": shape}

    return {"inputs": [border(v) for v in graph.input], "outputs": [border(v) for v in graph.output]}


GRAPH_INPUTS = {
    "encode_base": ("pixels", "base_level"),
    "decode_base": ("z1", "y1", "base_level"),
    "encode_full": ("pixels", "base_level", "aux_level"),
    "decode_full": ("z1", "y1", "z2", "y2", "base_level", "aux_level", "slices", "beta"),
    "decode_people": ("z1", "y1", "z2", "y2", "base_level", "aux_level", "slices"),
    "analyse": ("pixels",),
    "code_base": ("a1", "base_level"),
    "refine": ("pixels", "c1"),
    "code_aux": ("a2", "c1", "aux_level"),
}


def export_bundle(
    model: RateDistortionCognition,
    folder: Path,
    name: str,
    quality_map: dict[str, list[float]],
    quality_map_from: str | None = None,
    half_weights: bool = False,
    version: str = "1",
) -> None:
    """Write a bundle to `folder` (replaced as a whole, only after every check passed).

    quality_map_from: where the map comes from; the manifest says it. half_weights: round the weights of convolutions to
    fp16 and keep them so, which is another model, of another identity. Raises ExportError when a graph in ONNX Runtime
    differs from PyTorch, when the runtime would refuse the map, or when `folder` holds something else than a bundle.
    """
    try:  # before minutes of tracing, not after them
        quality_map_columns(quality_map)
        Expected.of_map(quality_map)
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"not a quality map: {error}") from error
    model = copy.deepcopy(model).eval().cpu()
    if half_weights:
        round_weights(model)
    for branch in (model.primary, model.auxiliary):
        if branch is not None:
            branch.scale_network.snap_to_integers()  # the tables hold it completely then
    with new_bundle(folder) as made:
        arrays, parsing = tables_of(model), parsing_config(model)
        identities = {
            "parse_id": identity(arrays, parsing).hex(),
            "picture_id": picture_identity(model).hex(),
        }
        facts = {"bundle": name, "version": __version__} | identities
        graphs, carried = _write_graphs(model, made, facts, half_weights)
        left_over = {
            k: v.contiguous()
            for k, v in model.state_dict().items()
            if k not in carried and not is_in_tables(k)
        }
        (made / LEFT_OVER).write_bytes(safetensors_bytes(left_over))
        np.savez_compressed(made / "tables.npz", **arrays)
        manifest = {
            "format": FORMAT,
            "name": name,
            "version": version,
            "made_with": {m.__name__: m.__version__ for m in (torch, onnx, onnxruntime)} | {"opset": OPSET},
            **identities,
            "strides": {"pixels": PIXEL_STRIDE, "latent": LATENT_STRIDE, "hyper": HYPER_STRIDE},
            "parsing": parsing,
            "context": {"primary": "quadtree, 4 passes", "auxiliary": "quadtree, a slice for each pass"},
            "quality_map": quality_map,
            "quality_map_from": quality_map_from or "the call",
            "config": model.config.to_dict(),
            "graphs": graphs,
        }
        write_manifest(made, manifest)
        verify(load_model(made), made)  # loads it as the runtime does, too


def _write_graphs(
    model: RateDistortionCognition, folder: Path, facts: dict[str, str], half_weights: bool
) -> tuple[dict[str, Any], set[str]]:
    """Write the graphs and their weights; return what the manifest says of them, and the parameters they carry."""
    weights = WeightsFile(folder / WEIGHTS)
    inputs, shapes = example_inputs(model), _dynamic_shapes()
    graphs: dict[str, Any] = {}
    carried: set[str] = set()
    for graph, build in GRAPHS.items():
        names = GRAPH_INPUTS[graph]
        if {"aux_level", "c1"} & {*names} and model.auxiliary is None:
            continue
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = export_graph(build(model), {k: inputs[k] for k in names}, build.outputs, shapes)
        describe(exported, str(build.__doc__), {f"rdc.{k}": v for k, v in facts.items()})
        carried |= {parameter_name(tensor.name) for tensor in exported.graph.initializer}
        if half_weights:
            keep_in_half(exported)
        graphs[graph] = {"file": f"{graph}.onnx"} | _borders(exported.graph)
        write_graph(exported, folder / f"{graph}.onnx", weights)
    weights.close()
    return graphs, carried


def chosen_quality_map(path: Path | None, single: bool) -> tuple[dict[str, list[float]], str]:
    """Return a quality map and where it is from: a JSON file, an earlier bundle, or (no path) the default."""
    if path is None:
        return (SINGLE_MAP if single else DEFAULT_MAP), "the default"
    return read_quality_map(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", help="safetensors checkpoint of stage 1 or 2")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder of the bundle (default: CKPT with suffix .bundle)"
    )
    parser.add_argument("--name", help="name in the manifest (default: the folder's)")
    parser.add_argument(
        "--bundle-version",
        default="1",
        help="version in the manifest, another one for each model that is trained (default: 1)",
    )
    parser.add_argument(
        "--quality-map",
        type=Path,
        help="JSON with quality, base_quality, aux_quality columns, or an earlier bundle to take them of\n"
        "(default: a plain map, which no one tuned for this model)",
    )
    parser.add_argument(
        "--half-weights",
        action="store_true",
        help="round the weights of convolutions to fp16: half the size; what computes stays fp32",
    )
    args = parser.parse_args(argv)
    folder = args.output or Path(args.checkpoint).with_suffix(".bundle")
    model = checkpoint.load(args.checkpoint)
    quality_map, origin = chosen_quality_map(args.quality_map, single=model.auxiliary is None)
    export_bundle(
        model, folder, args.name or folder.name, quality_map, origin, args.half_weights, args.bundle_version
    )
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, every graph equal to PyTorch within the tolerance")
    print(f"quality map: {len(quality_map['quality'])} rows, from {origin}")


if __name__ == "__main__":
    main()
