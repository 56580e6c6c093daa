"""More latent channels for a trained auxiliary branch, for pictures finer than those that it has can show.

Without any rounding a branch ends at the PSNR of its channels. `widen` adds silent ones, and `start_new_channels` makes
them tell what is missing most. Channels that start small at random are rounded to zero, and nothing learns from zeros.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.branches import AuxiliaryBranch, Decoded, RateDistortionCognition, refining
from model.config import HYPER_STRIDE, LATENT_STRIDE, QUADTREE_PASSES, BranchConfig

_SHUFFLED = (HYPER_STRIDE // LATENT_STRIDE) ** 2  # latents at one position of the hyper-latent
_RIDGE = 1e-4  # of the mean variance is added to each: no direction that hardly varies is amplified
_FLATTEST = 1e-2  # of the largest curvature is the least that counts
_SHORTER = (1.0, 0.5, 0.25, 0.125)  # lengths of the step that are tried
_TOGETHER = 8  # images at a time


def positions(old: int, new: int) -> Tensor:
    """Return where each of `old` channels stands among `new`: in front in its quadtree group (`refining`). int64."""
    channel, group = torch.arange(old), old // QUADTREE_PASSES
    return channel // group * (new // QUADTREE_PASSES) + channel % group


def _placement(name: str, config: BranchConfig, latent: int) -> dict[int, Tensor]:
    """Return, by axis of a tensor of the auxiliary branch, the places of old entries; others stay where they are."""
    d, c = config.latent, config.channels
    at = positions(d, latent)
    outputs, inputs = {0: at}, {1: at}
    inner = torch.arange(2 * d)
    if name.startswith("gain."):
        return inputs
    if name.startswith("points."):
        return {2: at}
    if name.startswith("scale_network."):
        first = (at[:, None] * _SHUFFLED + torch.arange(_SHUFFLED)).flatten()
        context = torch.arange(config.scale_context * _SHUFFLED) + latent * _SHUFFLED
        heads = torch.cat([at + q * latent for q in range(QUADTREE_PASSES)])
        places = {"layers.2": {0: torch.cat([first, context])}, "heads": {0: heads}, "neighbours": inputs}
    else:
        after_features = {1: torch.cat([torch.arange(c), at + c])}
        places = {
            "analysis.down": outputs,
            "spatial.0": outputs | inputs,
            "spatial.2": outputs,
            "spatial.3": outputs | inputs,
            "mix.0": {0: inner} | inputs,
            "mix.2": outputs | {1: inner},
            "analysis.head": outputs | inputs,
            "hyper_analysis.net.0": inputs,
            "mean.first": outputs,
            **{f"mean.adapters.{k}": after_features for k in range(QUADTREE_PASSES - 1)},
            **{f"mean.heads.{k}": outputs for k in range(QUADTREE_PASSES - 1)},
            "synthesis.stem": outputs | inputs,
            "synthesis.up.0": inputs,
        }
    layer, _, kind = name.rpartition(".")
    wide = "scale_network" in layer or ".deep." in layer or layer in places
    found = next((axes for end, axes in places.items() if wide and layer.endswith(end)), {})
    return found if kind == "weight" else {axis: where for axis, where in found.items() if axis == 0}


@torch.no_grad()
def widen(model: RateDistortionCognition, latent: int) -> RateDistortionCognition:
    """Return a model whose auxiliary branch has `latent` channels, the new ones silent: it makes the same pictures.

    Raises ValueError where there is no auxiliary branch, or one of more channels.
    """
    config = model.config.auxiliary
    if config is None or model.auxiliary is None:
        raise ValueError("the model has no auxiliary branch")
    if latent < config.latent:
        raise ValueError(f"the auxiliary branch has {config.latent} latent channels, more than {latent}")
    wide = RateDistortionCognition(
        dataclasses.replace(model.config, auxiliary=dataclasses.replace(config, latent=latent))
    )
    assert wide.auxiliary is not None
    wide.primary.load_state_dict(model.primary.state_dict())
    state = wide.auxiliary.state_dict()
    for name, old in model.auxiliary.state_dict().items():
        new, places = state[name], _placement(name, config, latent)
        index = []
        for axis, size in enumerate(old.shape):
            where = places.get(axis, torch.arange(size))
            behind = torch.arange(new.shape[axis] - (size - len(where)), new.shape[axis])  # of the primary
            index.append(torch.cat([where, behind]))
        if name.startswith("gain."):
            new.copy_(old.mean(1, keepdim=True).expand_as(new))
        elif ".deep." in name and name.endswith(("spatial.0.weight", "mix.0.weight")):
            new[index[0]] = (
                0  # the rows of new channels stay as in a fresh network: what follows them is silent
            )
        else:
            new.zero_()
        new[torch.meshgrid(*index, indexing="ij")] = old
    return wide


@torch.no_grad()
def start_new_channels(
    model: RateDistortionCognition, old: int, folded: Tensor, level: Tensor, base_level: Tensor
) -> tuple[float, float]:
    """Make the channels that `widen` added to `old` ones tell most of what is missing without rounding.

    folded: training images [N, 192, H/8, W/8]. level, base_level: position of each branch, [1], at which channels are
    that fine, the highest. Returns the MSE without rounding, before and after.

    The new rows V of the convolution to 1/16 resolution see its patches F of features, the new columns C of that
    from there act on its outputs. With J the derivative of the picture by those, e what the picture lacks, M = E[J'J]
    (from products with white noise) and J taken to be independent of F, C V is the matrix of its rank with
    E|e - J C V F|^2 least (a reduced-rank regression), shortened until the error of the real networks
    falls most. Then each channel is scaled so that rounding it adds as much error as in the median old channel, and
    gets the tables of the old channel of its group whose symbols deviate most alike.
    """
    branch = model.auxiliary
    assert branch is not None
    latent = branch.config.latent
    known = positions(old, latent).to(folded.device)
    new = torch.tensor(sorted({*range(latent)} - {*known.tolist()}), device=folded.device)
    images = folded.split(_TOGETHER)
    bases = [model.primary(image, base_level.expand(len(image))) for image in images]
    coded = list(zip(images, bases, strict=True))
    before = _error(branch, coded, level)
    down, bias, up = _regression(branch, coded, level, len(new))
    analysis, synthesis = branch.analysis, branch.synthesis
    rise = synthesis.up[0]
    assert isinstance(rise, nn.Conv2d) and analysis.down.bias is not None
    analysis.down.weight[new], analysis.down.bias[new] = down, bias
    analysis.head.weight[new, new] = synthesis.stem.weight[new, new] = 1.0

    def after(length: float) -> float:
        rise.weight[:, new] = length * up[:, :, None, None]
        return _error(branch, coded, level)

    found = after(min(_SHORTER, key=after))
    _equalise(branch, *coded[0], level, known, new)
    _lend_tables(branch, coded, level, known, new)
    return before, found


def _unrounded(branch: AuxiliaryBranch, folded: Tensor, base: Decoded, level: Tensor) -> Tensor:
    """Return the latent that a decoder would have if nothing were rounded, [N, latent, H/16, W/16]."""
    level = level.expand(len(folded))
    gained = branch.gain.gain(branch.refinement(folded, base), level)
    return refining(torch.add, branch.gain.inverse(gained, level), base.latent)


def _error(branch: AuxiliaryBranch, coded: Sequence[tuple[Tensor, Decoded]], level: Tensor) -> float:
    """Return the MSE of the pictures without rounding."""
    errors = []
    for folded, base in coded:
        picture = branch.synthesis(
            _unrounded(branch, folded, base, level), base.latent * branch.primary_scale
        )
        errors.append((picture - folded).square().mean() * len(folded))
    return float(torch.stack(errors).sum()) / sum(len(folded) for folded, _ in coded)


def _rows(x: Tensor) -> Tensor:
    """[N, C, h, w] -> [N * h * w, C], double."""
    return x.permute(0, 2, 3, 1).flatten(0, 2).double()


def _regression(
    branch: AuxiliaryBranch, coded: Sequence[tuple[Tensor, Decoded]], level: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return V [count, channels, 3, 3], the bias that centres what it makes, and C [4 * channels, count]."""
    analysis, synthesis = branch.analysis, branch.synthesis
    rise, shuffle = synthesis.up
    sums: list[Tensor] = []
    samples = 0
    for folded, base in coded:
        condition = base.latent * branch.primary_scale
        latent = _unrounded(branch, folded, base, level) * synthesis.scale
        lowest = rise(synthesis.deep(synthesis.stem(torch.cat([latent, condition], 1))))
        with torch.enable_grad():
            lowest.requires_grad_(True)
            picture = synthesis.head(synthesis.body(shuffle(lowest)))
            (noise,) = torch.autograd.grad(picture, lowest, torch.randn_like(picture), retain_graph=True)
            (lacking,) = torch.autograd.grad(picture, lowest, folded - picture.detach())
        features = analysis.body(analysis.stem(torch.cat([folded, base.image], 1)))
        patches = F.unfold(features, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1).double()
        noise, lacking = _rows(noise), _rows(lacking)
        found = [noise.T @ noise, lacking.T @ patches, patches.T @ patches, lacking.sum(0), patches.sum(0)]
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        samples += len(patches)
    curvature, cross, own, lacking, mean = (total / samples for total in sums)
    cross, own = cross - torch.outer(lacking, mean), own - torch.outer(mean, mean)
    own.diagonal().add_(_RIDGE * own.diagonal().mean())
    variance, axes = torch.linalg.eigh(curvature)
    root = axes * variance.clamp_min(_FLATTEST * float(variance[-1])).rsqrt()
    best = torch.linalg.solve(own, cross.T @ root).T  # of full rank, in units where J'J is the identity
    _, directions = torch.linalg.eigh(best @ own @ best.T)
    directions = directions[:, -count:]
    down, up = directions.T @ best, root @ directions
    size = (down @ own * down).sum(1).clamp_min(1e-12).sqrt()
    down, up = down / size[:, None], up * size
    return down.float().unflatten(1, (-1, 3, 3)), -(down @ mean).float(), up.float()


def _equalise(
    branch: AuxiliaryBranch, folded: Tensor, base: Decoded, level: Tensor, known: Tensor, new: Tensor
) -> None:
    """Scale each new channel so that rounding its symbols adds as much error as in the median old channel."""
    latent, condition = _unrounded(branch, folded, base, level), base.latent * branch.primary_scale
    still = branch.synthesis(latent, condition)
    steps = branch.gain.inverse(torch.ones_like(latent[:1, :, :1, :1]), level).flatten()
    added = torch.empty_like(steps)
    for channel, step in enumerate(steps):
        moved = latent.clone()
        moved[:, channel] += step * (torch.rand_like(moved[:, channel]) - 0.5)
        added[channel] = (branch.synthesis(moved, condition) - still).square().mean()
    factor = (added[new] / added[known].median()).sqrt()[:, None, None]
    branch.analysis.head.weight[new, new] *= factor
    branch.synthesis.stem.weight[new, new] /= factor


def _lend_tables(
    branch: AuxiliaryBranch,
    coded: Sequence[tuple[Tensor, Decoded]],
    level: Tensor,
    known: Tensor,
    new: Tensor,
) -> None:
    """Give each new channel the integer network's rows of the most similar old one of its quadtree group."""
    latent = branch.config.latent
    refined = [
        branch.gain.gain(branch.refinement(folded, base), level.expand(len(folded))) for folded, base in coded
    ]
    deviation = torch.cat(refined).std((0, 2, 3)).clamp_min(1e-6).log()
    group = torch.arange(latent, device=known.device) // (latent // QUADTREE_PASSES)
    parts = branch.scale_network.parts()
    last, heads = parts["scale2"], parts["heads"]
    every = torch.arange(QUADTREE_PASSES, device=known.device) * latent
    inside = torch.arange(_SHUFFLED, device=known.device)
    for channel in new:
        candidates = known[group[known] == group[channel]]
        like = candidates[(deviation[candidates] - deviation[channel]).abs().argmin()]
        for tensor in (last.weight, last.bias):
            tensor[channel * _SHUFFLED + inside] = tensor[like * _SHUFFLED + inside]
        for tensor in (heads.weight, heads.bias):
            tensor[channel + every] = tensor[like + every]
