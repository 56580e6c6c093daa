"""The graphs of a bundle are torch modules over the trained parts; inputs and outputs have the file's names.

encode_base: pixels, base_level -> z1, y1            decode_base: z1, y1, base_level -> pixels
encode_full: pixels, base_level, aux_level -> z1, y1, z2, y2
decode_full: z1, y1, z2, y2, base_level, aux_level, slices, beta -> pixels
decode_people: z1, y1, z2, y2, base_level, aux_level, slices -> pixels, as decode_full makes them at beta = 0

The steps of encode_full as graphs of their own, so that a search for a rate repeats the cheap ones alone:
analyse: pixels -> a1                                code_base: a1, base_level -> z1, y1, c1
refine: pixels, c1 -> a2                             code_aux: a2, c1, aux_level -> z2, y2

y1, y2: residual symbols int32 [N, C, H/16, W/16]; z: int32 [N, Cz, H/64, W/64]; slices int32 [N]: how many
auxiliary slices were received; levels and beta float32 [N]. a1, a2: latents before the gain, c1: the primary's as its
decoder has it, float32 [N, C, H/16, W/16].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.operators import blend_to_image, gain_dequantize, gain_quantize, image_to_tensor
from model import AuxiliaryBranch, Decoded, PrimaryBranch, RateDistortionCognition
from model.config import HYPER_LIMIT, QUADTREE_PASSES
from model.gain import interpolate


class BranchGraph(nn.Module):
    """Wraps a trained branch so that its encoder's gain table is an initialiser (attributes of plugins get lost)."""

    gains: Tensor

    def __init__(self, branch: PrimaryBranch | AuxiliaryBranch) -> None:
        super().__init__()
        self.branch = branch
        self.register_buffer("gains", branch.gain.gains().detach())

    def hyper_analysis(self, y: Tensor, level: Tensor) -> Tensor:
        """Return z, integer-valued float. It sees the gained latent, so no quality enters the scale network."""
        z = self.branch.hyper_analysis(y * interpolate(self.gains, level))
        return z.round().clamp(-HYPER_LIMIT, HYPER_LIMIT)

    def closed_loop(self, y: Tensor, features: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the symbols (int32) of all passes, and the latent that the decoder will have (still gained)."""
        decoded, symbols = torch.zeros_like(y), torch.zeros(y.shape, dtype=torch.int32)
        for index in range(QUADTREE_PASSES):
            mean = self.branch.mean(index, features, decoded)
            part, decoded = gain_quantize(y, mean, self.gains, level, decoded, index)
            symbols = symbols + part
        return symbols, decoded


class PrimaryGraph(BranchGraph):
    branch: PrimaryBranch

    def encode(self, folded: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return z (float), the symbols (int32) and the decoded latent (still gained)."""
        return self.code(self.branch.analysis(folded), level)

    def code(self, y: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Do what is left of `encode` where the latent is known."""
        z = self.hyper_analysis(y, level)
        return z, *self.closed_loop(y, self.branch.features(z), level)

    def decode(self, z: Tensor, symbols: Tensor, level: Tensor) -> Decoded:
        return self.branch.decode(z, symbols, level, gain_dequantize)


class AuxiliaryGraph(BranchGraph):
    branch: AuxiliaryBranch

    def encode(self, folded: Tensor, level: Tensor, base: Decoded) -> tuple[Tensor, Tensor]:
        """Return z (float) and the symbols (int32)."""
        return self.code(self.branch.refinement(folded, base), level, base)

    def code(self, y: Tensor, level: Tensor, base: Decoded) -> tuple[Tensor, Tensor]:
        """Do what is left of `encode` where the latent is known."""
        z = self.hyper_analysis(y, level)
        return z, self.closed_loop(y, self.branch.features(z, base), level)[0]

    def decode(self, z: Tensor, symbols: Tensor, level: Tensor, slices: Tensor, base: Decoded) -> Decoded:
        return self.branch.decode(z, symbols, level, slices, base, gain_dequantize)

    def decode_picture(
        self, z: Tensor, symbols: Tensor, level: Tensor, slices: Tensor, base: Decoded
    ) -> Tensor:
        return self.branch.decode_picture(z, symbols, level, slices, base, gain_dequantize)


class _Graph(nn.Module):
    outputs: tuple[str, ...]

    def __init__(self, model: RateDistortionCognition) -> None:
        super().__init__()
        self.primary = PrimaryGraph(model.primary)
        if model.auxiliary is not None:
            self.auxiliary = AuxiliaryGraph(model.auxiliary)


class EncodeBase(_Graph):
    """Codes a picture for machines: hyper-latents z1 and residual symbols y1 of the primary branch."""

    outputs = ("z1", "y1")

    def forward(self, pixels: Tensor, base_level: Tensor) -> tuple[Tensor, ...]:
        z, symbols, _ = self.primary.encode(image_to_tensor(pixels), base_level)
        return z.to(torch.int32), symbols


class DecodeBase(_Graph):
    """Makes the picture for machines of what the primary branch coded."""

    outputs = ("pixels",)

    def forward(self, z1: Tensor, y1: Tensor, base_level: Tensor) -> tuple[Tensor, ...]:
        image = self.primary.decode(z1, y1, base_level).image
        return (blend_to_image(image, image, torch.ones_like(base_level)),)


class EncodeFull(_Graph):
    """Codes a picture with both branches; the auxiliary one (z2, y2) refines what the primary one (z1, y1) gives."""

    outputs = ("z1", "y1", "z2", "y2")

    def forward(self, pixels: Tensor, base_level: Tensor, aux_level: Tensor) -> tuple[Tensor, ...]:
        folded = image_to_tensor(pixels)
        z1, y1, decoded = self.primary.encode(folded, base_level)
        base = self.primary.branch.reconstruct(decoded, base_level, z1, y1)
        z2, y2 = self.auxiliary.encode(folded, aux_level, base)
        return z1.to(torch.int32), y1, z2.to(torch.int32), y2


class DecodeFull(_Graph):
    """Makes the picture x1 + (1 - beta) * r of what both branches coded, as far as slices were received."""

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
        residual = self.auxiliary.decode(z2, y2, aux_level, slices, base).image
        return (blend_to_image(base.image, residual, beta),)


class DecodePeople(_Graph):
    """Makes the picture for people, x1 + r = x2, of what both branches coded. x1 itself is not made."""

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
    ) -> tuple[Tensor, ...]:
        # The exporter leaves out what nothing depends on, here the primary's synthesis.
        base = self.primary.decode(z1, y1, base_level)
        image = self.auxiliary.decode_picture(z2, y2, aux_level, slices, base)
        return (blend_to_image(image, image, torch.ones_like(base_level)),)


class Analyse(_Graph):
    """Makes of a picture the latent of the primary branch, a1, before its gain; no level changes it."""

    outputs = ("a1",)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (self.primary.branch.analysis(image_to_tensor(pixels)),)


class CodeBase(_Graph):
    """Codes the latent a1 at a level: z1, y1, and c1, the latent that the decoder will have."""

    outputs = ("z1", "y1", "c1")

    def forward(self, a1: Tensor, base_level: Tensor) -> tuple[Tensor, ...]:
        z, symbols, decoded = self.primary.code(a1, base_level)
        return z.to(torch.int32), symbols, self.primary.branch.latent(decoded, symbols, base_level)


class Refine(_Graph):
    """Makes of a picture and c1 the latent of the auxiliary branch, a2, before its gain."""

    outputs = ("a2",)

    def forward(self, pixels: Tensor, c1: Tensor) -> tuple[Tensor, ...]:
        base = Decoded(self.primary.branch.synthesis(c1), c1, c1, c1)  # the symbols are not looked at
        return (self.auxiliary.branch.refinement(image_to_tensor(pixels), base),)


class CodeAux(_Graph):
    """Codes the latent a2 at a level: z2, y2."""

    outputs = ("z2", "y2")

    def forward(self, a2: Tensor, c1: Tensor, aux_level: Tensor) -> tuple[Tensor, ...]:
        z, symbols = self.auxiliary.code(
            a2, aux_level, Decoded(c1, c1, c1, c1)
        )  # the latent alone is looked at
        return z.to(torch.int32), symbols


GRAPHS: dict[str, type[_Graph]] = {
    "encode_base": EncodeBase,
    "decode_base": DecodeBase,
    "encode_full": EncodeFull,
    "decode_full": DecodeFull,
    "decode_people": DecodePeople,
    "analyse": Analyse,
    "code_base": CodeBase,
    "refine": Refine,
    "code_aux": CodeAux,
}
