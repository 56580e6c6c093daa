"""The trained PyTorch model is a backend and a reader of streams here: all others must agree with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from export.compare import STEPS
from export.from_bundle import load_model
from model import RateDistortionCognition
from model.branches import Decoded
from model.context import pass_of
from model.scale_network import ScaleNetwork
from model.transforms import to_folded, to_picture
from rdc_codec import Codec
from rdc_codec.backends.base import BackendInfo, Inputs
from rdc_codec.bundle import Branch, Bundle
from rdc_codec.native import ScaleState


class TorchBackend:
    """Runs the graphs of a bundle in PyTorch: `Codec(bundle, backend=TorchBackend(load_model(bundle)))`."""

    info = BackendInfo("torch", "cpu", "a reference")
    parallel = False

    def __init__(self, model: RateDistortionCognition) -> None:
        self.model = model.eval()

    @torch.no_grad()
    def run(self, graph: str, inputs: Inputs, cuda_stream: int | None = None) -> list[np.ndarray]:
        """Compute the outputs of a graph, in the order of the manifest; `stream` has no meaning on a CPU."""
        given = {name: torch.tensor(array) for name, array in inputs.items()}
        if graph in STEPS:
            results = self._step(graph, given)
        else:
            results = self._encode(given) if graph.startswith("encode") else self._decode(given)
        return [r.numpy() for r in results]

    def _encode(self, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        folded = _folded(given["pixels"])
        base = self.model.primary(folded, given["base_level"])
        outputs = [base]
        if "aux_level" in given:
            assert self.model.auxiliary is not None
            outputs.append(self.model.auxiliary(folded, given["aux_level"], base))
        return [symbols.to(torch.int32) for out in outputs for symbols in (out.z, out.symbols)]

    def _step(self, graph: str, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Do a step of what `_encode` does."""
        primary, auxiliary = self.model.primary, self.model.auxiliary
        if graph == "code_base":
            base = primary.code(given["a1"], given["base_level"])
            return [base.z.to(torch.int32), base.symbols.to(torch.int32), base.latent]
        if graph == "analyse":
            return [primary.analysis(_folded(given["pixels"]))]
        assert auxiliary is not None
        c1 = given["c1"]
        # Symbols of the primary branch only count for the bits, which are not asked for.
        z1 = torch.zeros(len(c1), primary.config.hyper, c1.shape[2] // 4, c1.shape[3] // 4)
        known = Decoded(primary.synthesis(c1), c1, z1, torch.zeros_like(c1))
        if graph == "refine":
            return [auxiliary.refinement(_folded(given["pixels"]), known)]
        coded = auxiliary.code(given["a2"], given["aux_level"], known)
        return [coded.z.to(torch.int32), coded.symbols.to(torch.int32)]

    def _decode(self, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        base = self.model.primary.decode(given["z1"], given["y1"], given["base_level"])
        image = base.image
        if "aux_level" in given:
            assert self.model.auxiliary is not None
            z, symbols, level, slices = (given[name] for name in ("z2", "y2", "aux_level", "slices"))
            if "beta" in given:
                residual = self.model.auxiliary.decode(z, symbols, level, slices, base)
                image = image + (1 - given["beta"])[:, None, None, None] * residual.image
            else:
                image = self.model.auxiliary.decode_picture(z, symbols, level, slices, base)
        return [(to_picture(image).int() - 128).to(torch.int8)]


def _folded(pixels: torch.Tensor) -> torch.Tensor:
    return to_folded((pixels.int() + 128).to(torch.uint8))


def torch_reader(path: str | Path | None = None) -> Codec:
    """Make a codec whose networks and integer networks are run by PyTorch; the entropy coder stays the native one."""
    bundle = Bundle(path)
    model = load_model(bundle.path)
    bundle.primary = _with_network(bundle.primary, model.primary.scale_network)
    if bundle.auxiliary is not None and model.auxiliary is not None:
        bundle.auxiliary = _with_network(bundle.auxiliary, model.auxiliary.scale_network)
    return Codec(bundle, backend=TorchBackend(model))


class _TorchState:
    """Stands in for native.ScaleState, and computes it by the trainer's integer network."""

    def __init__(self, network: ScaleNetwork, z: np.ndarray, other: np.ndarray | None) -> None:
        self.network, self.z = network, torch.from_numpy(z)[None].float()
        self.other = None if other is None else torch.from_numpy(other)[None].float()
        self.symbols = np.zeros((network.latent, 4 * z.shape[1], 4 * z.shape[2]), np.int16)
        self._passes = pass_of(torch.from_numpy(self.symbols)[None])[0].numpy()
        self._pass = 0

    @torch.no_grad()
    def indexes(self) -> np.ndarray:
        found = self.network(self.z, torch.from_numpy(self.symbols)[None].float(), self.other)
        return found[0].numpy().astype(np.uint8)[self._passes == self._pass]

    def add(self, symbols: np.ndarray) -> None:
        self.symbols[self._passes == self._pass] = symbols
        self._pass += 1


@dataclasses.dataclass(frozen=True)
class _TorchBranch(Branch):
    """Is a branch whose tables the trainer's integer network chooses."""

    network: ScaleNetwork

    def scale_state(
        self, z: np.ndarray, other: np.ndarray | None = None, keep: bool = True, threads: int = 1
    ) -> ScaleState:
        return _TorchState(self.network, z, other)  # type: ignore[return-value]


def _with_network(branch: Branch, network: ScaleNetwork) -> Branch:
    return _TorchBranch(**vars(branch), network=network)
