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

from model.config import HYPER_LIMIT, QUADTREE_PASSES, SCALE_TABLES, SYMBOL_LIMIT
from model.context import pass_of
from model.quantization import clamp_ste, floor_ste, round_ste

ACTIVATION_MAX = 127
BIAS_LIMIT = 1 << 22
MAGNITUDE_MAX = SYMBOL_LIMIT.bit_length()


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
    """What the native code runs: weight int8 [out, in, k, k], bias int32 [out], shift int32 [out], clip.

    In the second half of the network, see `ScaleNetwork.export_context`.
    """

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
        weight = round_ste(clamp_ste(self.weight * (self.unit * one), -127, 127))
        bias = round_ste(clamp_ste(self.bias * (self.bias_unit * one), -BIAS_LIMIT, BIAS_LIMIT))
        return weight, bias

    @torch.no_grad()
    def set_integers(self, weight: Tensor, bias: Tensor) -> None:
        """Parameters that round to these integers (of any type, as many as there are parameters)."""
        one = float(1 << self.shift)
        self.weight.copy_(weight.reshape(self.weight.shape).float() / (self.unit * one))
        self.bias.copy_(bias.reshape(self.bias.shape).float() / (self.bias_unit * one))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.integers()
        # Exact in any summation order; the rounding only guards against Winograd-style algorithms.
        acc = round_ste(F.conv2d(x, weight, bias, padding=self.kernel // 2))
        value = floor_ste(acc * 2.0**-self.shift + 0.5)
        return clamp_ste(value, 0, self.clip)

    def export(self) -> IntegerLayer:
        weight, bias = self.integers()
        outputs = weight.shape[0]
        return IntegerLayer(
            weight.detach().cpu().numpy().astype(np.int8),
            bias.detach().cpu().numpy().astype(np.int32),
            np.full(outputs, self.shift, np.int32),
            self.clip,
        )


def magnitude(symbols: Tensor) -> Tensor:
    """Bit length of |symbol|: 0, 1, 2, 2, 3, ... for 0, 1, 2, 3, 4, ...; floats. Without gradient: symbols are not
    sent for the sake of their context."""
    return torch.frexp(symbols.detach().float()).exponent.clamp_min(0).float()


class ScaleNetwork(nn.Module):
    """Hyper-latent symbols, and the symbols of passes before, -> index of the CDF table of every latent.

    The first half is 1x1, 3x3, 1x1, pixel shuffle 4 over z: a first guess of the index for every latent, and
    `context` features. The second half looks at the magnitudes of the symbols in the 3x3 neighbourhood that are known
    before a pass (and at those of `other` channels, all known), adds the features, and corrects the guess.
    """

    def __init__(self, inputs: int, hidden: int, latent: int, context: int, other: int = 0) -> None:
        super().__init__()
        self.latent, self.context = latent, context
        last = 16 * (latent + context)
        self.layers = nn.ModuleList(
            [
                IntegerConv(inputs, hidden, 1, 4, ACTIVATION_MAX, unit=2.0, bias_unit=16.0),
                IntegerConv(hidden, hidden, 3, 7, ACTIVATION_MAX, unit=0.05, bias_unit=16.0),
                IntegerConv(hidden, last, 1, 7, SCALE_TABLES - 1, unit=0.03, bias_unit=20.0),
            ]
        )
        self.neighbours = IntegerConv(latent + other, context, 3, 6, ACTIVATION_MAX, unit=0.5, bias_unit=16.0)
        self.neighbours.bias = nn.Parameter(torch.rand(QUADTREE_PASSES, context))
        self.heads = IntegerConv(
            context, QUADTREE_PASSES * latent, 1, 8, SCALE_TABLES - 1, unit=0.2, bias_unit=1.0
        )
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        reach = max(
            inputs * HYPER_LIMIT,
            hidden * 9 * ACTIVATION_MAX,
            (latent + other) * 9 * MAGNITUDE_MAX,
            context * ACTIVATION_MAX,
        )
        features, rounding = SCALE_TABLES << self.neighbours.shift, 1 << self.heads.shift
        bound = reach * 127 + BIAS_LIMIT + features + rounding
        if bound >= 1 << 24:
            raise ValueError(f"accumulators could reach {bound}: float32 would not simulate them exactly")

    def forward(self, z: Tensor, symbols: Tensor, other: Tensor | None = None) -> Tensor:
        """z: integer-valued float [N, inputs, h, w] in [-127, 127]; symbols, other: [N, channels, 4h, 4w].

        Returns integer-valued float [N, latent, 4h, 4w] in [0, 63], differentiable by straight-through estimators.
        """
        with torch.autocast(z.device.type, enabled=False):
            a = z.float()
            for layer in self.layers:
                a = layer(a)
            guess, features = F.pixel_shuffle(a, 4).split([self.latent, self.context], 1)
            return self._refine(guess, features, symbols, other)

    def _refine(self, guess: Tensor, features: Tensor, symbols: Tensor, other: Tensor | None) -> Tensor:
        n, c, h, w = guess.shape
        passes = pass_of(guess)
        own = magnitude(symbols)
        known = torch.stack([own * (passes < q) for q in range(QUADTREE_PASSES)], 1)  # [N, 4, latent, h, w]
        if other is not None:
            known = torch.cat([known, magnitude(other)[:, None].expand(-1, QUADTREE_PASSES, -1, -1, -1)], 2)
        known = known.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        weight, bias = self.neighbours.integers()
        one = float(1 << self.neighbours.shift)
        acc = round_ste(F.conv2d(known, weight, padding=1)).reshape(n, QUADTREE_PASSES, -1, h, w)
        acc = acc + features[:, None] * one + bias[None, :, :, None, None]
        hidden = clamp_ste(floor_ste(acc / one + 0.5), 0, self.neighbours.clip)
        weight, bias = self.heads.integers()
        acc = torch.einsum("nqkhw,qck->nqchw", hidden, weight.reshape(QUADTREE_PASSES, c, -1))
        acc = round_ste(acc) + bias.reshape(1, QUADTREE_PASSES, c, 1, 1)
        change = floor_ste(acc * 2.0**-self.heads.shift + 0.5)
        now = torch.stack([passes == q for q in range(QUADTREE_PASSES)], 1)
        return clamp_ste(guess + (change * now).sum(1), 0, self.heads.clip)

    def parts(self) -> dict[str, IntegerConv]:
        """All layers by the name that the tables of a bundle have for them."""
        first = {f"scale{k}": layer for k, layer in enumerate(self.layers)}
        return first | {"neighbours": self.neighbours, "heads": self.heads}  # type: ignore[return-value]

    def snap_to_integers(self) -> None:
        """Make every parameter exactly what its integer stands for; the network computes the same."""
        for layer in self.parts().values():
            layer.set_integers(*layer.integers())

    def export(self) -> list[IntegerLayer]:
        """The first half."""
        return [layer.export() for layer in self.layers]  # type: ignore[operator]

    def export_context(self) -> tuple[IntegerLayer, IntegerLayer]:
        """The second half: weight [hidden, inputs, 3, 3] with bias [4, hidden]; all of [4, latent, ...]."""
        neighbours, heads = self.neighbours.export(), self.heads.export()
        first = (QUADTREE_PASSES, self.latent)
        heads = IntegerLayer(
            heads.weight.reshape(*first, -1),
            heads.bias.reshape(first),
            heads.shift.reshape(first),
            heads.clip,
        )
        return neighbours, heads
