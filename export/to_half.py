"""Gives a bundle fp16 graphs: `python export/to_half.py [BUNDLE] -o DIR [--products]`.

Needs NumPy, onnx and the runtime, not PyTorch.

They are strongly typed, as TensorRT 11 wants them. Both identities stay: streams are the same ones, and pictures
those of the same model. Which nodes compute in fp16 is what `rdc_codec.backends.precision` says. The `rdc` operations
take either type.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

if __package__ in (None, ""):  # run as a script from a clone
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from export.bundle_writer import MANIFEST, WeightsFile, new_bundle, sha256_of, write_graph, write_manifest
from export.errors import ExportError
from rdc_codec.backends.precision import Reduced
from rdc_codec.backends.typed_graphs import FLOAT, HALF, in_16_bits, load_graph
from rdc_codec.bundle import DEFAULT, WEIGHTS, Bundle


def to_half(model: onnx.ModelProto, nodes: Reduced = "fp16") -> onnx.ModelProto:
    """Return the graph of an fp32 model with fp16 convolutions; inputs and outputs keep their types.

    nodes: those that may compute in this type are in fp16. `model`, whose weights are loaded, is not changed. Raises
    ValueError where a weight has no place in fp16.
    """
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT and np.abs(numpy_helper.to_array(tensor)).max(initial=0) > 65504:
            raise ValueError(f"{tensor.name} has values beyond fp16")
    made = in_16_bits(model, "fp16", nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def _is_product(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Tell whether a convolution with weights in fp16 is a matrix product for each pixel."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    moves = {*attributes.get("strides", ()), *(pad + 1 for pad in attributes.get("pads", ()))}
    return (
        list(weights[node.input[1]].dims[2:]) == [1, 1] and attributes.get("group", 1) == 1 and moves <= {1}
    )


def conv1x1_as_matmul(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an fp16 graph whose fp16 convolutions of 1x1 are matrix products. `model` is not changed.

    For ONNX Runtime on a GPU. With TF32 off it keeps all convolutions from the tensor cores if cuDNN can do without
    them, those in fp16 too; matrix products in fp16 it does not. And TF32 has to be off: it rounds to 11 bits what the
    fp32 convolutions take (docs/results.md).
    """
    made = onnx.ModelProto.FromString(model.SerializeToString())
    weights = {t.name: t for t in made.graph.initializer if t.data_type == HALF}
    chosen = [_is_product(node, weights) for node in made.graph.node]
    nodes: list[onnx.NodeProto] = []
    for node, is_product in zip(made.graph.node, chosen, strict=True):
        if not is_product:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        (x, weight, bias), y = node.input, node.output[0]
        # [1, outputs, inputs or 1]: of matrices of two dimensions a batch would be a list of pointers.
        for name in (weight, bias):
            values = numpy_helper.to_array(weights[name])
            if values.ndim != 3:  # some are used in several passes
                weights[name].CopyFrom(numpy_helper.from_array(values.reshape(1, len(values), -1), name))
        nodes += [
            helper.make_node("Reshape", [x, "half.flat"], [f"{y}.x"], name=f"{node.name}.flat"),
            helper.make_node("MatMul", [weight, f"{y}.x"], [f"{y}.product"], name=node.name),
            helper.make_node("Add", [f"{y}.product", bias], [f"{y}.sum"], name=f"{node.name}.sum"),
            helper.make_node("Shape", [x], [f"{y}.sides"], name=f"{node.name}.sides", start=2, end=4),
            helper.make_node(
                "Concat", ["half.same", f"{y}.sides"], [f"{y}.shape"], name=f"{node.name}.shape", axis=0
            ),
            helper.make_node("Reshape", [f"{y}.sum", f"{y}.shape"], [y], name=f"{node.name}.unflat"),
        ]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    for name, sizes in (("half.flat", [0, 0, -1]), ("half.same", [0, 0])):  # 0: as it is
        made.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
    onnx.checker.check_model(made, full_check=True)
    return made


def copy_bundle(
    source: Path,
    folder: Path,
    precision: str,
    convert: Callable[[onnx.ModelProto], onnx.ModelProto] = to_half,
) -> None:
    """Write a bundle in this precision to `folder`, which is replaced as a whole; the manifest's `made_from` is the
    SHA-256 of the source's. convert: makes its graphs where the precision is another. Raises ExportError if `folder`
    is the source, lies in the installed package or is no bundle, or the source has not the precision to give;
    CodecError if the source is no bundle."""
    known = Bundle(source).manifest.get("precision", "fp32")
    if known != precision and known != "fp32":
        raise ExportError(f"{source} is an {known} bundle: {precision} graphs are made of fp32 ones")
    if folder.resolve() == source.resolve():
        raise ExportError(f"{folder} is the bundle itself, which would be replaced")
    if DEFAULT.parent.resolve() in folder.resolve().parents:
        raise ExportError(f"{folder} lies in the installed package, which is nobody's to write to")
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    with new_bundle(folder) as made:
        if known != precision:
            weights = WeightsFile(made / WEIGHTS)
            for graph in manifest["graphs"].values():
                write_graph(convert(load_graph(source / graph["file"])), made / graph["file"], weights)
            weights.close()
        for name in manifest["files"]:
            if not (made / name).exists():
                shutil.copyfile(source / name, made / name)
        write_manifest(made, manifest | {"precision": precision, "made_from": sha256_of(source / MANIFEST)})
        Bundle(made)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=DEFAULT, help="(default: the shipped one)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the fp16 bundle")
    parser.add_argument(
        "--products",
        action="store_true",
        help="1x1 convolutions as matrix products, for ONNX Runtime on a GPU",
    )
    args = parser.parse_args(argv)
    convert = (lambda model: conv1x1_as_matmul(to_half(model))) if args.products else to_half
    copy_bundle(args.bundle, args.output, "fp16", convert)
    size = sum(p.stat().st_size for p in args.output.iterdir())
    print(f"{args.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
