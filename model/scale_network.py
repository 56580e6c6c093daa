"""The integer scale network, trained quantised (decoding must never depend on floating point).

int8 weights, int32 accumulators, activations clip((acc + (1 << (k - 1))) >> k, 0, clip). It is simulated
here in float32 on integer values: every accumulator stays below 2^24, so the floats are exact and equal
the native code bit for bit. Weights learn through straight-through rounding from the first step.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import HYPER_LIMIT, SCALE_TABLES
from model.rounding import clamp_returning, floor_ste, round_ste

ACTIVATION_MAX = 127
BIAS_LIMIT = 1 << 22


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
    """What the native code runs: weight int8 [out, in, k, k], bias int32 [out], shift int32 [out], clip."""

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    clip: int


class IntegerConv(nn.Module):
    """A convolution over integers; parameters are floats in units of `unit`, rounded to multiples of 2^-shift.

    `unit` and `bias_unit` put the useful range of each parameter near 1, so that one learning rate fits all.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, shift: int, clip: int, unit: float, bias_unit: float
    ) -> None:
        super().__init__()
        self.kernel, self.shift, self.clip = kernel, shift, clip
        self.unit, self.bias_unit = unit, bias_unit
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.rand(outputs))

    def integers(self) -> tuple[Tensor, Tensor]:
        """Integer-valued float weight in [-127, 127] and bias in [-2^22, 2^22], with gradients."""
        one = float(1 << self.shift)
        weight = round_ste(clamp_returning(self.weight * (self.unit * one), -127, 127))
        bias = round_ste(clamp_returning(self.bias * (self.bias_unit * one), -BIAS_LIMIT, BIAS_LIMIT))
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.integers()
        # Exact in any summation order; the rounding only guards against Winograd-style algorithms.
        acc = round_ste(F.conv2d(x, weight, bias, padding=self.kernel // 2))
        value = floor_ste(acc * 2.0**-self.shift + 0.5)
        return clamp_returning(value, 0, self.clip)

    def export(self) -> IntegerLayer:
        weight, bias = self.integers()
        outputs = weight.shape[0]
        return IntegerLayer(
            weight.detach().cpu().numpy().astype(np.int8),
            bias.detach().cpu().numpy().astype(np.int32),
            np.full(outputs, self.shift, np.int32),
            self.clip,
        )


class ScaleNetwork(nn.Module):
    """z symbols -> index of the Gaussian table of every latent; 1x1, 3x3, 1x1, pixel shuffle 4.

    Input: integer-valued float [N, inputs, h, w] in [-127, 127]. Output: integer-valued float
    [N, latent, 4h, 4w] in [0, 63], differentiable by straight-through estimators.
    """

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        last = 16 * latent
        self.layers = nn.ModuleList(
            [
                IntegerConv(inputs, hidden, 1, 4, ACTIVATION_MAX, unit=2.0, bias_unit=16.0),
                IntegerConv(hidden, hidden, 3, 7, ACTIVATION_MAX, unit=0.05, bias_unit=16.0),
                IntegerConv(hidden, last, 1, 7, SCALE_TABLES - 1, unit=0.03, bias_unit=20.0),
            ]
        )
        bound = max(inputs * HYPER_LIMIT, hidden * 9 * ACTIVATION_MAX) * 127 + BIAS_LIMIT
        if bound >= 1 << 24:
            raise ValueError(f"accumulators could reach {bound}: float32 would not simulate them exactly")

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            a = z.float()
            for layer in self.layers:
                a = layer(a)
            return F.pixel_shuffle(a, 4)

    def export(self) -> list[IntegerLayer]:
        return [layer.export() for layer in self.layers]  # type: ignore[operator]
