// What the fused operations compute for one element, for the GPU and for the CPU that tests them.
//
// The specification is export/function_bodies.py (function bodies of ONNX). No multiplication is contracted with
// an addition: a fused multiply-add rounds once where the body rounds twice, and symbols would differ.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#define RDC_BOTH __host__ __device__ __forceinline__
#else
#define RDC_BOTH inline
#endif

namespace rdc {

constexpr int kStride = 8;  // pixels of a folded position, each way
constexpr int kColours = 3;
constexpr int kRun = kStride * kColours;        // bytes of a row of eight pixels
constexpr int kImageChannels = kStride * kRun;  // 192
constexpr int kPasses = 4;
constexpr float kSymbolLimit = 2047.0f;

#if defined(__CUDA_ARCH__)
RDC_BOTH float multiply(float a, float b) { return __fmul_rn(a, b); }
RDC_BOTH float add(float a, float b) { return __fadd_rn(a, b); }
RDC_BOTH float divide(float a, float b) { return __fdiv_rn(a, b); }
#else  // compiled with -ffp-contract=off
RDC_BOTH float multiply(float a, float b) { return a * b; }
RDC_BOTH float add(float a, float b) { return a + b; }
RDC_BOTH float divide(float a, float b) { return a / b; }
#endif

RDC_BOTH float to_float(float x) { return x; }
RDC_BOTH void from_float(float x, float& out) { out = x; }
#if defined(__CUDACC__)
RDC_BOTH float to_float(__half x) { return __half2float(x); }
RDC_BOTH void from_float(float x, __half& out) { out = __float2half_rn(x); }
#elif defined(__FLT16_MAX__)
RDC_BOTH float to_float(_Float16 x) { return static_cast<float>(x); }
RDC_BOTH void from_float(float x, _Float16& out) { out = static_cast<_Float16>(x); }
#endif

// Clamp that lets no NaN through: it becomes 0.
RDC_BOTH float finite_between(float x, float low, float high) {
  if (!(x == x)) return 0.0f;
  return x < low ? low : x > high ? high : x;
}

// --- gain -------------------------------------------------------------------------------------------------------

// A level is a position in a table of `levels` >= 2 trained gains: between `low` and low + 1, at share t.
struct Position {
  int low;
  float t;
};

RDC_BOTH Position position_of(float level, int levels) {
  const float last = static_cast<float>(levels - 1);
  const float inside = finite_between(level, 0.0f, last);
  float low = floorf(inside);
  if (low > last - 1.0f) low = last - 1.0f;
  return {static_cast<int>(low), inside - low};
}

// Geometric interpolation. Logarithm and exponential differ by an ulp or two between libraries.
RDC_BOTH float gain_between(float low, float high, float t) {
  return expf(add(multiply(logf(low), 1.0f - t), multiply(logf(high), t)));
}

// --- quadtree passes --------------------------------------------------------------------------------------------

// The pass that codes a latent; channels are split into four groups (the last may be smaller).
RDC_BOTH int pass_of(int channel, int row, int column, int channels) {
  const int group = channel / ((channels + kPasses - 1) / kPasses);
  const int corner = (row & 1) * 2 + (column & 1);
  const int spatial = corner == 0 ? 0 : corner == 1 ? 2 : corner == 2 ? 3 : 1;
  return (spatial + group) & (kPasses - 1);
}

// pass < 0: every latent.
RDC_BOTH bool is_active(int pass, int channel, int row, int column, int channels) {
  return pass < 0 || pass_of(channel, row, column, channels) == pass;
}

// --- quantisation -----------------------------------------------------------------------------------------------

RDC_BOTH float symbol_of(float y, float gain, float mean) {
  const float difference = add(multiply(y, gain), -mean);
  return rintf(finite_between(difference, -kSymbolLimit, kSymbolLimit));
}

RDC_BOTH float accumulate(float acc, float symbol, float mean) { return add(acc, add(symbol, mean)); }

// --- pixels -----------------------------------------------------------------------------------------------------

// Pixels cross as int8 = value - 128 (TensorRT plugins take no uint8).
RDC_BOTH float unit_of(int8_t pixel) { return divide(static_cast<float>(pixel) + 128.0f, 255.0f); }

RDC_BOTH int8_t pixel_of(float x1, float r, float share) {
  const float inside = finite_between(add(x1, multiply(r, share)), 0.0f, 1.0f);
  return static_cast<int8_t>(static_cast<int>(rintf(multiply(inside, 255.0f))) - 128);
}

}  // namespace rdc
