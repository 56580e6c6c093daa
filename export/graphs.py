"""The graphs of a bundle, as torch modules over the trained parts; names of inputs and outputs as in the file.

encode_base: pixels, base_level -> z1, y1            decode_base: z1, y1, base_level -> pixels
encode_full: pixels, base_level, aux_level -> z1, y1, z2, y2
decode_full: z1, y1, z2, y2, base_level, aux_level, slices, beta -> pixels

y1, y2: residual symbols int32 [N, C, H/16, W/16]; z: int32 [N, Cz, H/64, W/64]; slices int32 [N]: how many
auxiliary slices were received; levels and beta float32 [N].
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from export.operators import blend_to_image, gain_dequantize, gain_quantize, image_to_tensor
from model import AuxiliaryBranch, PrimaryBranch, RateDistortionCognition
from model.config import HYPER_LIMIT, QUADTREE_PASSES
from model.gain import interpolate


@dataclasses.dataclass
class Primary:
    """Everything the decoder also knows of the primary branch."""

    z: Tensor  # float, integer-valued
    symbols: Tensor  # int32
    latent: Tensor  # after the inverse gain
    image: Tensor | None  # folded x1


class _BranchGraph(nn.Module):
    """A trained branch with its gain tables as initialisers (attributes of plugins get lost, tensors do not)."""

    gains: Tensor
    inverse_gains: Tensor

    def __init__(self, branch: PrimaryBranch | AuxiliaryBranch) -> None:
        super().__init__()
        self.branch = branch
        self.register_buffer("gains", branch.gain.gains().detach())
        self.register_buffer("inverse_gains", branch.gain.inverse_gains().detach())

    def hyper_analysis(self, y: Tensor, level: Tensor) -> Tensor:
        """z, integer-valued float: it sees the gained latent, so no quality enters the scale network."""
        z = self.branch.hyper_analysis(y * interpolate(self.gains, level))
        return z.round().clamp(-HYPER_LIMIT, HYPER_LIMIT)


class PrimaryGraph(_BranchGraph):
    branch: PrimaryBranch

    def encode(self, folded: Tensor, level: Tensor, synthesise: bool) -> Primary:
        b = self.branch
        y = b.analysis(folded)
        z = self.hyper_analysis(y, level)
        features = b.hyper_synthesis(z)
        decoded, parts = torch.zeros_like(y), []
        for index in range(QUADTREE_PASSES):
            mean = b.mean(index, features, decoded)
            part, decoded = gain_quantize(y, mean, self.gains, level, decoded, index)
            parts.append(part)
        symbols = parts[0] + parts[1] + parts[2] + parts[3]
        return self._finish(z, symbols, decoded, level, synthesise)

    def decode(self, z: Tensor, symbols: Tensor, level: Tensor) -> Primary:
        b = self.branch
        z = z.float()
        features = b.hyper_synthesis(z)
        decoded = torch.zeros(symbols.shape, dtype=torch.float32)
        for index in range(QUADTREE_PASSES):
            mean = b.mean(index, features, decoded)
            decoded = gain_dequantize(symbols, mean, decoded, index)
        return self._finish(z, symbols, decoded, level, True)

    def _finish(self, z: Tensor, symbols: Tensor, decoded: Tensor, level: Tensor, synthesise: bool) -> Primary:
        latent = decoded * interpolate(self.inverse_gains, level)
        return Primary(z, symbols, latent, self.branch.synthesis(latent) if synthesise else None)


class AuxiliaryGraph(_BranchGraph):
    branch: AuxiliaryBranch

    def __init__(self, branch: AuxiliaryBranch) -> None:
        super().__init__(branch)
        width = branch.config.latent // branch.config.slices
        for s in range(branch.config.slices):
            self.register_buffer(f"gains{s}", self.gains[:, s * width : (s + 1) * width].clone())

    def _condition(self, base: Primary) -> Tensor:
        return self.branch.condition(base.latent * self.branch.primary_scale)

    def encode(self, folded: Tensor, level: Tensor, base: Primary) -> tuple[Tensor, Tensor]:
        """z2 (float) and symbols (int32)."""
        b = self.branch
        assert base.image is not None
        y = b.analysis(torch.cat([folded, base.image], 1))
        z = self.hyper_analysis(y, level)
        features = torch.cat([b.hyper_synthesis(z), self._condition(base)], 1)
        decoded, parts = [], []
        for s, y_s in enumerate(y.chunk(b.config.slices, 1)):
            mean = b.mean(s, features, decoded)
            gains = getattr(self, f"gains{s}")
            part, value = gain_quantize(y_s, mean, gains, level, torch.zeros_like(y_s), -1)
            parts.append(part)
            decoded.append(value)
        return z, torch.cat(parts, 1)

    def decode(self, z: Tensor, symbols: Tensor, level: Tensor, slices: Tensor, base: Primary) -> Tensor:
        """Residual r, folded."""
        b = self.branch
        condition = self._condition(base)
        features = torch.cat([b.hyper_synthesis(z.float()), condition], 1)
        decoded: list[Tensor] = []
        for s, part in enumerate(symbols.chunk(b.config.slices, 1)):
            present = (slices > s).to(torch.int32)[:, None, None, None]
            mean = b.mean(s, features, decoded)
            decoded.append(gain_dequantize(part * present, mean, torch.zeros_like(mean), -1))
        latent = torch.cat(decoded, 1) * interpolate(self.inverse_gains, level)
        return b.synthesis(latent, condition, base.image)


class _Graph(nn.Module):
    def __init__(self, model: RateDistortionCognition) -> None:
        super().__init__()
        self.primary = PrimaryGraph(model.primary)
        if model.auxiliary is not None:
            self.auxiliary = AuxiliaryGraph(model.auxiliary)


class EncodeBase(_Graph):
    outputs = ("z1", "y1")

    def forward(self, pixels: Tensor, base_level: Tensor) -> tuple[Tensor, ...]:
        base = self.primary.encode(image_to_tensor(pixels), base_level, False)
        return base.z.to(torch.int32), base.symbols


class DecodeBase(_Graph):
    outputs = ("pixels",)

    def forward(self, z1: Tensor, y1: Tensor, base_level: Tensor) -> tuple[Tensor, ...]:
        image = self.primary.decode(z1, y1, base_level).image
        return (blend_to_image(image, image, torch.ones_like(base_level)),)


class EncodeFull(_Graph):
    outputs = ("z1", "y1", "z2", "y2")

    def forward(self, pixels: Tensor, base_level: Tensor, aux_level: Tensor) -> tuple[Tensor, ...]:
        folded = image_to_tensor(pixels)
        base = self.primary.encode(folded, base_level, True)
        z, symbols = self.auxiliary.encode(folded, aux_level, base)
        return base.z.to(torch.int32), base.symbols, z.to(torch.int32), symbols


class DecodeFull(_Graph):
    outputs = ("pixels",)

    def forward(
        self,
        z1: Tensor,
        y1: Tensor,
        z2: Tensor,
        y2: Tensor,
        base_level: Tensor,
        aux_level: Tensor,
        slices: Tensor,
        beta: Tensor,
    ) -> tuple[Tensor, ...]:
        base = self.primary.decode(z1, y1, base_level)
        residual = self.auxiliary.decode(z2, y2, aux_level, slices, base)
        return (blend_to_image(base.image, residual, beta),)


GRAPHS: dict[str, type[_Graph]] = {
    "encode_base": EncodeBase,
    "decode_base": DecodeBase,
    "encode_full": EncodeFull,
    "decode_full": DecodeFull,
}
