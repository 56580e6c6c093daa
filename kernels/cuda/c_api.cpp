// The launchers under C names, for callers that are not C++ (ctypes in the tests and benchmarks).
#include "kernels.h"

#if defined(_WIN32)
#define RDC_EXPORT extern "C" __declspec(dllexport)
#else
#define RDC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

using rdc::Layout;
using rdc::Shape;
using rdc::Type;

RDC_EXPORT int rdc_gain_quantize(const void* y, const void* mean, const float* gains, const float* level,
                                 const void* acc, int32_t* symbols, void* decoded, Shape shape, int32_t levels,
                                 int32_t pass, Type type, Layout layout, Layout symbol_layout, void* stream) {
  return rdc::gain_quantize(y, mean, gains, level, acc, symbols, decoded, shape, levels, pass, type, layout,
                            symbol_layout, stream);
}

RDC_EXPORT int rdc_gain_dequantize(const int32_t* symbols, const void* mean, const void* acc, void* decoded,
                                   Shape shape, int32_t pass, Type type, Layout layout, Layout symbol_layout,
                                   void* stream) {
  return rdc::gain_dequantize(symbols, mean, acc, decoded, shape, pass, type, layout, symbol_layout, stream);
}

RDC_EXPORT int rdc_image_to_tensor(const int8_t* pixels, void* folded, Shape shape, Type type, Layout layout,
                                   void* stream) {
  return rdc::image_to_tensor(pixels, folded, shape, type, layout, stream);
}

RDC_EXPORT int rdc_blend_to_image(const void* x1, const void* r, const float* beta, int8_t* pixels, Shape shape,
                                  Type type, Layout layout, void* stream) {
  return rdc::blend_to_image(x1, r, beta, pixels, shape, type, layout, stream);
}
