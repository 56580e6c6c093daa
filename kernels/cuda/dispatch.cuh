// From the types that a launcher is told at run time to those that kernels are compiled for.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "kernels.h"

namespace rdc {

inline bool is_empty(const Shape& s) { return s.n == 0 || s.c == 0 || s.h == 0 || s.w == 0; }

// Images up to 2^30 elements: kernels count one's with an int. 65535 is the most that a grid has in y and z;
// gains of 12288 channels fill the shared memory that every GPU gives a block.
inline bool is_possible(const Shape& s) {
  if (s.n < 0 || s.c < 0 || s.h < 0 || s.w < 0 || s.n > 65535 || s.c > 12288) return false;
  constexpr int64_t most = int64_t{1} << 30;
  const int64_t plane = static_cast<int64_t>(s.h) * s.w;
  return plane <= most && plane * s.c <= most;
}

// Calls f(element, order): a value of the element type, and an integral_constant of the layout.
template <typename F>
int with_types(Type type, Layout layout, F&& f) {
  using Planar = std::integral_constant<Layout, Layout::kPlanar>;
  using ChannelLast = std::integral_constant<Layout, Layout::kChannelLast>;
  if (type == Type::kFloat && layout == Layout::kPlanar) return f(float{}, Planar{});
  if (type == Type::kFloat && layout == Layout::kChannelLast) return f(float{}, ChannelLast{});
  if (type == Type::kHalf && layout == Layout::kPlanar) return f(__half{}, Planar{});
  if (type == Type::kHalf && layout == Layout::kChannelLast) return f(__half{}, ChannelLast{});
  return cudaErrorInvalidValue;
}

}  // namespace rdc
