"""This module traces torch modules to ONNX graphs that explain themselves: names, shapes, texts, metadata."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from export.function_bodies import DOMAIN, OPSET, attach_functions

_SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter notes which module a node comes from
_DIMENSION = re.compile(r"(\d+\*)?(\w+)")


def export_graph(
    module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], shapes: dict[str, dict]
) -> onnx.ModelProto:
    """Trace a module to ONNX, opset 18, with dynamic shapes and the bodies of the `rdc` operations attached.

    shapes: name of an input or output -> {axis: torch.export.Dim}. The model is checked (full) before it is returned.
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
    name_nodes(model.graph)
    name_dimensions(model.graph, shapes)
    _strip(model)
    attach_functions(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(model: onnx.ModelProto, text: str, facts: Mapping[str, str]) -> None:
    """Write what a graph does, and of which bundle it is, where viewers of ONNX files show it."""
    model.doc_string = model.graph.doc_string = text
    helper.set_model_props(model, dict(sorted(facts.items())))


def _scope(node: onnx.NodeProto) -> tuple[str, str]:
    """Return the path of a node's module ("" for the graph's own code), and PyTorch's word for the operation."""
    noted = next((p.value for p in node.metadata_props if p.key == _SCOPES), "[]")
    *modules, operation = ast.literal_eval(noted) or [node.op_type.lower()]
    module = modules[-1] if modules else ""
    operation = re.sub(r"(_default)?(_\d+)?$", "", operation).strip("_")
    return (module if module.startswith(("primary.", "auxiliary.")) else ""), operation


def name_nodes(graph: onnx.GraphProto) -> None:
    """Name nodes after their modules: a convolution as its weight, others with the operation behind the module's path.

    A fused operation of a pass is named after the branch whose means it takes. Of several uses of one module, all but
    the first have a number.
    """
    made_by: dict[str, str] = {}  # value -> name of its node
    taken: set[str] = set()
    for node in graph.node:
        module, operation = _scope(node)
        if node.domain == DOMAIN:
            name = node.op_type
            passes = [a.i for a in node.attribute if a.name == "pass"]
            if passes:
                branch = made_by.get(node.input[1], "").partition(".")[0]
                name = f"{branch}.{name}.{passes[0]}"
        elif node.op_type == "Conv":
            name = node.input[1].removesuffix(".weight")
        else:
            name = f"{module}.{operation}".strip(".")
        number, node.name = 1, name
        while node.name in taken:
            number += 1
            node.name = f"{name}#{number}"
        taken.add(node.name)
        made_by |= dict.fromkeys(node.output, node.name)


def name_dimensions(graph: onnx.GraphProto, shapes: dict[str, dict[int, Any]]) -> None:
    """Say n, rows and columns in the shapes of all values; a shape that is no multiple of them is left out."""
    names = {}
    for value in (*graph.input, *graph.output):
        for axis, dim in shapes[value.name].items():
            shape = value.type.tensor_type.shape
            if found := _DIMENSION.fullmatch(shape.dim[axis].dim_param):
                names[found[2]] = dim.__name__.rpartition("*")[2]
            shape.dim[axis].dim_param = dim.__name__
    for value in graph.value_info:  # where no border has them by themselves: planes are [N, C, rows, columns]
        dims = value.type.tensor_type.shape.dim
        for axis, name in ((2, "rows"), (3, "columns")) if len(dims) == 4 else ():
            if found := _DIMENSION.fullmatch(dims[axis].dim_param):
                names.setdefault(found[2], name)
    kept = []
    inner = {output for node in graph.node for output in node.output}
    for value in graph.value_info:
        dims = [d for d in value.type.tensor_type.shape.dim if d.dim_param]
        found_all = [_DIMENSION.fullmatch(d.dim_param) for d in dims]
        if value.name in inner and all(f and f[2] in names for f in found_all):
            for dim, found in zip(dims, found_all, strict=True):
                assert found
                dim.dim_param = (found[1] or "") + names[found[2]]
            kept.append(value)
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about source files: it bloats the graph and names the builder's folders."""
    graph = model.graph
    for item in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
    ):
        del item.metadata_props[:]
        item.doc_string = ""
