"""Identity of a model's pictures."""

from model import RateDistortionCognition
from rdc_codec.bundle import identity


def picture_identity(model: RateDistortionCognition) -> bytes:
    """SHA-256 of all trained tensors and the configuration: never of ONNX bytes, which versions change."""
    tensors = {k: v.detach().cpu().numpy() for k, v in model.state_dict().items()}
    return identity(tensors, model.config.to_dict())
