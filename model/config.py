"""Architecture constants, validated, as they are written beside a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

PIXEL_STRIDE = 8  # the heavy work happens at 1/8 resolution (space-to-depth)
LATENT_STRIDE = 16  # latents y
HYPER_STRIDE = 64  # hyper-latents z; images are padded to a multiple of this
SYMBOL_LIMIT = 2047  # residual symbols are clamped to +-this inside the closed loop
HYPER_LIMIT = 127  # hyper-latent symbols, so that they are int8 inputs of the scale network
SCALE_TABLES = 64  # CDF tables of residual symbols, sigma geometric between the two below
SIGMA_LOW = 0.11
SIGMA_HIGH = 256.0
QUADTREE_PASSES = 4


@dataclasses.dataclass(frozen=True)
class BranchConfig:
    """One branch. `channels` is the width of the transforms; `latent` and `hyper` count channels of y and z."""

    channels: int = 128
    latent: int = 192
    hyper: int = 64
    blocks: int = 4  # residual blocks at 1/8 resolution, each way
    deep_blocks: int = 1  # residual blocks at 1/16 resolution, each way
    context_blocks: int = 2  # residual blocks shared by the context passes
    scale_hidden: int = 64  # width of the integer scale network
    scale_context: int = 64  # width of its second half, which looks at symbols of passes before
    slices: int = 1  # chunks that the latents are sent in: all at once, or one for each quadtree pass
    latent_scale: float = 10.0  # y is multiplied by this before the gain (the gain starts at sqrt(lambda))
    points: int = 0  # magnitudes of symbols that have reconstruction points of their own (model/points.py)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < (0 if field.name.endswith(("blocks", "points")) else 1):
                raise ValueError(f"{field.name}={getattr(self, field.name)} is too small")
        if self.latent % QUADTREE_PASSES:
            raise ValueError(f"latent={self.latent} must be a multiple of {QUADTREE_PASSES}")
        if self.slices not in (1, QUADTREE_PASSES):
            raise ValueError(
                f"slices={self.slices} must be 1 or {QUADTREE_PASSES}: a slice is a quadtree pass"
            )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Both branches and the range of Lagrange multipliers that their gain units span.

    A *level* l in [0, levels - 1] is a continuous position in a gain table; its multiplier is
    lambda(l) = low * (high / low)^(l / (levels - 1)), for the loss bpp + lambda * 255^2 * MSE.
    """

    primary: BranchConfig = dataclasses.field(default_factory=BranchConfig)
    auxiliary: BranchConfig | None = dataclasses.field(
        default_factory=lambda: BranchConfig(slices=QUADTREE_PASSES)
    )
    levels: int = 8
    primary_lambda: tuple[float, float] = (0.0002, 0.05)
    auxiliary_lambda: tuple[float, float] = (0.0018, 0.18)

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ValueError(f"levels={self.levels} must be at least 2")
        if self.primary.slices != 1:
            raise ValueError("the primary branch is all or nothing: slices must be 1")
        if self.auxiliary is not None and self.auxiliary.slices == 1:
            raise ValueError(f"the auxiliary branch is scalable: slices must be {QUADTREE_PASSES}")
        if self.auxiliary is not None and self.auxiliary.latent < self.primary.latent:
            raise ValueError(
                "the auxiliary latent refines the primary's and must have as many channels or more"
            )
        for name in ("primary_lambda", "auxiliary_lambda"):
            low, high = getattr(self, name)
            if not (0 < low < high and math.isfinite(high)):
                raise ValueError(f"{name}={low, high} must be increasing and positive")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_dict` is its inverse.

        Identities are made of it, so what came later and is not used is left out: they stay as they were.
        """
        values = dataclasses.asdict(self)
        for branch in (values["primary"], values["auxiliary"]):
            if branch is not None and not branch["points"]:
                del branch["points"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Raise ValueError or TypeError for unknown names or values out of range."""
        values = dict(values)
        values["primary"] = BranchConfig(**values["primary"])
        if values.get("auxiliary") is not None:
            values["auxiliary"] = BranchConfig(**values["auxiliary"])
        for name in ("primary_lambda", "auxiliary_lambda"):
            values[name] = tuple(values[name])
        return cls(**values)


NAMED = {
    "light": ModelConfig(),  # the shipped one
    # For machines with a GPU: about four times the arithmetic. Not wider: a folded picture has 192 channels, and all
    # of them start as principal components (model/init_klt.py).
    "large": ModelConfig(
        primary=BranchConfig(channels=192, latent=256, blocks=7, deep_blocks=2),
        auxiliary=BranchConfig(channels=192, latent=256, blocks=7, deep_blocks=2, slices=QUADTREE_PASSES),
    ),
}
