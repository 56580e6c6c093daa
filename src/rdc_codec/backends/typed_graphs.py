"""Gives an exported graph types of 16 bits, node by node, with the casts that this takes. Needs onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .precision import Reduced, reduced_nodes

FLOAT, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
TYPES: dict[Reduced, int] = {"fp16": HALF, "bf16": BRAIN}
SUFFIXES: dict[int, str] = {FLOAT: "float", HALF: "half", BRAIN: "bf16"}


def bf16_bits(values: np.ndarray) -> np.ndarray:
    """Round float32 values to the 8 bits of bf16, to the nearest, ties to even; uint16, the upper half of float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    up = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + up) >> np.uint32(16)).astype(np.uint16)


def load_graph(path: str | Path) -> onnx.ModelProto:
    """Load a graph of a bundle with its weights; those that are kept in fp16, with a cast behind them, in fp32.

    Raises what onnx raises of files that are damaged, and OSError.
    """
    model = onnx.load(str(path))
    kept = {t.name: t for t in model.graph.initializer if t.data_type == HALF}
    casts = [
        n
        for n in model.graph.node
        if n.op_type == "Cast" and n.input[0] in kept and n.attribute[0].i == FLOAT
    ]
    wide = {cast.output[0]: cast.input[0] for cast in casts}
    for cast in casts:
        tensor = kept[cast.input[0]]
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        model.graph.node.remove(cast)
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = wide.get(name, name)
    for value in [value for value in model.graph.value_info if value.name in wide]:
        model.graph.value_info.remove(value)
    return model


class _Converter:
    def __init__(self, model: onnx.ModelProto, kind: Reduced, nodes: Reduced) -> None:
        self.graph, self.narrow = model.graph, TYPES[kind]
        self.reduced = reduced_nodes(model.graph, nodes)
        self.constants = {t.name: t for t in self.graph.initializer}
        self.types = {v.name: v.type.tensor_type.elem_type for v in self.graph.input}
        self.types |= {name: t.data_type for name, t in self.constants.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.cast: dict[tuple[str, int], str] = {}
        inferred = onnx.shape_inference.infer_shapes(model)
        values = (*inferred.graph.value_info, *inferred.graph.output)
        self.inferred = {v.name: v.type.tensor_type.elem_type for v in values}

    def as_type(self, name: str, wanted: int) -> str:
        """Return the name of this value in the wanted type; anything but fp32 and the narrow type is left alone."""
        if not name or self.types.get(name, 0) not in (FLOAT, self.narrow) or self.types[name] == wanted:
            return name
        key = (name, wanted)
        if key not in self.cast:
            self.cast[key] = f"{name}_{SUFFIXES[wanted]}"
            if name in self.constants:
                self.graph.initializer.append(self.constant(name, wanted))
            else:
                self.nodes.append(
                    helper.make_node("Cast", [name], [self.cast[key]], name=self.cast[key], to=wanted)
                )
            self.types[self.cast[key]] = wanted
        return self.cast[key]

    def constant(self, name: str, wanted: int) -> onnx.TensorProto:
        values, made = numpy_helper.to_array(self.constants[name]), self.cast[name, wanted]
        if wanted == BRAIN:  # which NumPy has not
            raw = bf16_bits(values).astype("<u2").tobytes()
            return helper.make_tensor(made, BRAIN, values.shape, raw, raw=True)
        return numpy_helper.from_array(values.astype(np.float16 if wanted == HALF else np.float32), made)

    def convert(self) -> None:
        for given, reduced in zip(self.graph.node, self.reduced, strict=True):
            wanted = self.narrow if reduced else FLOAT
            node = onnx.NodeProto.FromString(given.SerializeToString())
            for k, name in enumerate(node.input):
                node.input[k] = self.as_type(name, wanted)
            self.nodes.append(node)
            for output in node.output:
                known = self.inferred.get(output, FLOAT)
                self.types[output] = wanted if known == FLOAT and node.op_type != "Cast" else known
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        for tensor in [t for t in self.graph.initializer if t.name not in used]:
            self.graph.initializer.remove(tensor)
        for value in self.graph.value_info:
            value.type.tensor_type.elem_type = self.types[value.name]


def in_16_bits(model: onnx.ModelProto, kind: Reduced, nodes: Reduced | None = None) -> onnx.ModelProto:
    """Return the graph of an fp32 model in which the nodes that may be are in this type; inputs and outputs are not.

    nodes: those that may compute in this type, in place of those that may in `kind`. `model`, whose weights are loaded,
    is not changed.
    """
    made = onnx.ModelProto.FromString(model.SerializeToString())
    _Converter(made, kind, nodes or kind).convert()
    return made
