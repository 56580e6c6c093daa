"""Checkpoint -> bundle: `python export/to_onnx.py CKPT [-o BUNDLE]`.

Writes manifest.json, the ONNX graphs with their shared weights and the integer tables, then runs every graph
in ONNX Runtime against PyTorch and refuses to keep a bundle that differs beyond the tolerance.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
import tempfile
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

from export.from_bundle import LEFT_OVER, is_in_tables, load_model, parameter_name
from export.graphs import GRAPHS
from export.identity import picture_identity
from export.onnx_files import WeightsFile, export_graph, write_graph
from export.operators import OPSET
from export.verify import ExportError, verify
from model import RateDistortionCognition, checkpoint
from model.config import HYPER_STRIDE, LATENT_STRIDE, PIXEL_STRIDE
from model.tables import parsing_config, tables_of
from rdc_codec.bundle import FORMAT, Bundle, identity

# Quality 0-100 -> quality of each branch. Chosen on training photos; `--quality-map` replaces it.
DEFAULT_MAP = {"quality": [0.0, 100.0], "base_quality": [0.0, 60.0], "aux_quality": [0.0, 100.0]}
SINGLE_MAP = {"quality": [0.0, 100.0], "base_quality": [0.0, 100.0], "aux_quality": [0.0, 100.0]}
MANIFEST = "manifest.json"


def example_inputs(model: RateDistortionCognition) -> dict[str, torch.Tensor]:
    """Small inputs of every graph, by name (batch 2, 192x128 pixels)."""
    n, h, w = 2, 192, 128
    primary = model.config.primary
    deep, hyper = LATENT_STRIDE, HYPER_STRIDE
    inputs = {
        "pixels": torch.zeros(n, h, w, 3, dtype=torch.int8),
        "base_level": torch.full((n,), 1.5),
        "z1": torch.zeros(n, primary.hyper, h // hyper, w // hyper, dtype=torch.int32),
        "y1": torch.zeros(n, primary.latent, h // deep, w // deep, dtype=torch.int32),
    }
    if (auxiliary := model.config.auxiliary) is not None:
        inputs |= {
            "aux_level": torch.full((n,), 1.5),
            "z2": torch.zeros(n, auxiliary.hyper, h // hyper, w // hyper, dtype=torch.int32),
            "y2": torch.zeros(n, auxiliary.latent, h // deep, w // deep, dtype=torch.int32),
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
        "base_level": batch,
        "aux_level": batch,
        "slices": batch,
        "beta": batch,
    }


def _borders(graph: onnx.GraphProto, shapes: dict[str, dict[int, Any]]) -> dict[str, Any]:
    """Inputs and outputs as the manifest has them: name, type, shape. Names the outputs' dimensions, too."""
    for value in graph.output:
        for axis, dim in shapes[value.name].items():
            value.type.tensor_type.shape.dim[axis].dim_param = dim.__name__

    def describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        return {"name": value.name, "dtype": dtype, "shape": shape}

    return {"inputs": [describe(v) for v in graph.input], "outputs": [describe(v) for v in graph.output]}


GRAPH_INPUTS = {
    "encode_base": ("pixels", "base_level"),
    "decode_base": ("z1", "y1", "base_level"),
    "encode_full": ("pixels", "base_level", "aux_level"),
    "decode_full": ("z1", "y1", "z2", "y2", "base_level", "aux_level", "slices", "beta"),
}


def replaceable(folder: Path) -> bool:
    """Missing, empty, or a bundle: a mistyped output folder must not cost somebody's work (browser extensions
    have a manifest.json too)."""
    if not folder.exists():
        return True
    bundle = all((folder / name).is_file() for name in (MANIFEST, "tables.npz", LEFT_OVER))
    return folder.is_dir() and (bundle or not any(folder.iterdir()))


def export_bundle(
    model: RateDistortionCognition, folder: Path, name: str, quality_map: dict[str, list[float]]
) -> None:
    """Write a bundle to `folder` (replaced as a whole, only after every check passed).

    Raises export.verify.ExportError when a graph in ONNX Runtime differs from PyTorch, or when `folder`
    holds something else than a bundle.
    """
    if not replaceable(folder):
        raise ExportError(f"{folder} exists and is not a bundle: nothing is written over it")
    model = copy.deepcopy(model).eval().cpu()
    for branch in (model.primary, model.auxiliary):
        if branch is not None:
            branch.scale_network.snap_to_integers()  # the tables hold it completely then
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "bundle"
        made.mkdir()
        weights = WeightsFile(made / "weights.bin")
        inputs, shapes = example_inputs(model), _dynamic_shapes()
        graphs: dict[str, Any] = {}
        carried: set[str] = set()
        for graph, build in GRAPHS.items():
            if graph.endswith("_full") and model.auxiliary is None:
                continue
            names = GRAPH_INPUTS[graph]
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                exported = export_graph(build(model), {k: inputs[k] for k in names}, build.outputs, shapes)
            carried |= {parameter_name(tensor.name) for tensor in exported.graph.initializer}
            graphs[graph] = {"file": f"{graph}.onnx"} | _borders(exported.graph, shapes)
            write_graph(exported, made / f"{graph}.onnx", weights)
        weights.close()
        left_over = {
            k: v.contiguous()
            for k, v in model.state_dict().items()
            if k not in carried and not is_in_tables(k)
        }
        (made / LEFT_OVER).write_bytes(safetensors_bytes(left_over))
        arrays, parsing = tables_of(model), parsing_config(model)
        np.savez_compressed(made / "tables.npz", **arrays)
        manifest = {
            "format": FORMAT,
            "name": name,
            "made_with": {m.__name__: m.__version__ for m in (torch, onnx, onnxruntime)} | {"opset": OPSET},
            "parse_id": identity(arrays, parsing).hex(),
            "picture_id": picture_identity(model).hex(),
            "strides": {"pixels": PIXEL_STRIDE, "latent": LATENT_STRIDE, "hyper": HYPER_STRIDE},
            "parsing": parsing,
            "context": {"primary": "quadtree, 4 passes", "auxiliary": "quadtree, a slice for each pass"},
            "quality_map": quality_map,
            "config": model.config.to_dict(),
            "graphs": graphs,
            "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(made.iterdir())},
        }
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        verify(load_model(made), made)
        Bundle(made)  # what the runtime would refuse (a bad quality map) is not written
        if folder.exists():
            folder.rename(Path(temporary) / "replaced")
        made.rename(folder)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", help="safetensors checkpoint of stage 1 or 2")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder of the bundle (default: CKPT with suffix .bundle)"
    )
    parser.add_argument("--name", help="name in the manifest (default: the folder's)")
    parser.add_argument(
        "--quality-map", type=Path, help="JSON with quality, base_quality, aux_quality columns"
    )
    args = parser.parse_args(argv)
    folder = args.output or Path(args.checkpoint).with_suffix(".bundle")
    model = checkpoint.load(args.checkpoint)
    default = SINGLE_MAP if model.auxiliary is None else DEFAULT_MAP
    quality_map = json.loads(args.quality_map.read_text()) if args.quality_map else default
    export_bundle(model, folder, args.name or folder.name, quality_map)
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, every graph equal to PyTorch within the tolerance")


if __name__ == "__main__":
    main()
