"""A reader of streams that runs the trained PyTorch model: the reference that every backend must agree with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from export.from_bundle import load_model
from model.context import pass_of
from model.scale_network import ScaleNetwork
from model.transforms import unfold
from rdc_codec import Codec
from rdc_codec.backends.base import BackendInfo, Inputs
from rdc_codec.bundle import Branch
from rdc_codec.native import ScaleState


class TorchBackend:
    """Decoder graphs of a bundle, computed by PyTorch."""

    info = BackendInfo("torch", "cpu", "a reference")
    parallel = False

    def __init__(self, bundle: Path) -> None:
        self.model = load_model(bundle)

    @torch.no_grad()
    def run(self, graph: str, inputs: Inputs, stream: int | None = None) -> list[np.ndarray]:
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
        self._backend = backend = TorchBackend(self.bundle.path)
        model = backend.model
        self.bundle.primary = _with(self.bundle.primary, model.primary.scale_network)
        if self.bundle.auxiliary is not None and model.auxiliary is not None:
            self.bundle.auxiliary = _with(self.bundle.auxiliary, model.auxiliary.scale_network)


class _TorchState:
    """native.ScaleState, computed by the trainer's integer network."""

    def __init__(self, network: ScaleNetwork, z: np.ndarray, other: np.ndarray | None) -> None:
        self.network, self.z = network, torch.from_numpy(z)[None].float()
        self.other = None if other is None else torch.from_numpy(other)[None].float()
        self.symbols = np.zeros((network.latent, 4 * z.shape[1], 4 * z.shape[2]), np.int32)
        self._passes = pass_of(torch.from_numpy(self.symbols)[None])[0].numpy()
        self._pass = 0

    @torch.no_grad()
    def indexes(self) -> np.ndarray:
        found = self.network(self.z, torch.from_numpy(self.symbols)[None].float(), self.other)
        return found[0].numpy().astype(np.uint8)[self._passes == self._pass]

    def add(self, symbols: np.ndarray) -> None:
        self.symbols[self._passes == self._pass] = symbols
        self._pass += 1


class _TorchBranch(Branch):
    network: ScaleNetwork

    def scale_state(self, z: np.ndarray, other: np.ndarray | None = None) -> ScaleState:
        return _TorchState(self.network, z, other)  # type: ignore[return-value]


def _with(branch: Branch, network: ScaleNetwork) -> Branch:
    replaced = _TorchBranch(**vars(branch))
    object.__setattr__(replaced, "network", network)  # frozen
    return replaced
