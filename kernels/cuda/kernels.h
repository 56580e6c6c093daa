// Launchers of the fused operations. Each is one pass over memory, allocates nothing and synchronises nothing,
// so it may be captured into a CUDA graph.
//
// Tensors are contiguous, NCHW (planar) or NHWC (channel-last), float32 or float16; their addresses are multiples of
// 16 (as those of any allocation are). gains [levels, C], levels >= 2 and positive; level [N]; beta [N]: float32.
// Semantics: export/function_bodies.py.
#pragma once

#include <cstdint>

namespace rdc {

enum class Type : int32_t { kFloat = 0, kHalf = 1 };
enum class Layout : int32_t { kPlanar = 0, kChannelLast = 1 };

struct Shape {  // of a latent, or of a folded image (c is 192 then, and the picture 8h x 8w)
  int32_t n, c, h, w;
};

// What a launcher returns is a cudaError_t; 0 is success. `stream` is a cudaStream_t.
// y, mean, acc, decoded: of `type`. symbols: int32, in the same layout or planar. pass: 0 to 3, or -1 for all.
int gain_quantize(const void* y, const void* mean, const float* gains, const float* level, const void* acc,
                  int32_t* symbols, void* decoded, Shape shape, int32_t levels, int32_t pass, Type type, Layout layout,
                  Layout symbol_layout, void* stream);

int gain_dequantize(const int32_t* symbols, const void* mean, const void* acc, void* decoded, Shape shape, int32_t pass,
                    Type type, Layout layout, Layout symbol_layout, void* stream);

// pixels: int8 [N, 8h, 8w, 3] = value - 128. folded, x1, r: [N, 192, h, w] in `layout`.
int image_to_tensor(const int8_t* pixels, void* folded, Shape shape, Type type, Layout layout, void* stream);

int blend_to_image(const void* x1, const void* r, const float* beta, int8_t* pixels, Shape shape, Type type,
                   Layout layout, void* stream);

}  // namespace rdc
