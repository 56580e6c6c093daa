"""The two branches: x -> x1 for machines, (x, x1) -> residual r for people, x_beta = x1 + (1 - beta) * r."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.config import HYPER_LIMIT, QUADTREE_PASSES, SYMBOL_LIMIT, BranchConfig, ModelConfig
from model.context import QuadtreeMean, pass_of
from model.gain import GainUnit
from model.layers import blocks, conv1x1, initialise
from model.likelihood import HyperRate, LatentRate
from model.points import ReconstructionPoints
from model.quantization import clamp_ste, round_ste
from model.scale_network import ScaleNetwork
from model.transforms import IMAGE_CHANNELS, Analysis, HyperAnalysis, HyperSynthesis, Synthesis


def lambda_at(level: Tensor, bounds: tuple[float, float], levels: int) -> Tensor:
    """Multiplier of the loss at positions in a gain table of so many levels: geometric between the bounds."""
    low, high = bounds
    return low * (high / low) ** (level / (levels - 1))


def level_lambdas(bounds: tuple[float, float], levels: int) -> Tensor:
    """Multipliers of the trained levels, float [levels]."""
    return lambda_at(torch.arange(levels), bounds, levels)


@dataclasses.dataclass
class Decoded:
    """What a decoder knows of one branch.

    image: folded x1 (primary) or residual r (auxiliary), [N, 192, H/8, W/8]. latent: y-hat after the
    inverse gain. z, symbols: the coded integers of hyper-latent and latent, as floats.
    """

    image: Tensor
    latent: Tensor
    z: Tensor
    symbols: Tensor


@dataclasses.dataclass
class BranchOutput(Decoded):
    """What one branch makes of a batch: what its decoder will know, and what that costs.

    bits: [N, slices + 1], hyper-latent first. indexes: table of every symbol of the latent.
    """

    bits: Tensor
    indexes: Tensor


# (symbols of all passes, mean, what is decoded so far, pass) -> decoded, this pass included
Dequantize = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def dequantize(symbols: Tensor, mean: Tensor, decoded: Tensor, index: int) -> Tensor:
    """The decoder's half of the closed loop; export puts a fused operation in its place."""
    return decoded + (symbols + mean) * (pass_of(mean) == index)


def refining(operation: Callable[[Tensor, Tensor], Tensor], refinement: Tensor, primary: Tensor) -> Tensor:
    """Add the primary's latent to the auxiliary's refinement of it, or subtract it (`torch.add`, `torch.sub`).

    [N, C, h, w] and [N, P, h, w], P <= C: a quarter of P is in each of the four quadtree groups of C, in front, so that
    each channel is coded in the same passes in both branches. The other channels have no counterpart.
    """
    width, covered = refinement.shape[1] // QUADTREE_PASSES, primary.shape[1] // QUADTREE_PASSES
    if width == covered:
        return operation(refinement, primary)
    parts = []
    for group in range(QUADTREE_PASSES):
        own = refinement[:, group * width : (group + 1) * width]
        theirs = primary[:, group * covered : (group + 1) * covered]
        parts += [operation(own[:, :covered], theirs), own[:, covered:]]
    return torch.cat(parts, 1)


class _Branch(nn.Module):
    """What both branches do alike: gain, hyper-latent, integer scale network, four quadtree passes.

    The passes are causal in what can be missing: each is predicted from the hyper-latent and the passes
    before it. In the auxiliary branch a pass is a slice of the stream, and slices may be missing from
    the end; they decode as symbol 0 with the predicted mean.
    """

    def __init__(self, config: BranchConfig, lambdas: Tensor, primary: BranchConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.gain = GainUnit(config.latent, lambdas)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        # Besides its own, the auxiliary one sees the primary's symbols: integers, so parsing stays exact.
        self.scale_network = ScaleNetwork(
            config.hyper + (primary.hyper if primary else 0),
            config.scale_hidden,
            config.latent,
            config.scale_context,
            primary.latent if primary else 0,
        )
        self.hyper_rate = HyperRate(config.hyper)
        self.latent_rate = LatentRate()
        self.mean = QuadtreeMean(config)
        self.points = (
            ReconstructionPoints(len(lambdas), config.points, config.latent) if config.points else None
        )

    def _hyper(self, gained: Tensor) -> tuple[Tensor, Tensor]:
        """z symbols [N, hyper, h/4, w/4] and their bits per image [N]."""
        z = clamp_ste(self.hyper_analysis(gained), -HYPER_LIMIT, HYPER_LIMIT)
        symbols = round_ste(z)
        noisy = z + torch.empty_like(z).uniform_(-0.5, 0.5) if self.training else symbols
        return symbols, self.hyper_rate(noisy).sum((1, 2, 3))

    def _residual(self, gained: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols r = clamp(round(g*y - mean)) and the value that the rate is taken of (noisy in training)."""
        r = clamp_ste(gained - mean, -SYMBOL_LIMIT, SYMBOL_LIMIT)
        symbols = round_ste(r)
        return symbols, r + torch.empty_like(r).uniform_(-0.5, 0.5) if self.training else symbols

    def _closed_loop(
        self, gained: Tensor, features: Tensor, received: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded latent (still gained), symbols, and the values that the rate is taken of.

        received: how many passes the decoder has, [N]; the others have symbol 0.
        """
        passes = pass_of(gained)
        decoded, symbols, rated = (torch.zeros_like(gained) for _ in range(3))
        for index in range(QUADTREE_PASSES):
            mask = (passes == index).to(gained.dtype)
            sent = mask * (received > index).to(gained.dtype)[:, None, None, None]
            mean = self.mean(index, features, decoded)
            r, noisy = self._residual(gained, mean)
            symbols = symbols + sent * r
            rated = rated + mask * noisy
            decoded = decoded + mask * mean + sent * r
        return decoded, symbols, rated

    def _rate(self, rated: Tensor, indexes: Tensor, received: Tensor) -> Tensor:
        """Bits of each pass [N, 4]; those that are not received cost nothing."""
        passes = pass_of(rated)
        bits = self.latent_rate(rated, indexes)
        per_pass = [(bits * (passes == index)).sum((1, 2, 3)) for index in range(QUADTREE_PASSES)]
        return torch.stack([b * (received > index) for index, b in enumerate(per_pass)], 1)

    def _open_loop(self, symbols: Tensor, features: Tensor, dequantize: Dequantize) -> Tensor:
        """Decoded latent (still gained) from symbols, which are zero where they were not received."""
        decoded = torch.zeros(symbols.shape, dtype=torch.float32, device=symbols.device)
        for index in range(QUADTREE_PASSES):
            decoded = dequantize(symbols, self.mean(index, features, decoded), decoded, index)
        return decoded

    def latent(self, decoded: Tensor, symbols: Tensor, level: Tensor) -> Tensor:
        """Latent y-hat of what was decoded (still gained) from symbols (zero where they were not received)."""
        if self.points is not None:
            decoded = decoded + self.points(symbols.float(), level)
        return self.gain.inverse(decoded, level)


class PrimaryBranch(_Branch):
    """Codes the image for machine vision, all or nothing."""

    def __init__(self, config: BranchConfig, lambdas: Tensor) -> None:
        super().__init__(config, lambdas)
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)

    def forward(self, folded: Tensor, level: Tensor) -> BranchOutput:
        """folded: image in [0, 1], [N, 192, H/8, W/8] with H, W multiples of 64. level: [N]."""
        return self.code(self.analysis(folded), level)

    def code(self, y: Tensor, level: Tensor) -> BranchOutput:
        """What `forward` does with a latent, [N, latent, H/16, W/16]."""
        gained = self.gain.gain(y, level)
        z, z_bits = self._hyper(gained)
        everything = torch.full_like(level, QUADTREE_PASSES)
        decoded, symbols, rated = self._closed_loop(gained, self.features(z), everything)
        indexes = self.scale_network(z, symbols)
        bits = self._rate(rated, indexes, everything)
        out = self.reconstruct(decoded, level, z, symbols)
        bits = torch.stack([z_bits, bits.sum(1)], 1)
        return BranchOutput(out.image, out.latent, z, symbols, bits, indexes)

    def features(self, z: Tensor) -> Tensor:
        """What the means are predicted from, [N, channels, H/16, W/16]."""
        return self.hyper_synthesis(z)

    def reconstruct(self, decoded: Tensor, level: Tensor, z: Tensor, symbols: Tensor) -> Decoded:
        """Decoded latent (still gained) -> picture for machines."""
        latent = self.latent(decoded, symbols, level)
        return Decoded(self.synthesis(latent), latent, z, symbols)

    def decode(
        self, z: Tensor, symbols: Tensor, level: Tensor, dequantize: Dequantize = dequantize
    ) -> Decoded:
        """z, symbols: integers (any type) [N, hyper, h/4, w/4] and [N, latent, h, w]; level: [N]."""
        z = z.float()
        return self.reconstruct(self._open_loop(symbols, self.features(z), dequantize), level, z, symbols)


class AuxiliaryBranch(_Branch):
    """Codes the residual r that turns x1 into a faithful picture, in slices that may be missing from the end.

    Its latent is coded as a refinement of the primary's decoded latent (subtracted before the gain, added
    after the inverse gain); it may have channels beyond those (`refining`). Its synthesis makes the picture x2, of
    which r = x2 - x1. Started from the primary's transforms (`start_from`), r is exactly zero when every symbol is, and
    symbols help from the first step; started at random, training ends in r = 0 with nothing sent (design-notes.md).
    """

    def __init__(self, config: BranchConfig, lambdas: Tensor, primary: BranchConfig) -> None:
        super().__init__(config, lambdas, primary)
        c = config.channels
        self.primary_scale = 1.0 / primary.latent_scale
        self.merge = nn.Sequential(conv1x1(c + primary.latent, c), *blocks(c, 1))
        self.analysis = Analysis(config, 2 * IMAGE_CHANNELS)
        self.synthesis = Synthesis(config, extra=primary.latent)

    def forward(
        self, folded: Tensor, level: Tensor, primary: Decoded, received: Tensor | int | None = None
    ) -> BranchOutput:
        """folded, level as in the primary branch, whose output is `primary`.

        received: how many slices the decoder has (int or int [N]); the others decode as symbol 0
        with their predicted mean and cost nothing. Bits: [N, slices + 1], zero for missing slices.
        """
        return self.code(self.refinement(folded, primary), level, primary, received)

    def code(
        self, y: Tensor, level: Tensor, primary: Decoded, received: Tensor | int | None = None
    ) -> BranchOutput:
        """What `forward` does with a refinement, [N, latent, H/16, W/16]."""
        if received is None:
            received = self.config.slices
        received = torch.as_tensor(received, device=y.device).expand(y.shape[0])
        gained = self.gain.gain(y, level)
        z, z_bits = self._hyper(gained)
        decoded, symbols, rated = self._closed_loop(gained, self.features(z, primary), received)
        indexes = self.scale_network(torch.cat([z, primary.z.detach()], 1), symbols, primary.symbols)
        bits = self._rate(rated, indexes, received)
        out = self.reconstruct(decoded, level, z, symbols, primary)
        bits = torch.cat([z_bits[:, None], bits], 1)
        return BranchOutput(out.image, out.latent, z, symbols, bits, indexes)

    def start_from(self, primary: PrimaryBranch) -> None:
        """Copy the primary's transforms. What they did not have starts silent: conditions and predicted means.

        Raises ValueError where the branches differ in width or depth.
        """
        pairs = ((self.analysis, primary.analysis), (self.synthesis, primary.synthesis))
        with torch.no_grad():
            for mine, theirs in pairs:
                own = mine.state_dict()
                for name, tensor in theirs.state_dict().items():
                    if own[name].shape != tensor.shape and name != "stem.weight":  # it has more inputs here
                        raise ValueError(
                            f"{name}: {tuple(tensor.shape)} does not fit {tuple(own[name].shape)}"
                        )
                    own[name][tuple(slice(n) for n in tensor.shape)] = tensor
            # Learned gains and inverse gains are not reciprocal: the decoded latent is y times their product.
            product = (primary.gain.log_gain + primary.gain.log_inverse)[-1].exp()
            self.analysis.head.weight *= product[:, None, None, None]
            self.analysis.head.bias *= product  # type: ignore[operator]
            self.analysis.stem.weight[:, IMAGE_CHANNELS:] = 0
            self.synthesis.stem.weight[:, len(product) :] = 0
            for silent in (self.mean.first, *self.mean.heads):
                for parameter in silent.parameters():
                    parameter.zero_()

    def refinement(self, folded: Tensor, primary: Decoded) -> Tensor:
        """What is coded, [N, latent, H/16, W/16]: this branch's latent minus the primary's decoded one (`refining`)."""
        y = self.analysis(torch.cat([folded, primary.image.detach()], 1))
        return refining(torch.sub, y, primary.latent.detach())

    def features(self, z: Tensor, primary: Decoded) -> Tensor:
        """What the means are predicted from, [N, channels, H/16, W/16]."""
        return self.merge(
            torch.cat([self.hyper_synthesis(z), primary.latent.detach() * self.primary_scale], 1)
        )

    def picture(
        self, decoded: Tensor, symbols: Tensor, level: Tensor, primary_latent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decoded refinement (still gained) -> latent, and the picture x2 for people, of which r = x2 - x1."""
        latent = refining(torch.add, self.latent(decoded, symbols, level), primary_latent)
        return latent, self.synthesis(latent, primary_latent * self.primary_scale)

    def reconstruct(
        self, decoded: Tensor, level: Tensor, z: Tensor, symbols: Tensor, primary: Decoded
    ) -> Decoded:
        """Decoded refinement (still gained) -> latent and residual."""
        latent1, image1 = primary.latent.detach(), primary.image.detach()
        latent, picture = self.picture(decoded, symbols, level, latent1)
        return Decoded(picture - image1, latent, z, symbols)

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
        z, symbols, decoded = self._received(z, symbols, received, primary, dequantize)
        return self.reconstruct(decoded, level, z, symbols, primary)

    def decode_picture(
        self,
        z: Tensor,
        symbols: Tensor,
        level: Tensor,
        received: Tensor,
        primary: Decoded,
        dequantize: Dequantize = dequantize,
    ) -> Tensor:
        """Decode the picture x2 for people, folded; the primary's picture x1 is not looked at."""
        _, symbols, decoded = self._received(z, symbols, received, primary, dequantize)
        return self.picture(decoded, symbols, level, primary.latent)[1]

    def _received(
        self, z: Tensor, symbols: Tensor, received: Tensor, primary: Decoded, dequantize: Dequantize
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return z, the symbols that arrived, and the decoded refinement (still gained)."""
        z = z.float()
        symbols = symbols * (pass_of(symbols) < received[:, None, None, None]).to(symbols.dtype)
        return z, symbols, self._open_loop(symbols, self.features(z, primary), dequantize)


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
