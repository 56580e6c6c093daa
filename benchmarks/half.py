"""What fp16 graphs cost: streams of either precision read by both, and PSNR to the original.

python -m benchmarks.half --data DIR [--largest N | --flattest N] [--limit N] [--model BUNDLE] [--json]

For each quality: bytes of fp16 encoding against fp32, streams whose symbols depend on the reader (none may), and how
PSNR changes from fp32 at both ends to fp16 at both, at the encoder alone, at the decoder alone, in dB, the mean and the
worst photo. --largest: only the N photos with the largest symbols at quality 100; --flattest: with the fewest bits a
pixel, where quantisation is finest against the signal.

On the CPU, where ONNX Runtime computes fp16 graphs in fp32 and leaves out most of the rounding between layers: it is
put in as explicit casts here, so values are those that a GPU stores. Sums inside a layer are fp32, as in tensor cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tqdm import tqdm

from benchmarks.common import add_options, photos, psnr, table
from benchmarks.tasks import Picture
from export.operators import DOMAIN
from export.to_half import copy_bundle, to_half
from runtime import Codec

QUALITIES = (0, 25, 50, 75, 100)
WORST_CHANGE = -0.05  # dB
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """An fp32 graph with the values of an fp16 one: each fp16 tensor becomes fp32, rounded to fp16 by casts that no
    optimiser takes away. Fused operations keep their fp16 outputs; inputs they widen themselves."""
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


def half_codec(full: Codec, folder: Path) -> Codec:
    """The fp16 graphs of a model as a GPU computes them. folder: to put them in."""
    copy_bundle(full.bundle.path, folder, "fp16", lambda model: rounded(to_half(model)))
    return Codec(folder)


def largest_symbol(codec: Codec, rgb: Picture) -> float:
    """Of either branch at quality 100."""
    symbols = codec.symbols(codec.encode(rgb, 100))
    return max(float(np.abs(values).max()) for name, values in symbols.items() if name.endswith("latents"))


def flatness(codec: Codec, rgb: Picture) -> float:
    """Pixels a bit of the base stream at quality 100."""
    return rgb[..., 0].size / (8 * len(codec.encode(rgb, 100, layers="base")))


def measure(full: Codec, half: Codec, pictures: list[Picture], quality: float) -> list[float]:
    """Bytes of fp16 against fp32 in %, streams with other symbols, mean and worst PSNR change: fp16 at both ends, at
    the encoder, at the decoder."""
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
    args = parser.parse_args(argv)
    full = Codec(args.model)
    pictures = [rgb for _, rgb in photos(args.data, args.limit)]
    if most := args.largest or args.flattest:
        by = largest_symbol if args.largest else flatness
        order = np.argsort([by(full, rgb) for rgb in tqdm(pictures, desc="choosing", file=sys.stderr)])
        pictures = [pictures[k] for k in order[::-1][:most]]
    with tempfile.TemporaryDirectory() as folder:
        half = half_codec(full, Path(folder) / "half")
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
