"""The fused operations are ONNX nodes of domain `rdc`, each with a function body of ordinary operators.

ONNX Runtime inlines the body; TensorRT takes the registered plugin when `plugin_namespace` names one, and
the body when it is missing. The bodies are the specification that every kernel must equal.
They are dtype-polymorphic: they compute in float32 and cast the result like an input (or to `to`).

    ImageToTensor(pixels; to)                 int8 [N,H,W,3] = value - 128  ->  [N,192,H/8,W/8] in [0,1]
    GainQuantize(y, mean, gains, level, acc; pass)
                                              -> symbols int32 of this pass, acc + mask * (symbols + mean)
    GainDequantize(symbols, mean, acc; pass)  -> acc + mask * (symbols + mean)
    BlendToImage(x1, r, beta)                 x1 + (1 - beta) * r  ->  int8 [N,H,W,3] = value - 128

y, mean, acc: [N,C,h,w]; gains: [L,C] positive; level: [N], position in the gain table; beta: [N]. `pass`
0..3 selects a quarter of the latents (quadtree), -1 all. NaN becomes symbol 0 and grey level 0.
"""

from __future__ import annotations

import onnx
from onnx import parser

from rdc_codec.bundle import HYPER_STRIDE, PASS_ORDER, PASSES, SYMBOL_LIMIT

PIXEL_STRIDE = HYPER_STRIDE // 8  # side of the blocks that space-to-depth folds into channels

DOMAIN = "rdc"
VERSION = 1
OPSET = 18
PLUGIN = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

_HEADER = f'<opset_import: ["" : {OPSET}], domain: "{DOMAIN}">'
_SIGNATURE_PLUGIN = "plugin_namespace, plugin_version"
_PATTERN = ", ".join(str((v + k) % PASSES) for k in range(PASSES) for row in PASS_ORDER for v in row)

# active, bool [C,h,w]: which latents this pass codes; `like` is any [N,C,h,w] tensor. Of 2x2 positions a pass codes one
# in each of four groups of channels: where its row and its column meet. Both are constant and repeated, as [C,h,1] and
# [C,1,w]: repeating whole planes of 2x2 took OpenVINO a tenth of decoding. No value is made of a shape, only shapes
# are: they stay on the CPU, where a GPU's runtime has them, and nothing has to be copied from there (which no CUDA
# graph could hold).
_MASK = f"""
  this = Constant <value_int : int = @pass> ()
  zero_i = Constant <value_int = 0> ()
  when = Constant <value_ints = [{_PATTERN}]> ()
  now = Equal (when, this)
  always = Less (this, zero_i)
  chosen = Or (now, always)
  corners_shape = Constant <value_ints = [4, 2, 2]> ()
  chosen_f = Cast <to = 1> (chosen)
  corners = Reshape (chosen_f, corners_shape)
  axis_1 = Constant <value_ints = [1]> ()
  axis_2 = Constant <value_ints = [2]> ()
  axis_3 = Constant <value_ints = [3]> ()
  axis_4 = Constant <value_ints = [4]> ()
  pattern_shape = Constant <value_ints = [4, 1, 1, 2]> ()
  of_rows = ReduceMax <keepdims = 0> (corners, axis_2)
  of_columns = ReduceMax <keepdims = 0> (corners, axis_1)
  rows_here = Cast <to = 9> (of_rows)
  columns_here = Cast <to = 9> (of_columns)
  row_pattern = Reshape (rows_here, pattern_shape)
  column_pattern = Reshape (columns_here, pattern_shape)
  channels = Shape <start = 1, end = 2> (like)
  height = Shape <start = 2, end = 3> (like)
  width = Shape <start = 3, end = 4> (like)
  channels_up = Add (channels, axis_3)
  per_group = Div (channels_up, axis_4)
  height_up = Add (height, axis_1)
  row_pairs = Div (height_up, axis_2)
  width_up = Add (width, axis_1)
  column_pairs = Div (width_up, axis_2)
  row_tiles = Concat <axis = 0> (axis_4, per_group, row_pairs, axis_2)
  column_tiles = Concat <axis = 0> (axis_4, per_group, column_pairs, axis_2)
  rows_tiled = Expand (row_pattern, row_tiles)
  columns_tiled = Expand (column_pattern, column_tiles)
  all_channels = Mul (per_group, axis_4)
  all_rows = Mul (row_pairs, axis_2)
  all_columns = Mul (column_pairs, axis_2)
  rows_shape = Concat <axis = 0> (all_channels, all_rows, axis_1)
  columns_shape = Concat <axis = 0> (all_channels, axis_1, all_columns)
  rows_repeated = Reshape (rows_tiled, rows_shape)
  columns_repeated = Reshape (columns_tiled, columns_shape)
  starts = Constant <value_ints = [0, 0, 0]> ()
  rows_ends = Concat <axis = 0> (channels, height, axis_1)
  columns_ends = Concat <axis = 0> (channels, axis_1, width)
  rows = Slice (rows_repeated, starts, rows_ends)
  columns = Slice (columns_repeated, starts, columns_ends)
  active = And (rows, columns)
"""

# gain [N,C,1,1]: geometric interpolation between the two trained levels around `level`.
_GAIN = """
  levels = Shape <start = 0, end = 1> (gains)
  step = Constant <value_ints = [1]> ()
  axes_23 = Constant <value_ints = [2, 3]> ()
  last = Sub (levels, step)
  last_f = Cast <to = 1> (last)
  before_last = Sub (last, step)
  before_last_f = Cast <to = 1> (before_last)
  zero_f = Constant <value_float = 0.0> ()
  one_f = Constant <value_float = 1.0> ()
  level_f = Cast <to = 1> (level)
  below = Min (level_f, last_f)
  position = Max (below, zero_f)
  whole = Floor (position)
  low_f = Min (whole, before_last_f)
  t = Sub (position, low_f)
  low = Cast <to = 7> (low_f)
  high = Add (low, step)
  gains_f = Cast <to = 1> (gains)
  log_gains = Log (gains_f)
  log_low = Gather <axis = 0> (log_gains, low)
  log_high = Gather <axis = 0> (log_gains, high)
  t_axis = Constant <value_ints = [1]> ()
  t_2d = Unsqueeze (t, t_axis)
  rest = Sub (one_f, t_2d)
  part_low = Mul (log_low, rest)
  part_high = Mul (log_high, t_2d)
  log_gain = Add (part_low, part_high)
  gain_2d = Exp (log_gain)
  gain = Unsqueeze (gain_2d, axes_23)
"""

_IMAGE_TO_TENSOR = f"""
{_HEADER}
ImageToTensor <to, {_SIGNATURE_PLUGIN}> (pixels) => (folded)
{{
  signed = Cast <to = 1> (pixels)
  offset = Constant <value_float = 128.0> ()
  peak = Constant <value_float = 255.0> ()
  value = Add (signed, offset)
  unit = Div (value, peak)
  planar = Transpose <perm = [0, 3, 1, 2]> (unit)
  deep = SpaceToDepth <blocksize = {PIXEL_STRIDE}> (planar)
  folded = Cast <to : int = @to> (deep)
}}
"""

_GAIN_QUANTIZE = f"""
{_HEADER}
GainQuantize <pass, {_SIGNATURE_PLUGIN}> (y, mean, gains, level, acc) => (symbols, decoded)
{{
  like = Identity (y)
  {_GAIN}
  {_MASK}
  y_f = Cast <to = 1> (y)
  mean_f = Cast <to = 1> (mean)
  acc_f = Cast <to = 1> (acc)
  gained = Mul (y_f, gain)
  difference = Sub (gained, mean_f)
  invalid = IsNaN (difference)
  finite = Where (invalid, zero_f, difference)
  rounded = Round (finite)
  limit_low = Constant <value_float = -{SYMBOL_LIMIT}.0> ()
  limit_high = Constant <value_float = {SYMBOL_LIMIT}.0> ()
  clamped = Clip (rounded, limit_low, limit_high)
  mask = Cast <to = 1> (active)
  masked = Mul (clamped, mask)
  symbols = Cast <to = 6> (masked)
  value = Add (clamped, mean_f)
  nothing = Constant <value_float = 0.0> ()
  value_masked = Where (active, value, nothing)
  total = Add (acc_f, value_masked)
  decoded = CastLike (total, acc)
}}
"""

_GAIN_DEQUANTIZE = f"""
{_HEADER}
GainDequantize <pass, {_SIGNATURE_PLUGIN}> (symbols, mean, acc) => (decoded)
{{
  like = Identity (mean)
  {_MASK}
  symbols_f = Cast <to = 1> (symbols)
  mean_f = Cast <to = 1> (mean)
  acc_f = Cast <to = 1> (acc)
  value = Add (symbols_f, mean_f)
  nothing = Constant <value_float = 0.0> ()
  value_masked = Where (active, value, nothing)
  total = Add (acc_f, value_masked)
  decoded = CastLike (total, acc)
}}
"""

_BLEND_TO_IMAGE = f"""
{_HEADER}
BlendToImage <{_SIGNATURE_PLUGIN}> (x1, r, beta) => (pixels)
{{
  zero_f = Constant <value_float = 0.0> ()
  one_f = Constant <value_float = 1.0> ()
  peak = Constant <value_float = 255.0> ()
  offset = Constant <value_float = 128.0> ()
  axes = Constant <value_ints = [1, 2, 3]> ()
  x1_f = Cast <to = 1> (x1)
  r_f = Cast <to = 1> (r)
  beta_f = Cast <to = 1> (beta)
  share = Sub (one_f, beta_f)
  share_4d = Unsqueeze (share, axes)
  part = Mul (r_f, share_4d)
  blend = Add (x1_f, part)
  invalid = IsNaN (blend)
  finite = Where (invalid, zero_f, blend)
  clipped = Clip (finite, zero_f, one_f)
  scaled = Mul (clipped, peak)
  rounded = Round (scaled)
  signed = Sub (rounded, offset)
  planar = DepthToSpace <blocksize = {PIXEL_STRIDE}, mode = "DCR"> (signed)
  interleaved = Transpose <perm = [0, 2, 3, 1]> (planar)
  pixels = Cast <to = 3> (interleaved)
}}
"""

_DOCS = {
    "ImageToTensor": "int8 pixels [N, H, W, 3], value - 128 -> [N, 192, H/8, W/8] in [0, 1] (space-to-depth 8).",
    "GainQuantize": "Gains y at `level` of the gain table and codes the latents of one pass: symbols = "
    "clamp(round(y * gain - mean)), zero elsewhere; decoded = acc + symbols + mean where the pass codes, else acc.",
    "GainDequantize": "The decoder's half of GainQuantize: acc + symbols + mean where the pass codes, else acc.",
    "BlendToImage": "x1 + (1 - beta) * r, clipped to [0, 1] and rounded to int8 pixels [N, H, W, 3], value - 128.",
}


def _parse(source: str) -> onnx.FunctionProto:
    function = parser.parse_function(source)
    function.doc_string = _DOCS[function.name]
    return function


FUNCTIONS: dict[str, onnx.FunctionProto] = {
    function.name: function
    for function in map(_parse, (_IMAGE_TO_TENSOR, _GAIN_QUANTIZE, _GAIN_DEQUANTIZE, _BLEND_TO_IMAGE))
}


def attach_functions(model: onnx.ModelProto) -> None:
    """Add the bodies of the `rdc` operations that the graph uses."""
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    model.functions.extend(FUNCTIONS[name] for name in sorted(used))
