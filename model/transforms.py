"""Analysis, synthesis and hyper transforms. Images travel folded: space-to-depth 8, [N, 192, H/8, W/8]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from model.config import PIXEL_STRIDE, BranchConfig
from model.layers import Upsample, blocks, conv1x1, conv3x3

IMAGE_CHANNELS = 3 * PIXEL_STRIDE * PIXEL_STRIDE


def fold(image: Tensor) -> Tensor:
    """[N, 3, H, W] -> [N, 192, H/8, W/8], channel (row * 8 + column) * 3 + colour.

    ONNX SpaceToDepth's order (not torch's pixel_unshuffle): channels-last memory then holds each row of
    eight RGB pixels as 24 neighbours, which the fused kernels copy straight from the interleaved picture.
    """
    n, c, h, w = image.shape
    s = PIXEL_STRIDE
    return image.reshape(n, c, h // s, s, w // s, s).permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // s, w // s)


def unfold(folded: Tensor) -> Tensor:
    """Inverse of `fold`."""
    n, _, h, w = folded.shape
    s = PIXEL_STRIDE
    return folded.reshape(n, s, s, 3, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, 3, h * s, w * s)


def to_folded(rgb: np.ndarray | Tensor) -> Tensor:
    """Turn uint8 pictures [N, H, W, 3], or one [H, W, 3], into what the networks take: [N, 192, H/8, W/8] in [0, 1]."""
    pictures = torch.tensor(rgb) if isinstance(rgb, np.ndarray) else rgb  # a copy: arrays may be read-only
    if pictures.ndim == 3:
        pictures = pictures[None]
    return fold(pictures.permute(0, 3, 1, 2).float() / 255)


def to_picture(folded: Tensor) -> Tensor:
    """Turn what the networks make, [N, 192, H/8, W/8], into uint8 pictures [N, H, W, 3], rounded half to even."""
    return (unfold(folded.float()).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class Analysis(nn.Module):
    """Folded image(s) -> latent y, float32 [N, latent, H/16, W/16].

    No path leads round the blocks: with a linear transform beside them, training never left that (docs/training.md).
    `model.init_klt` makes the convolutions the principal components of photos instead.
    """

    def __init__(self, config: BranchConfig, inputs: int = IMAGE_CHANNELS) -> None:
        super().__init__()
        c, d = config.channels, config.latent
        self.scale = config.latent_scale
        self.stem = conv1x1(inputs, c)
        self.body = blocks(c, config.blocks)
        self.down = conv3x3(c, d, stride=2)
        self.deep = blocks(d, config.deep_blocks)
        self.head = conv1x1(d, d)

    def forward(self, x: Tensor) -> Tensor:
        y = self.deep(self.down(self.body(self.stem(x))))
        with torch.autocast(y.device.type, enabled=False):
            return self.head(y.float()) * self.scale


class Synthesis(nn.Module):
    """Latent y-hat (after the inverse gain) -> folded image, float32 [N, 192, H/8, W/8].

    `extra` counts channels of a condition at 1/16 resolution (the auxiliary branch looks at the primary's latent).
    """

    def __init__(self, config: BranchConfig, extra: int = 0) -> None:
        super().__init__()
        c, d = config.channels, config.latent
        self.scale = 1.0 / config.latent_scale
        self.stem = conv1x1(d + extra, d)
        self.deep = blocks(d, config.deep_blocks)
        self.up = Upsample(d, c, 2)
        self.body = blocks(c, config.blocks)
        self.head = conv1x1(c, IMAGE_CHANNELS)

    def forward(self, y: Tensor, extra: Tensor | None = None) -> Tensor:
        y = y * self.scale
        x = self.up(self.deep(self.stem(y if extra is None else torch.cat([y, extra], 1))))
        x = self.body(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(x.float())


class HyperAnalysis(nn.Module):
    """Gained latent g * y -> z before rounding, float32 [N, hyper, H/64, W/64]."""

    def __init__(self, config: BranchConfig) -> None:
        super().__init__()
        c = config.channels
        self.net = nn.Sequential(
            conv1x1(config.latent, c),
            nn.LeakyReLU(0.1),
            conv3x3(c, c, stride=2),
            nn.LeakyReLU(0.1),
            conv3x3(c, config.hyper, stride=2),
        )

    def forward(self, gained: Tensor) -> Tensor:
        return self.net(gained).float()


class HyperSynthesis(nn.Module):
    """z symbols -> features for the mean predictor, [N, channels, H/16, W/16]. Floating point may enter
    here: no table choice depends on it."""

    def __init__(self, config: BranchConfig) -> None:
        super().__init__()
        c = config.channels
        self.net = nn.Sequential(conv3x3(config.hyper, c), nn.LeakyReLU(0.1), Upsample(c, c, 4))

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)
