"""These calls on torch tensors trace to the fused operations of domain `rdc` (export/function_bodies.py).

They compute nothing in PyTorch; `export/graphs.py` puts them where the trained modules have ordinary arithmetic.
"""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from export.function_bodies import DOMAIN, PLUGIN, VERSION
from model.config import PIXEL_STRIDE
from model.transforms import IMAGE_CHANNELS


def _node(
    name: str, inputs: tuple[Tensor, ...], attributes: dict, dtypes: tuple, shapes: tuple
) -> list[Tensor]:
    return list(
        torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{name}", inputs, attributes | PLUGIN, dtypes=dtypes, shapes=shapes, version=VERSION
        )
    )


def image_to_tensor(pixels: Tensor) -> Tensor:
    n, h, w, _ = pixels.shape
    shape = (n, IMAGE_CHANNELS, h // PIXEL_STRIDE, w // PIXEL_STRIDE)
    to = onnx.TensorProto.FLOAT
    return _node("ImageToTensor", (pixels,), {"to": to}, (torch.float32,), (shape,))[0]


def gain_quantize(
    y: Tensor, mean: Tensor, gains: Tensor, level: Tensor, acc: Tensor, index: int
) -> tuple[Tensor, Tensor]:
    symbols, decoded = _node(
        "GainQuantize",
        (y, mean, gains, level, acc),
        {"pass": index},
        (torch.int32, torch.float32),
        (y.shape, y.shape),
    )
    return symbols, decoded


def gain_dequantize(symbols: Tensor, mean: Tensor, acc: Tensor, index: int) -> Tensor:
    return _node("GainDequantize", (symbols, mean, acc), {"pass": index}, (torch.float32,), (acc.shape,))[0]


def blend_to_image(x1: Tensor, r: Tensor, beta: Tensor) -> Tensor:
    n, _, h, w = x1.shape
    shape = (n, h * PIXEL_STRIDE, w * PIXEL_STRIDE, 3)
    return _node("BlendToImage", (x1, r, beta), {}, (torch.int8,), (shape,))[0]
