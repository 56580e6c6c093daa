"""Says which nodes of a graph may compute in 16 bits, and which carry the picture and stay fp32.

In both types, fp32 is what carries the picture itself from pixels to symbols and back: stem, sums of the residual
blocks, down, up and head of analysis and synthesis, gains, the means subtracted then, the decoded latent. The 11 bits
of fp16 are less than a flat picture at 48 dB needs: it lost up to 0.17 dB. And so is hyper-analysis: another
hyper-latent is another mean for everything, which moved small streams by 0.1 dB either way. What is left, branches of
residual blocks, hyper-synthesis and the predictors of means up to their last layers, is more than four fifths of the
arithmetic.

bf16 has 8 bits. Flat photos have no room for them in means (up to 0.39 dB) nor in analysis (up to 0.13 dB either way),
so they are for the residual branches of synthesis alone, and of each block for the half that mixes channels, which is
two thirds of it: with the half that looks at neighbours in bf16, flat pictures of up to 52 dB lost 0.15 dB
(docs/results.md). The first block at 1/8 resolution stays fp32: with it, one of 53 dB lost 0.06 dB.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

from ..errors import InputError

if TYPE_CHECKING:
    import onnx

Precision = Literal["exact", "fast"]
Reduced = Literal["fp16", "bf16"]
REDUCED = {  # names of weights of convolutions
    "fp16": re.compile(
        r"^(?!.*(\.(analysis|synthesis)\.(stem|down|up|head)\.|\.hyper_analysis\.|\.mean\.(first|heads)\.))"
    ),
    "bf16": re.compile(r"\.synthesis\.(deep\.\d+|body\.[1-9]\d*)\.mix\."),
}
FOLLOWING = {"LeakyRelu", "DepthToSpace", "Concat"}  # in 16 bits if any input is
ARITHMETIC = {"Add", "Sub", "Mul"}  # in 16 bits only if all inputs are


def checked(precision: Any) -> Precision | None:
    """Return what a caller asks for. Raises InputError if it is none of "exact", "fast" and None."""
    if precision is None or (isinstance(precision, str) and precision in ("exact", "fast")):
        return cast("Precision | None", precision)
    raise InputError(f'precision must be "exact", "fast" or None, got {precision!r}')


def reduced_nodes(graph: onnx.GraphProto, kind: Reduced) -> list[bool]:
    """Tell of each node of an exported graph, in their order, whether it may compute in this type."""
    constants = {tensor.name for tensor in graph.initializer}
    reduced: set[str] = set()  # values
    found = []
    for node in graph.node:
        moving = [name for name in node.input if name and name not in constants]
        if node.op_type == "Conv":
            may = REDUCED[kind].search(node.input[1]) is not None
        elif node.op_type in FOLLOWING:
            may = any(name in reduced for name in moving)
        else:
            may = node.op_type in ARITHMETIC and bool(moving) and all(name in reduced for name in moving)
        if may:
            reduced.update(node.output)
        found.append(may)
    return found
