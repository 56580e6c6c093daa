"""A reader of streams that runs the trained PyTorch model: the reference that every backend must agree with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from export.from_bundle import load_model
from model.scale_network import ScaleNetwork
from model.transforms import unfold
from runtime import Codec
from runtime.bundle import Branch


class TorchBackend:
    """Decoder graphs of a bundle, computed by PyTorch."""

    name = "PyTorch"

    def __init__(self, bundle: Path) -> None:
        self.model = load_model(bundle)

    @torch.no_grad()
    def run(self, graph: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        given = {name: torch.from_numpy(array) for name, array in inputs.items()}
        base = self.model.primary.decode(given["z1"], given["y1"], given["base_level"])
        image = base.image
        if graph == "decode_full":
            assert self.model.auxiliary is not None
            residual = self.model.auxiliary.decode(
                given["z2"], given["y2"], given["aux_level"], given["slices"], base
            )
            image = image + (1 - given["beta"])[:, None, None, None] * residual.image
        pixels = (unfold(image).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return [(pixels.numpy() ^ np.uint8(0x80)).view(np.int8)]


class TorchReader(Codec):
    """`decode` and `symbols` of a Codec, with both the networks and the integer networks run by PyTorch."""

    def __init__(self, bundle: str | Path | None = None) -> None:
        super().__init__(bundle)
        self._backend = TorchBackend(self.bundle.path)
        model = self._backend.model
        self.bundle.primary = _with(self.bundle.primary, model.primary.scale_network)
        if self.bundle.auxiliary is not None and model.auxiliary is not None:
            self.bundle.auxiliary = _with(self.bundle.auxiliary, model.auxiliary.scale_network)


def _with(branch: Branch, network: ScaleNetwork) -> Branch:
    @torch.no_grad()
    def indexes(z: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(z)[None].float())[0].numpy().astype(np.uint8)

    return dataclasses.replace(branch, scale_network=indexes)  # type: ignore[arg-type]
