"""The two branches: x -> x1 for machines, (x, x1) -> residual r for people, x_beta = x1 + (1 - beta) * r."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.config import HYPER_LIMIT, QUADTREE_PASSES, SYMBOL_LIMIT, BranchConfig, ModelConfig
from model.context import QuadtreeMean, SliceMean, pass_of
from model.gain import GainUnit
from model.layers import conv1x1, initialise
from model.likelihood import GaussianRate, HyperRate
from model.rounding import clamp_returning, round_ste
from model.scale_network import ScaleNetwork
from model.transforms import IMAGE_CHANNELS, Analysis, HyperAnalysis, HyperSynthesis, Synthesis


def level_lambdas(bounds: tuple[float, float], levels: int) -> Tensor:
    """Multipliers of the trained levels, float [levels], geometric between the bounds."""
    low, high = bounds
    return low * (high / low) ** (torch.arange(levels) / (levels - 1))


@dataclasses.dataclass
class Decoded:
    """What a decoder knows of one branch.

    image: folded x1 (primary) or residual r (auxiliary), [N, 192, H/8, W/8]. latent: y-hat after the
    inverse gain. z: hyper-latent symbols, integers as floats.
    """

    image: Tensor
    latent: Tensor
    z: Tensor


@dataclasses.dataclass
class BranchOutput(Decoded):
    """What one branch makes of a batch: what its decoder will know, and what that costs.

    bits: [N, slices + 1], hyper-latent first. symbols: the coded integers, as floats. indexes: table of
    every symbol.
    """

    bits: Tensor
    symbols: Tensor
    indexes: Tensor


# (symbols of all passes, mean, what is decoded so far, pass or -1 for all) -> decoded, this pass included
Dequantize = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def dequantize(symbols: Tensor, mean: Tensor, decoded: Tensor, index: int) -> Tensor:
    """The decoder's half of the closed loop; export puts a fused operation in its place."""
    value = symbols + mean
    if index >= 0:
        value = value * (pass_of(value) == index)
    return decoded + value


class _Branch(nn.Module):
    """Parts that both branches have, and the quantisation that training simulates."""

    def __init__(self, config: BranchConfig, lambdas: Tensor, scale_inputs: int) -> None:
        super().__init__()
        self.config = config
        self.gain = GainUnit(config.latent, lambdas)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.scale_network = ScaleNetwork(scale_inputs, config.scale_hidden, config.latent)
        self.hyper_rate = HyperRate(config.hyper)
        self.gaussian_rate = GaussianRate()

    def _hyper(self, gained: Tensor) -> tuple[Tensor, Tensor]:
        """z symbols [N, hyper, h/4, w/4] and their bits per image [N]."""
        z = clamp_returning(self.hyper_analysis(gained), -HYPER_LIMIT, HYPER_LIMIT)
        symbols = round_ste(z)
        noisy = z + torch.empty_like(z).uniform_(-0.5, 0.5) if self.training else symbols
        return symbols, self.hyper_rate(noisy).sum((1, 2, 3))

    def _residual(self, gained: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols r = clamp(round(g*y - mean)) and the value that the rate is taken of (noisy in training)."""
        r = clamp_returning(gained - mean, -SYMBOL_LIMIT, SYMBOL_LIMIT)
        symbols = round_ste(r)
        return symbols, r + torch.empty_like(r).uniform_(-0.5, 0.5) if self.training else symbols


class PrimaryBranch(_Branch):
    """Codes the image for machine vision, all or nothing: four quadtree passes over all channels."""

    def __init__(self, config: BranchConfig, lambdas: Tensor) -> None:
        super().__init__(config, lambdas, config.hyper)
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.mean = QuadtreeMean(config)

    def forward(self, folded: Tensor, level: Tensor) -> BranchOutput:
        """folded: image in [0, 1], [N, 192, H/8, W/8] with H, W multiples of 64. level: [N]."""
        gained = self.gain.gain(self.analysis(folded), level)
        z, z_bits = self._hyper(gained)
        indexes = self.scale_network(z)
        features = self.hyper_synthesis(z)
        passes = pass_of(gained)
        decoded = torch.zeros_like(gained)
        symbols = torch.zeros_like(gained)
        rated = torch.zeros_like(gained)
        for index in range(QUADTREE_PASSES):
            mask = (passes == index).to(gained.dtype)
            mean = self.mean(index, features, decoded)
            r, noisy = self._residual(gained, mean)
            symbols = symbols + mask * r
            rated = rated + mask * noisy
            decoded = decoded + mask * (r + mean)
        y_bits = self.gaussian_rate(rated, indexes).sum((1, 2, 3))
        latent = self.gain.inverse(decoded, level)
        image = self.synthesis(latent)
        return BranchOutput(image, latent, z, torch.stack([z_bits, y_bits], 1), symbols, indexes)

    def decode(
        self, z: Tensor, symbols: Tensor, level: Tensor, dequantize: Dequantize = dequantize
    ) -> Decoded:
        """z, symbols: integers (any type) [N, hyper, h/4, w/4] and [N, latent, h, w]; level: [N]."""
        z = z.float()
        features = self.hyper_synthesis(z)
        decoded = torch.zeros(symbols.shape, dtype=torch.float32, device=symbols.device)
        for index in range(QUADTREE_PASSES):
            decoded = dequantize(symbols, self.mean(index, features, decoded), decoded, index)
        latent = self.gain.inverse(decoded, level)
        return Decoded(self.synthesis(latent), latent, z)


class AuxiliaryBranch(_Branch):
    """Codes the residual r that turns x1 into a faithful picture, in slices that may be missing from the end.

    Its first latent channels are coded as refinements of the primary's decoded latent (a skip before the
    gain, undone after the inverse gain), further ones hold what the primary's have no room for. Its
    synthesis makes the picture x2, of which r = x2 - x1. Started from the primary's transforms
    (`start_from`), r is exactly zero when every symbol is, and symbols help from the first step; started
    at random, training ends in r = 0 with nothing sent (docs/training.md).
    """

    def __init__(self, config: BranchConfig, lambdas: Tensor, primary: BranchConfig) -> None:
        # The integer network also sees the primary hyper-latents: decoded integers, so parsing stays exact.
        super().__init__(config, lambdas, config.hyper + primary.hyper)
        c = config.channels
        self.primary_scale = 1.0 / primary.latent_scale
        self.condition = conv1x1(primary.latent, c)
        self.analysis = Analysis(config, 2 * IMAGE_CHANNELS)
        self.synthesis = Synthesis(config, extra=primary.latent, image=True)
        self.mean = SliceMean(config, c)

    def forward(
        self, folded: Tensor, level: Tensor, primary: Decoded, received: Tensor | int | None = None
    ) -> BranchOutput:
        """folded, level as in the primary branch, whose output is `primary`.

        received: how many slices the decoder has (int or int [N]); the others decode as symbol 0
        with their predicted mean and cost nothing. Bits: [N, slices + 1], zero for missing slices.
        """
        config = self.config
        if received is None:
            received = config.slices
        received = torch.as_tensor(received, device=folded.device).expand(folded.shape[0])
        gained = self.gain.gain(self.refinement(folded, primary), level)
        z, z_bits = self._hyper(gained)
        indexes = self.scale_network(torch.cat([z, primary.z.detach()], 1))
        features = self.features(z, primary)
        decoded: list[Tensor] = []
        symbols, bits = [], [z_bits]
        for s, (part, index) in enumerate(
            zip(gained.chunk(config.slices, 1), indexes.chunk(config.slices, 1), strict=True)
        ):
            present = (received > s).to(gained.dtype)
            mean = self.mean(s, features, decoded)
            r, noisy = self._residual(part, mean)
            r = r * present[:, None, None, None]
            symbols.append(r)
            bits.append(self.gaussian_rate(noisy, index).sum((1, 2, 3)) * present)
            decoded.append(r + mean)
        out = self.reconstruct(torch.cat(decoded, 1), level, z, primary)
        return BranchOutput(out.image, out.latent, z, torch.stack(bits, 1), torch.cat(symbols, 1), indexes)

    def start_from(self, primary: PrimaryBranch) -> None:
        """Copy the primary's transforms. What they did not have starts silent: conditions, predicted means,
        the synthesis of further latent channels. Raises ValueError where the branches differ in width or depth.
        """
        pairs = ((self.analysis, primary.analysis), (self.synthesis, primary.synthesis))
        wider = {"stem.weight", "head.weight", "head.bias"}  # more inputs or outputs than the primary's
        with torch.no_grad():
            for mine, theirs in pairs:
                own = mine.state_dict()
                for name, tensor in theirs.state_dict().items():
                    if own[name].shape != tensor.shape and name not in wider:
                        raise ValueError(
                            f"{name}: {tuple(tensor.shape)} does not fit {tuple(own[name].shape)}"
                        )
                    own[name].mul_(0.1)
                    own[name][tuple(slice(n) for n in tensor.shape)] = tensor
            # Learned gains and inverse gains are not reciprocal: the decoded latent is y times their product.
            product = (primary.gain.log_gain + primary.gain.log_inverse)[-1].exp()
            shared = len(product)
            for parameter in self.analysis.head.parameters():
                parameter[:shared] *= product.reshape(-1, *[1] * (parameter.ndim - 1))
            self.analysis.stem.weight[:, IMAGE_CHANNELS:] = 0
            self.synthesis.stem.weight[:, shared:] = 0
            assert self.synthesis.image is not None
            for silent in (self.synthesis.image, *self.mean.heads):
                for parameter in silent.parameters():
                    parameter.zero_()

    def refinement(self, folded: Tensor, primary: Decoded) -> Tensor:
        """What is coded, [N, latent, H/16, W/16]: this branch's latent, minus the primary's decoded one in
        the channels that both have."""
        y, latent1 = self.analysis(torch.cat([folded, primary.image.detach()], 1)), primary.latent.detach()
        shared = latent1.shape[1]
        return torch.cat([y[:, :shared] - latent1, y[:, shared:]], 1)

    def features(self, z: Tensor, primary: Decoded) -> Tensor:
        """What every slice's mean is predicted from."""
        condition = self.condition(primary.latent.detach() * self.primary_scale)
        return torch.cat([self.hyper_synthesis(z), condition], 1)

    def reconstruct(self, decoded: Tensor, level: Tensor, z: Tensor, primary: Decoded) -> Decoded:
        """Decoded refinement (still gained) -> latent and residual."""
        latent1, image1 = primary.latent.detach(), primary.image.detach()
        refinement, shared = self.gain.inverse(decoded, level), latent1.shape[1]
        latent = torch.cat([refinement[:, :shared] + latent1, refinement[:, shared:]], 1)
        return Decoded(self.synthesis(latent, latent1 * self.primary_scale, image1) - image1, latent, z)

    def decode(
        self,
        z: Tensor,
        symbols: Tensor,
        level: Tensor,
        received: Tensor,
        primary: Decoded,
        dequantize: Dequantize = dequantize,
    ) -> Decoded:
        """z, symbols: integers (any type); level: [N]; received: how many slices arrived, integer [N]."""
        z = z.float()
        features = self.features(z, primary)
        decoded: list[Tensor] = []
        for s, part in enumerate(symbols.chunk(self.config.slices, 1)):
            present = (received > s).to(part.dtype)[:, None, None, None]
            mean = self.mean(s, features, decoded)
            decoded.append(dequantize(part * present, mean, torch.zeros_like(mean), -1))
        return self.reconstruct(torch.cat(decoded, 1), level, z, primary)


class RateDistortionCognition(nn.Module):
    """Both branches (Liu et al., "Rate-Distortion-Cognition Controllable Versatile Neural Image
    Compression", ECCV 2024); the auxiliary one is absent in a single-branch model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        levels = config.levels
        self.primary = PrimaryBranch(config.primary, level_lambdas(config.primary_lambda, levels))
        self.auxiliary = (
            AuxiliaryBranch(config.auxiliary, level_lambdas(config.auxiliary_lambda, levels), config.primary)
            if config.auxiliary is not None
            else None
        )
        initialise(self)  # convolutions only: integer networks and gains keep their own start
