"""PyTorch networks of the codec: transforms, gain units, entropy models, the two branches."""

from model.branches import AuxiliaryBranch, BranchOutput, Decoded, PrimaryBranch, RateDistortionCognition
from model.config import BranchConfig, ModelConfig

__all__ = [
    "AuxiliaryBranch",
    "BranchConfig",
    "BranchOutput",
    "Decoded",
    "ModelConfig",
    "PrimaryBranch",
    "RateDistortionCognition",
]
