"""The start of the linear parts of the transforms: principal components of 16x16 blocks (Karhunen-Loeve)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.codec import PrimaryBranch
from model.config import LATENT_STRIDE, PIXEL_STRIDE
from model.transforms import IMAGE_CHANNELS

_SIDE = LATENT_STRIDE // PIXEL_STRIDE
_SIZE = IMAGE_CHANNELS * _SIDE * _SIDE  # samples of one block, 768


def principal_components(folded: Tensor) -> tuple[Tensor, Tensor]:
    """Mean colour and principal components of the 16x16 blocks of folded images [N, 192, H/8, W/8].

    Returns the mean as a block, float [192, 2, 2], constant for each colour, and orthonormal components
    by falling variance, float [768, 192, 2, 2] (the layout of a 2x2 convolution's weight).
    """
    n, c, h, w = folded.shape
    tiles = folded.reshape(n, c, h // _SIDE, _SIDE, w // _SIDE, _SIDE).permute(0, 2, 4, 1, 3, 5)
    colour = folded.reshape(n, -1, 3, h, w).mean((0, 1, 3, 4))
    mean = colour.repeat(c // 3)[:, None, None].expand(c, _SIDE, _SIDE)
    centred = (tiles - mean).reshape(-1, _SIZE).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    return mean, vectors.flip(1).T.reshape(_SIZE, c, _SIDE, _SIDE).float()


@torch.no_grad()
def start_linear(branch: PrimaryBranch, folded: Tensor) -> None:
    """Start a primary branch as a Karhunen-Loeve transform codec, to which the networks add nothing yet.

    The scale makes the quantiser step of gain sqrt(lambda) the one that is optimal at high rate for
    bpp + lambda * 255^2 * MSE: minimise -log2(step) / 256 + lambda * 255^2 * step^2 / (12 * 768) for one
    orthonormal coefficient of a block, hence step = sqrt(12 * 768 / (2 * 256 * ln 2 * 255^2 * lambda)).
    """
    analysis, synthesis = branch.analysis, branch.synthesis
    mean, components = principal_components(folded)
    kept = min(branch.config.latent, _SIZE)
    components = components[:kept]
    step = math.sqrt(12 * _SIZE / (2 * LATENT_STRIDE**2 * math.log(2) * 255**2))
    scale = 1 / (step * branch.config.latent_scale)
    for head in (analysis.head, synthesis.head):
        torch.nn.init.zeros_(head.weight)
    analysis.linear.weight[:kept] = components * scale
    assert analysis.linear.bias is not None
    analysis.linear.bias[:kept] = -(components * mean).sum((1, 2, 3)) * scale
    upsample = synthesis.linear[0]  # its outputs are ordered (channel, row, column) for the pixel shuffle
    assert isinstance(upsample, nn.Conv2d) and upsample.bias is not None
    upsample.weight[:, :kept, 0, 0] = components.reshape(kept, _SIZE).T / scale
    upsample.bias.copy_(mean.reshape(-1))
