"""Building blocks that inference engines like: 1x1 and 3x3 depthwise convolutions, pixel shuffle."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Block(nn.Module):
    """Depthwise spatial mixing, then channel mixing (expansion 2), each with a residual connection.

    The shape of the DCVC-UF intra codec's block; about 99 k multiply-adds per position at 128 channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        last, end = conv1x1(channels, channels), conv1x1(2 * channels, channels)
        self.spatial = nn.Sequential(
            conv1x1(channels, channels),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            last,
        )
        self.mix = nn.Sequential(conv1x1(channels, 2 * channels), nn.LeakyReLU(0.1), end)
        self.ends = (last, end)  # a tuple, so that they are registered once

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.spatial(x)
        return x + self.mix(x)


def blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels) for _ in range(count)))


class Upsample(nn.Sequential):
    """1x1 convolution and pixel shuffle: no transposed convolution, which engines run slowly."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__(conv1x1(inputs, outputs * factor * factor), nn.PixelShuffle(factor))


def initialise(module: nn.Module) -> None:
    """Xavier-normal convolutions and zero biases; the second half of each residual path starts small."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.xavier_normal_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, Block):
                for end in m.ends:
                    end.weight.mul_(0.5)
