"""Checkpoints: one safetensors file whose metadata carries the configuration as JSON. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from model.branches import RateDistortionCognition
from model.config import ModelConfig


class CheckpointError(ValueError):
    """The file is not a checkpoint of this project, or does not fit its own configuration."""


def save(path: str | Path, model: RateDistortionCognition, info: dict[str, Any] | None = None) -> None:
    """Write atomically (a crash leaves the old file). `info`: JSON-ready notes (steps, data, command)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"config": json.dumps(model.config.to_dict()), "info": json.dumps(info or {})}
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    partial = path.with_suffix(path.suffix + ".partial")
    save_file(tensors, str(partial), metadata=metadata)
    os.replace(partial, path)


def read_info(path: str | Path) -> dict[str, Any]:
    """The notes given to `save`."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return json.loads((file.metadata() or {}).get("info", "{}"))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors checkpoint: {error}") from error


def load(path: str | Path, device: str | torch.device = "cpu") -> RateDistortionCognition:
    """Read a model; raises FileNotFoundError or CheckpointError."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of this project: {error}") from error
    model = RateDistortionCognition(config).to(device)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its configuration: {error}") from error
    return model
