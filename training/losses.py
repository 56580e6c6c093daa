"""Distortion, rate and cognition terms."""

from __future__ import annotations

import torch
from torch import Tensor


def mse(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per image, float [N]; images in [0, 1]."""
    return (image.float() - target.float()).square().mean((1, 2, 3))


def outside_range(image: Tensor) -> Tensor:
    """Local MSE of the paper: squared distance to [0, 1], mean over all samples, per image [N].

    Zero wherever the picture can be shown; without it values drift far outside (clipping in training
    would hide them from the gradient).
    """
    image = image.float()
    return (image - image.clamp(0, 1)).square().mean((1, 2, 3))


def pixels_of(folded: Tensor) -> int:
    """Pixels of one image, from its folded form [N, 192, H/8, W/8]."""
    return 64 * folded.shape[2] * folded.shape[3]


def psnr(error: Tensor) -> Tensor:
    """Return the mean over images of PSNR in dB, from MSE per image; a scalar without gradient."""
    return (-10 * torch.log10(error.detach().clamp_min(1e-10))).mean()
