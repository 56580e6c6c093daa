"""Measures what 16 and 8 bits cost: streams of either precision read by both, and PSNR to the original.

python -m benchmarks.precision --data DIR [--type fp16 | bf16 | int8 | --openvino] [--largest N | --flattest N]
    [--products] [--tf32] [--limit N] [--model BUNDLE]

For each quality: bytes of encoding in this type against fp32, streams whose symbols depend on the reader (none may),
and how PSNR changes from fp32 at both ends to the type at both, at the encoder alone, at the decoder alone, in dB, the
mean and the worst photo. fp16: the graphs of export/to_half.py. bf16: the nodes that `Codec(precision="fast")` has in
bf16 in OpenVINO. int8: the residual branches of analysis and synthesis, without training for it: s8 weights, a scale
for each output channel, and u8 activations, a range for each tensor of each picture.
--largest: only the N photos with the largest symbols at quality 100; --flattest: with the fewest bits a pixel, where
quantisation is finest against the signal.

On the CPU, where ONNX Runtime computes fp16 graphs in fp32 and leaves out most of the rounding between layers: it is
put in as explicit casts here, so values are those that a GPU stores, or a processor with bf16. Sums inside a layer are
fp32, as in tensor cores. --openvino rounds nothing itself: OpenVINO with precision="fast" beside "exact", on a
processor that has bf16.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tqdm import tqdm

from benchmarks.common import add_options, photos, psnr, table
from benchmarks.tasks import Picture
from export.function_bodies import DOMAIN
from export.to_half import conv1x1_as_matmul, copy_bundle, to_half
from rdc_codec import Codec
from rdc_codec.backends.precision import reduced_nodes
from rdc_codec.backends.typed_graphs import BRAIN, FLOAT, HALF, bf16_bits

QUALITIES = (0, 25, 50, 75, 100)
WORST_CHANGE = -0.05  # dB
TRANSFORMS = re.compile(r"\.(analysis|synthesis)\.")  # of the names of weights


def truncate(model: onnx.ModelProto) -> None:
    """Reduce what fp32 convolutions take to what TF32 leaves of it at worst: 11 bits, cut off.

    Values by splitting them (T. J. Dekker, 1971): c - (c - x) with c = (2^13 + 1) x is x rounded to 11 bits. Cutting
    off is what some kernels do: so x is made smaller by 2^-11 before, which is half of the last bit or more.
    """
    graph = model.graph
    constants = {t.name: t for t in graph.initializer}
    for name, value in (("tf32.smaller", 1 - 2**-11), ("tf32.split", 2**13 + 1)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    nodes, done = [], set()
    for node in graph.node:
        if node.op_type == "Conv" and constants[node.input[1]].data_type == FLOAT:
            x, weights = node.input[0], constants[node.input[1]]
            if weights.name not in done:
                bits = numpy_helper.to_array(weights).view(np.uint32) & np.uint32(0xFFFFE000)
                weights.CopyFrom(numpy_helper.from_array(bits.view(np.float32), weights.name))
            if x not in done:
                steps = (
                    ("Mul", [x, "tf32.smaller"], "less"),
                    ("Mul", [f"{x}@less", "tf32.split"], "c"),
                    ("Sub", [f"{x}@c", f"{x}@less"], "rest"),
                    ("Sub", [f"{x}@c", f"{x}@rest"], "tf32"),
                )
                nodes += [helper.make_node(kind, taken, [f"{x}@{made}"]) for kind, taken, made in steps]
            done |= {x, weights.name}
            node.input[0] = f"{x}@tf32"
        nodes.append(node)
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(made)


def rounded(model: onnx.ModelProto, tf32: bool = False) -> onnx.ModelProto:
    """Make an fp32 graph with the values of an fp16 one.

    Each fp16 tensor becomes fp32, rounded to fp16 by casts that no optimiser takes away. Fused operations keep
    their fp16 outputs; inputs they widen themselves.
    """
    if tf32:
        truncate(model)
    made = onnx.ModelProto.FromString(model.SerializeToString())
    inferred = onnx.shape_inference.infer_shapes(made).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    half = {v.name for v in values if v.type.tensor_type.elem_type == HALF}
    for tensor in made.graph.initializer:
        if tensor.data_type == HALF:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    nodes = []
    for given in made.graph.node:
        node = onnx.NodeProto.FromString(given.SerializeToString())
        nodes.append(node)
        for k, name in enumerate(node.output):
            if name not in half:
                continue
            node.output[k] = narrow = f"{name}@half"
            if node.domain != DOMAIN and node.op_type != "Cast":  # computes in fp32 now
                node.output[k] = f"{name}@float"
                nodes.append(helper.make_node("Cast", [node.output[k]], [narrow], to=HALF))
            nodes.append(helper.make_node("Cast", [narrow], [name], to=FLOAT))
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Round float32 values to those of bf16."""
    return (bf16_bits(values).astype(np.uint32) << np.uint32(16)).view(np.float32)


def rounded_to_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make an fp32 graph with the values of one in which the nodes that may be are in bf16."""
    half = to_half(model, "bf16")
    narrow = {t.name for t in half.graph.initializer if t.data_type == HALF}
    weights = {f"{t.name}_half": t for t in model.graph.initializer}
    made = rounded(half)
    for tensor in made.graph.initializer:
        if tensor.name in narrow:  # of the fp32 ones: those that are rounded to fp16 would be rounded twice
            values = to_bf16(numpy_helper.to_array(weights[tensor.name]))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in made.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == HALF:
                attribute.i = BRAIN
    onnx.checker.check_model(made, full_check=True)
    return made


def rounded_to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make an fp32 graph whose residual branches have weights and activations with the values of 8 bits."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    weights = {t.name: t for t in made.graph.initializer}
    nodes, done = [], set()
    for given, reduced in zip(made.graph.node, reduced_nodes(made.graph, "fp16"), strict=True):
        node = onnx.NodeProto.FromString(given.SerializeToString())
        if reduced and node.op_type == "Conv" and TRANSFORMS.search(node.input[1]):
            x, weight = node.input[0], weights[node.input[1]]
            if weight.name not in done:
                values = numpy_helper.to_array(weight)
                axes = tuple(range(1, values.ndim))
                step = np.maximum(np.abs(values).max(axes, keepdims=True), 1e-12) / 127
                weight.CopyFrom(
                    numpy_helper.from_array((np.rint(values / step) * step).astype(np.float32), weight.name)
                )
            if x not in done:
                parts = [f"{x}@{part}" for part in ("levels", "step", "zero")]
                nodes.append(helper.make_node("DynamicQuantizeLinear", [x], parts))
                nodes.append(helper.make_node("DequantizeLinear", parts, [f"{x}@int8"]))
            done |= {x, weight.name}
            node.input[0] = f"{x}@int8"
        nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def rounding_codec(
    full: Codec, folder: Path, kind: str = "fp16", tf32: bool = False, as_products: bool = False
) -> Codec:
    """Make a codec of a model's graphs with values as those of another type are, on a machine that has it.

    folder: to put them in. kind: "fp16", "bf16" or "int8". tf32: for the fp32 convolutions of an fp16 graph.
    as_products: 1x1 convolutions of one are matrix products, rounded before the bias is added and once more after it.
    """

    def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
        half = to_half(model)
        return rounded(conv1x1_as_matmul(half) if as_products else half, tf32)

    convert = {"fp16": to_fp16, "bf16": rounded_to_bf16, "int8": rounded_to_int8}[kind]
    copy_bundle(full.bundle.path, folder, "fp16", convert)
    return Codec(folder)


def largest_symbol(codec: Codec, rgb: Picture) -> float:
    """Return the largest symbol of either branch at quality 100."""
    symbols = codec.symbols(codec.encode(rgb, 100))
    return max(float(np.abs(values).max()) for name, values in symbols.items() if name.endswith("latents"))


def flatness(codec: Codec, rgb: Picture) -> float:
    """Return how many pixels the base stream has for each bit at quality 100."""
    return rgb[..., 0].size / (8 * len(codec.encode(rgb, 100, layers="base")))


def measure(full: Codec, half: Codec, pictures: list[Picture], quality: float) -> list[float]:
    """Bytes against those of fp32 in %, streams with other symbols, mean and worst PSNR change: `half` at both ends,
    at the encoder, at the decoder."""
    sizes, changes, wrong = np.zeros(2), [], 0
    for rgb in tqdm(pictures, desc=f"quality {quality:g}", file=sys.stderr):
        streams = [codec.encode(rgb, quality) for codec in (full, half)]
        sizes += [len(stream) for stream in streams]
        for stream in streams:
            ours, theirs = full.symbols(stream), half.symbols(stream)
            wrong += not all(np.array_equal(ours[name], theirs[name]) for name in ours)
        before = psnr(rgb, full.decode(streams[0]))
        ways = half.decode(streams[1]), full.decode(streams[1]), half.decode(streams[0])
        changes.append([psnr(rgb, shown) - before for shown in ways])
    found = np.array(changes)
    return [
        float(100 * (sizes[1] / sizes[0] - 1)),
        wrong,
        *np.stack([found.mean(0), found.min(0)], 1).ravel().tolist(),
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_options(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--largest", type=int, help="only so many photos, those with the largest symbols")
    which.add_argument("--flattest", type=int, help="only so many photos, those with the fewest bits a pixel")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--type", choices=["fp16", "bf16", "int8"], default="fp16")
    how.add_argument("--openvino", action="store_true", help='OpenVINO\'s own bf16, precision="fast"')
    parser.add_argument("--products", action="store_true", help="1x1 convolutions as matrix products")
    parser.add_argument("--tf32", action="store_true", help="fp32 convolutions of fp16 graphs in TF32")
    args = parser.parse_args(argv)
    if (args.type != "fp16" or args.openvino) and (args.tf32 or args.products):
        parser.error("--tf32 and --products are for fp16")
    full = Codec(args.model, backend="openvino", precision="exact") if args.openvino else Codec(args.model)
    pictures = [rgb for _, rgb in photos(args.data, args.limit)]
    if most := args.largest or args.flattest:
        by = largest_symbol if args.largest else flatness
        order = np.argsort([by(full, rgb) for rgb in tqdm(pictures, desc="choosing", file=sys.stderr)])
        pictures = [pictures[k] for k in order[::-1][:most]]
    with tempfile.TemporaryDirectory() as folder:
        if args.openvino:
            half = Codec(args.model, backend="openvino", precision="fast")
            if half.backend.precision != "bf16":
                raise SystemExit(f"error: no bf16 here: {half.backend}")
        else:
            half = rounding_codec(full, Path(folder) / "half", args.type, args.tf32, args.products)
        rows = [[float(quality), *measure(full, half, pictures, quality)] for quality in QUALITIES]
    header = ["quality", "bytes, %", "streams with other symbols"]
    header += [f"{way}, {what} dB" for way in ("both", "encoder", "decoder") for what in ("mean", "worst")]
    if args.json:
        found = [dict(zip(header, row, strict=True)) for row in rows]
        print(json.dumps({"photos": len(pictures), "rows": found}))
    else:
        print(f"{len(pictures)} photos")
        print(table(header, rows))
    if any(row[2] or min(row[4::2]) < WORST_CHANGE for row in rows):
        raise SystemExit(f"more than {-WORST_CHANGE} dB lost, or symbols that depend on the reader")


if __name__ == "__main__":
    main()
