"""Torch modules -> ONNX files that share one file of weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export.operators import OPSET, attach_functions

ALIGNMENT = 64
INLINE_BYTES = 1024  # smaller tensors (shapes, constants) stay inside the graph files


class WeightsFile:
    """The bundle's `weights.bin`: every tensor once, however many graphs use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._places: dict[bytes, int] = {}

    def place(self, tensor: onnx.TensorProto) -> None:
        """Move the data of an initialiser into the file."""
        data = np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes()
        if data not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._places[data] = self._file.tell()
            self._file.write(data)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (
            ("location", self.path.name),
            ("offset", self._places[data]),
            ("length", len(data)),
        ):
            tensor.external_data.add(key=key, value=str(value))

    def close(self) -> None:
        self._file.close()


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about source files: it bloats the graph and names the builder's folders."""
    model.doc_string = ""
    model.graph.doc_string = ""
    for item in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        del item.metadata_props[:]
        item.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.value_info[:]  # shapes are inferred again; these would name torch's symbols


def export_graph(
    module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], shapes: dict[str, dict]
) -> onnx.ModelProto:
    """Trace a module to ONNX, opset 18, with dynamic shapes and the bodies of the `rdc` operations attached.

    shapes: input name -> {axis: torch.export.Dim}. The model is checked (full) before it is returned.
    """
    program = torch.onnx.export(
        module.eval(),
        tuple(inputs.values()),
        dynamo=True,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=tuple(shapes[name] for name in inputs),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    model = onnx.ModelProto.FromString(program.model_proto.SerializeToString())
    _strip(model)
    attach_functions(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_graph(model: onnx.ModelProto, path: Path, weights: WeightsFile) -> None:
    """Write one graph; its larger initialisers go to the shared file. `model` is changed."""
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= INLINE_BYTES:
            weights.place(tensor)
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(partial, path)
