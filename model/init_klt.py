"""The start of the primary's transforms: principal components of photos, on the main path (Karhunen-Loeve)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.branches import PrimaryBranch
from model.config import LATENT_STRIDE, PIXEL_STRIDE
from model.layers import Block

_SIDE = LATENT_STRIDE // PIXEL_STRIDE
_SIZE = 3 * LATENT_STRIDE**2  # samples of one block of 16x16 pixels, 768
RESIDUAL_GAIN = (
    0.2  # what the blocks add at the start, as a share of their usual start: training begins near a KLT
)


def principal_components(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Components of centred vectors [N, C] by falling variance, orthonormal rows [C, C], and their deviations [C]."""
    vectors = vectors.double()
    variance, components = torch.linalg.eigh(vectors.T @ vectors / len(vectors))
    return components.flip(1).T.float(), variance.flip(0).clamp_min(1e-9).sqrt().float()


@torch.no_grad()
def klt_init(branch: PrimaryBranch, folded: Tensor) -> None:
    """Start a primary branch as a Karhunen-Loeve transform codec, which its blocks then improve on.

    folded: training images [N, 192, H/8, W/8]. The stem's channels are the first components of 8x8 blocks, those at
    1/16 resolution the first of 2x2 neighbourhoods of them; each is divided by the root of its deviation, so that all
    are of like size for the blocks and none is amplified much. The last convolution of the analysis
    undoes that. Its scale makes the quantiser step of gain sqrt(lambda) the one that is optimal at high rate for
    bpp + lambda * 255^2 * MSE: minimise -log2(step) / 256 + lambda * 255^2 * step^2 / (12 * 768) for one
    orthonormal coefficient of a block, hence step = sqrt(12 * 768 / (2 * 256 * ln 2 * 255^2 * lambda)).
    """
    analysis, synthesis = branch.analysis, branch.synthesis
    c, d = branch.config.channels, branch.config.latent
    n, inputs, h, w = folded.shape
    if c > inputs or d > _SIDE**2 * c:
        raise ValueError(f"channels={c} or latent={d} are more than there are components")
    mean = folded.reshape(n, -1, 3, h, w).mean((0, 1, 3, 4)).repeat(inputs // 3)
    centred = folded - mean[:, None, None]
    first, deviation = principal_components(centred.permute(0, 2, 3, 1).reshape(-1, inputs))
    first, first_root = first[:c], deviation[:c].sqrt()
    coarse = torch.einsum("kc,nchw->nkhw", first, centred)
    tiles = coarse.reshape(n, c, h // _SIDE, _SIDE, w // _SIDE, _SIDE).permute(0, 2, 4, 1, 3, 5)
    second, deviation = principal_components(tiles.reshape(-1, c * _SIDE**2))
    second, second_root = second[:d].reshape(d, c, _SIDE, _SIDE), deviation[:d].sqrt()

    step = math.sqrt(12 * _SIZE / (2 * LATENT_STRIDE**2 * math.log(2) * 255**2))
    scale = 1 / (step * branch.config.latent_scale)
    for module in (*analysis.modules(), *synthesis.modules()):
        if isinstance(module, Block):
            for end in module.ends:
                end.weight *= RESIDUAL_GAIN
    upsample = synthesis.up[0]
    assert isinstance(upsample, nn.Conv2d)
    stem = first / first_root[:, None]
    _fill(analysis.stem, stem[:, :, None, None], -stem @ mean)
    down = torch.zeros_like(analysis.down.weight)
    down[:, :, 1:, 1:] = second * first_root[:, None, None] / second_root[:, None, None, None]
    _fill(analysis.down, down)
    _fill(analysis.head, torch.diag(second_root * scale)[:, :, None, None])
    _fill(synthesis.stem, torch.diag(1 / (second_root * scale))[:, :, None, None])
    # Its outputs are ordered (channel, row, column) for the pixel shuffle.
    up = (second / first_root[:, None, None] * second_root[:, None, None, None]).reshape(d, -1).T
    _fill(upsample, up[:, :, None, None])
    _fill(synthesis.head, (first_root[:, None] * first).T[:, :, None, None], mean)


def _fill(convolution: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> None:
    convolution.weight.copy_(weight)
    assert convolution.bias is not None
    convolution.bias.zero_() if bias is None else convolution.bias.copy_(bias)
