"""Frozen task networks as feature extractors: any ONNX classifier, converted to torch with gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx2torch
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper, shape_inference
from torch import Tensor, nn


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
    """Tensors to compare: the last one of each spatial resolution below 1/4, then the pooled feature."""
    inferred = shape_inference.infer_shapes(model)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    last: dict[int, str] = {}
    pooled = None
    for node in model.graph.node:
        shape = shapes.get(node.output[0], [])
        if len(shape) == 4 and 1 < shape[2] < side // 4:
            last[shape[2]] = node.output[0]
        if node.op_type in ("GlobalAveragePool", "ReduceMean", "AveragePool"):
            pooled = node.output[0]
    if pooled is None or not last:
        raise ValueError("not a classifier with a global pooling layer: no features to compare")
    return [*last.values(), pooled]


class OnnxBackbone(nn.Module):
    """Frozen classifier; `forward` takes images in [0, 1], [N, 3, H, W], and returns its tapped features.

    The last feature is the pooled one, [N, C]; the others are maps, from fine to coarse. `scale` and
    `shift` give the network's preprocessing, pixel * scale + shift for pixels in [0, 1].
    """

    def __init__(self, path: str | Path, scale: float = 2.0, shift: float = -1.0) -> None:
        super().__init__()
        model = fold_dequantize(onnx.load(str(path)))
        dims = model.graph.input[0].type.tensor_type.shape.dim
        self.side = dims[2].dim_value
        self.scale, self.shift = scale, shift
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
        # Channels-last fp32: about four times as fast on a CPU as the default layout, gradients included.
        self.net = onnx2torch.convert(model).eval().to(memory_format=torch.channels_last)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> OnnxBackbone:
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        with torch.autocast(image.device.type, enabled=False):
            image = F.interpolate(image.float(), (self.side, self.side), mode="bilinear", align_corners=False)
            image = (image * self.scale + self.shift).contiguous(memory_format=torch.channels_last)
            *maps, pooled = self.net(image)
        return [*maps, pooled.flatten(1)]
