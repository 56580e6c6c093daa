"""Keeps the weights of convolutions in 16 bits in a bundle, which halves it. What computes with them stays fp32.

A weight is rounded before anything else is made of the model, so that the bundle, its identity and the model that it
gives back are of the same values. In a graph it is an fp16 initialiser with a cast behind it, which every engine folds
when it loads the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from export.errors import ExportError
from rdc_codec.backends.typed_graphs import FLOAT


def round_weights(model: nn.Module) -> None:
    """Round the weights of all convolutions to fp16, in place; they stay fp32. Raises ExportError beyond its range."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            rounded = module.weight.detach().half().float()
            if not torch.isfinite(rounded).all():
                raise ExportError(f"{name}.weight has values beyond fp16")
            module.weight.data.copy_(rounded)


def keep_in_half(model: onnx.ModelProto) -> None:
    """Store the weights of all convolutions in fp16, in place, each with a cast to fp32 where it was.

    Raises ExportError where a weight has other values than those of fp16.
    """
    graph = model.graph
    taken = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in taken or tensor.data_type != FLOAT:
            continue
        wide = numpy_helper.to_array(tensor)
        half = wide.astype(np.float16)
        if not np.array_equal(half, wide):
            raise ExportError(f"{tensor.name} was not rounded to fp16")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name))
        graph.value_info.append(helper.make_tensor_value_info(f"{name}.float", FLOAT, tensor.dims))
        casts.append(helper.make_node("Cast", [name], [f"{name}.float"], name=f"{name}.float", to=FLOAT))
    stored = {cast.input[0] for cast in casts}
    nodes = [*casts, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    for node in nodes[len(casts) :]:
        for k, name in enumerate(node.input):
            if name in stored:
                node.input[k] = f"{name}.float"
    del graph.node[:]
    graph.node.extend(nodes)
