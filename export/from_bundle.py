"""Makes of a bundle the exact PyTorch model: `python -m export.from_bundle [BUNDLE] -o CKPT`.

It is for training a shipped model further (`training.stage1 --init CKPT`), and for checks of the runtime.

The graphs carry most trained tensors under their own names, the tables those of the integer networks (as integers: what
training had beyond them is snapped to them at export); `training.safetensors` in the bundle has the rest (densities of
hyper-latents and latents, gain tables). The picture identity is recomputed, so a model that comes back is the one
that was exported.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from onnx import numpy_helper
from safetensors.torch import load_file

if __package__ in (None, ""):  # run as a script from a clone
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.bundle_writer import LEFT_OVER
from model import ModelConfig, RateDistortionCognition, checkpoint
from model.tables import picture_identity
from rdc_codec.backends.typed_graphs import load_graph
from rdc_codec.bundle import DEFAULT


def parameter_name(initializer: str) -> str:
    """Return the name that a graph's initialiser has in the model's state: `primary.branch.x` is `primary.x`."""
    branch, _, rest = initializer.partition(".branch.")
    return f"{branch}.{rest}"


def is_in_tables(parameter: str) -> bool:
    """Tell whether a tensor is one of an integer network, which `tables.npz` has."""
    return ".scale_network." in parameter


def load_model(bundle: str | Path) -> RateDistortionCognition:
    """Return the trained model of a bundle. Raises ValueError if the bundle is not complete."""
    bundle = Path(bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    model = RateDistortionCognition(ModelConfig.from_dict(manifest["config"]))
    state = load_file(str(bundle / LEFT_OVER))
    wanted = model.state_dict()
    for graph in manifest["graphs"].values():
        for tensor in load_graph(bundle / graph["file"]).graph.initializer:
            if (name := parameter_name(tensor.name)) in wanted and name not in state:
                state[name] = torch.from_numpy(numpy_helper.to_array(tensor).copy())
    if missing := sorted(k for k in wanted if k not in state and not is_in_tables(k)):
        raise ValueError(f"{bundle} lacks {len(missing)} tensors, the first is {missing[0]}")
    model.load_state_dict(state, strict=False)
    with np.load(bundle / "tables.npz") as tables:
        for prefix, branch in (("primary", model.primary), ("auxiliary", model.auxiliary)):
            if branch is None:
                continue
            for name, layer in branch.scale_network.parts().items():
                weight, bias = (torch.from_numpy(tables[f"{prefix}_{name}_{k}"]) for k in ("weight", "bias"))
                layer.set_integers(weight, bias)
    if picture_identity(model).hex() != manifest["picture_id"]:
        raise ValueError(f"{bundle}: tensors are not those that picture_id names")
    return model.eval()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT, help="(default: the shipped one)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="safetensors checkpoint to write")
    args = parser.parse_args(argv)
    model = load_model(args.bundle)
    identity = picture_identity(model).hex()
    checkpoint.save(args.output, model, {"bundle": str(args.bundle), "picture_id": identity})
    print(f"{args.output}: the model with picture identity {identity[:8]}")


if __name__ == "__main__":
    main()
