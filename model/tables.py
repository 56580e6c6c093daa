"""Integer tables of a model: CDFs of residual symbols and hyper-latents, integer scale networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from model import AuxiliaryBranch, PrimaryBranch, RateDistortionCognition
from model.cdf import PRECISION, pmf_tables, scale_tables, table_sigmas
from model.config import HYPER_LIMIT, SCALE_TABLES, SIGMA_HIGH, SIGMA_LOW
from model.context import PASS_ORDER
from model.scale_network import IntegerLayer
from rdc_codec.bundle import identity


def _add(
    arrays: dict[str, np.ndarray], prefix: str, tables: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    for name, array in zip(("cdf", "sizes", "minimum"), tables, strict=True):
        arrays[f"{prefix}_{name}"] = array
    arrays[f"{prefix}_precision"] = np.array(PRECISION, np.int32)


def _trimmed(pmf: np.ndarray, limit: int) -> tuple[int, np.ndarray]:
    """The part of a distribution over -limit..limit that deserves table entries; the rest is escaped."""
    worth = np.flatnonzero(pmf >= 0.5 / (1 << PRECISION))
    if not len(worth):
        raise ValueError(f"a hyper-latent's density has no mass within +-{limit}: the training diverged")
    low, high = min(worth[0], limit), max(worth[-1], limit)
    return int(low) - limit, pmf[low : high + 1]


def _add_layer(arrays: dict[str, np.ndarray], name: str, layer: IntegerLayer) -> None:
    arrays[f"{name}_weight"] = layer.weight
    arrays[f"{name}_bias"] = layer.bias
    arrays[f"{name}_shift"] = layer.shift
    arrays[f"{name}_clip"] = np.array(layer.clip, np.int32)


def _branch(arrays: dict[str, np.ndarray], prefix: str, branch: PrimaryBranch | AuxiliaryBranch) -> None:
    pmf = branch.hyper_rate.pmf(HYPER_LIMIT).cpu().numpy().astype(np.float64)
    _add(arrays, f"{prefix}_hyper", pmf_tables([_trimmed(row, HYPER_LIMIT) for row in pmf]))
    shares = branch.latent_rate.gaussian_shares().detach().cpu().numpy().astype(np.float64)
    sigmas = table_sigmas(SCALE_TABLES, SIGMA_LOW, SIGMA_HIGH)
    _add(arrays, f"{prefix}_latent", scale_tables(sigmas, shares))
    for k, layer in enumerate(branch.scale_network.export()):
        _add_layer(arrays, f"{prefix}_scale{k}", layer)
    neighbours, heads = branch.scale_network.export_context()
    _add_layer(arrays, f"{prefix}_neighbours", neighbours)
    _add_layer(arrays, f"{prefix}_heads", heads)


def picture_identity(model: RateDistortionCognition) -> bytes:
    """SHA-256 of all trained tensors and the configuration: never of ONNX bytes, which versions change."""
    tensors = {k: v.detach().cpu().numpy() for k, v in model.state_dict().items()}
    return identity(tensors, model.config.to_dict())


def tables_of(model: RateDistortionCognition) -> dict[str, np.ndarray]:
    """Arrays of `tables.npz`."""
    arrays: dict[str, np.ndarray] = {}
    _branch(arrays, "primary", model.primary)
    if model.auxiliary is not None:
        _branch(arrays, "auxiliary", model.auxiliary)
    return arrays


def parsing_config(model: RateDistortionCognition) -> dict[str, Any]:
    """What else parsing depends on, as the manifest has it; part of the parse identity."""

    def describe(branch: PrimaryBranch | AuxiliaryBranch) -> dict[str, Any]:
        config = branch.config
        return {
            "latent": config.latent,
            "hyper": config.hyper,
            "slices": config.slices,
            "pass_order": PASS_ORDER,
            "levels": model.config.levels,
            "scale_layers": len(branch.scale_network.layers),
        }

    auxiliary = None if model.auxiliary is None else describe(model.auxiliary)
    return {"primary": describe(model.primary), "auxiliary": auxiliary}
