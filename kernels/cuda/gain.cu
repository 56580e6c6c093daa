// GainQuantize and GainDequantize: the latent of one quadtree pass (or of all) to symbols and back.
//
// A thread has the latents of 16 bytes, neighbours in memory, of one image. Threads that find none of theirs in the
// pass, half of them in NCHW and three quarters in NHWC, read neither y (symbols) nor the mean.
#include <cuda_runtime_api.h>

#include "dispatch.cuh"
#include "elements.h"
#include "kernels.h"
#include "memory.cuh"

namespace rdc {
namespace {

// Where an element of one image lies; `next` moves on to its neighbour in memory.
template <Layout layout>
struct Place {
  int channel, row, column;

  __device__ Place(int index, const Shape& s) {
    if (layout == Layout::kPlanar) {
      column = index % s.w;
      row = index / s.w % s.h;
      channel = index / s.w / s.h;
    } else {
      channel = index % s.c;
      column = index / s.c % s.w;
      row = index / s.c / s.w;
    }
  }

  __device__ void next(const Shape& s) {
    if (layout == Layout::kPlanar) {
      if (++column == s.w) column = 0, ++row;
      if (row == s.h) row = 0, ++channel;
    } else {
      if (++channel == s.c) channel = 0, ++column;
      if (column == s.w) column = 0, ++row;
    }
  }
};

// Bit k: whether the k-th of N elements from `index` on is coded in this pass.
template <Layout layout, int N>
__device__ unsigned active_of(int index, int pass, const Shape& s, Place<layout> place) {
  if (pass < 0) return (1u << N) - 1;
  unsigned active = 0;
  for (int k = 0; k < N; ++k, place.next(s))
    active |= static_cast<unsigned>(is_active(pass, place.channel, place.row, place.column, s.c)) << k;
  return active;
}

// gain[c] of this block's image, for all channels. NHWC: a thread's neighbours have different ones.
__device__ void interpolate_gains(float* gain, const float* gains, float level, int levels, int channels) {
  const Position at = position_of(level, levels);
  for (int c = threadIdx.x; c < channels; c += blockDim.x)
    gain[c] = gain_between(gains[at.low * channels + c], gains[(at.low + 1) * channels + c], at.t);
}

template <typename T, Layout layout, int N>
__device__ void quantize_some(const T* y, const T* mean, const float* gain, const T* acc, int32_t* symbols, T* decoded,
                              int index, int pass, const Shape& s) {
  Place<layout> place(index, s);
  const unsigned active = active_of<layout, N>(index, pass, s, place);
  Pack<T, N> out = load<T, N>(acc + index);
  Pack<int32_t, N> sent = {};
  if (active) {
    const auto values = load<T, N>(y + index), means = load<T, N>(mean + index);
    for (int k = 0; k < N; ++k, place.next(s)) {
      if (!(active >> k & 1)) continue;
      const float m = to_float(means.value[k]);
      const float symbol = symbol_of(to_float(values.value[k]), gain[place.channel], m);
      sent.value[k] = static_cast<int32_t>(symbol);
      from_float(accumulate(to_float(out.value[k]), symbol, m), out.value[k]);
    }
  }
  store(symbols + index, sent);
  store(decoded + index, out);
}

template <typename T, Layout layout, int N>
__device__ void dequantize_some(const int32_t* symbols, const T* mean, const T* acc, T* decoded, int index, int pass,
                                const Shape& s) {
  const unsigned active = active_of<layout, N>(index, pass, s, Place<layout>(index, s));
  Pack<T, N> out = load<T, N>(acc + index);
  if (active) {
    const auto means = load<T, N>(mean + index);
    const auto sent = load<int32_t, N>(symbols + index);
    for (int k = 0; k < N; ++k)
      if (active >> k & 1)
        from_float(accumulate(to_float(out.value[k]), static_cast<float>(sent.value[k]), to_float(means.value[k])),
                   out.value[k]);
  }
  store(decoded + index, out);
}

// Grid: x over the elements of an image, y over images. An image whose size is no multiple of N elements leaves those
// after it unaligned: then, and for its last elements, N is 1 (`vectors` is how many whole ones there are).
template <typename T, Layout layout>
__global__ void __launch_bounds__(kThreads)
    quantize(const T* y, const T* mean, const float* gains, const float* level, const T* acc, int32_t* symbols,
             T* decoded, Shape s, int levels, int pass, int size, int vectors) {
  RDC_DYNAMIC_SHARED(float, gain);
  const int64_t image = blockIdx.y;
  interpolate_gains(gain, gains, level[image], levels, s.c);
  __syncthreads();
  y += image * size, mean += image * size, acc += image * size, symbols += image * size, decoded += image * size;
  constexpr int N = kVector<T>;
  const int rest = size - vectors * N;
  for (int i = blockIdx.x * kThreads + threadIdx.x; i < vectors + rest; i += gridDim.x * kThreads) {
    if (i < vectors)
      quantize_some<T, layout, N>(y, mean, gain, acc, symbols, decoded, i * N, pass, s);
    else
      quantize_some<T, layout, 1>(y, mean, gain, acc, symbols, decoded, vectors * N + i - vectors, pass, s);
  }
}

template <typename T, Layout layout>
__global__ void __launch_bounds__(kThreads) dequantize(const int32_t* symbols, const T* mean, const T* acc, T* decoded,
                                                       Shape s, int pass, int size, int vectors) {
  const int64_t image = blockIdx.y;
  symbols += image * size, mean += image * size, acc += image * size, decoded += image * size;
  constexpr int N = kVector<T>;
  const int rest = size - vectors * N;
  for (int i = blockIdx.x * kThreads + threadIdx.x; i < vectors + rest; i += gridDim.x * kThreads) {
    if (i < vectors)
      dequantize_some<T, layout, N>(symbols, mean, acc, decoded, i * N, pass, s);
    else
      dequantize_some<T, layout, 1>(symbols, mean, acc, decoded, vectors * N + i - vectors, pass, s);
  }
}

// --- values channel-last, symbols planar ------------------------------------------------------------------------
//
// TensorRT has channel-last formats for floats only. A block has a tile of positions and channels; symbols pass through
// shared memory, so that both sides are read and written in whole lines.

constexpr int kTilePositions = 32, kTileChannels = 64;

struct Tile {
  int64_t image;  // first element of the image
  int position, channel, positions, channels;

  __device__ explicit Tile(const Shape& s)
      : position(blockIdx.x * kTilePositions), channel(blockIdx.y * kTileChannels) {
    const int plane = s.h * s.w;
    image = static_cast<int64_t>(blockIdx.z) * s.c * plane;
    positions = min(kTilePositions, plane - position);
    channels = min(kTileChannels, s.c - channel);
  }

  // f(position in the tile, first channel in it) for every N channels.
  template <int N, typename F>
  __device__ void for_values(F&& f) const {
    const int parts = channels / N;
    for (int i = threadIdx.x; i < positions * parts; i += kThreads) f(i / parts, i % parts * N);
  }

  // f(position, channel) with neighbouring threads at neighbouring positions.
  template <typename F>
  __device__ void for_symbols(F&& f) const {
    for (int i = threadIdx.x; i < kTilePositions * channels; i += kThreads)
      if (i % kTilePositions < positions) f(i % kTilePositions, i / kTilePositions);
  }
};

using Staged = int32_t[kTileChannels][kTilePositions + 1];

template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    quantize_to_planes(const T* y, const T* mean, const float* gains, const float* level, const T* acc,
                       int32_t* symbols, T* decoded, Shape s, int levels, int pass) {
  __shared__ float gain[kTileChannels];
  __shared__ Staged staged;
  const Tile tile(s);
  const Position at = position_of(level[blockIdx.z], levels);
  for (int c = threadIdx.x; c < tile.channels; c += kThreads) {
    const float* table = gains + tile.channel + c;
    gain[c] = gain_between(table[at.low * s.c], table[(at.low + 1) * s.c], at.t);
  }
  __syncthreads();
  tile.for_values<N>([&](int p, int c) {
    const int row = (tile.position + p) / s.w, column = (tile.position + p) % s.w;
    const int64_t at = tile.image + static_cast<int64_t>(tile.position + p) * s.c + tile.channel + c;
    Pack<T, N> values, means, out = load<T, N>(acc + at);
    unsigned active = 0;
    for (int k = 0; k < N; ++k)
      active |= static_cast<unsigned>(is_active(pass, tile.channel + c + k, row, column, s.c)) << k;
    if (active) values = load<T, N>(y + at), means = load<T, N>(mean + at);
    for (int k = 0; k < N; ++k) {
      staged[c + k][p] = 0;
      if (!(active >> k & 1)) continue;
      const float m = to_float(means.value[k]);
      const float symbol = symbol_of(to_float(values.value[k]), gain[c + k], m);
      staged[c + k][p] = static_cast<int32_t>(symbol);
      from_float(accumulate(to_float(out.value[k]), symbol, m), out.value[k]);
    }
    store(decoded + at, out);
  });
  __syncthreads();
  tile.for_symbols([&](int p, int c) {
    symbols[tile.image + static_cast<int64_t>(tile.channel + c) * s.h * s.w + tile.position + p] = staged[c][p];
  });
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    dequantize_from_planes(const int32_t* symbols, const T* mean, const T* acc, T* decoded, Shape s, int pass) {
  __shared__ Staged staged;
  const Tile tile(s);
  tile.for_symbols([&](int p, int c) {
    staged[c][p] = symbols[tile.image + static_cast<int64_t>(tile.channel + c) * s.h * s.w + tile.position + p];
  });
  __syncthreads();
  tile.for_values<N>([&](int p, int c) {
    const int row = (tile.position + p) / s.w, column = (tile.position + p) % s.w;
    const int64_t at = tile.image + static_cast<int64_t>(tile.position + p) * s.c + tile.channel + c;
    Pack<T, N> means, out = load<T, N>(acc + at);
    unsigned active = 0;
    for (int k = 0; k < N; ++k)
      active |= static_cast<unsigned>(is_active(pass, tile.channel + c + k, row, column, s.c)) << k;
    if (active) means = load<T, N>(mean + at);
    for (int k = 0; k < N; ++k)
      if (active >> k & 1)
        from_float(accumulate(to_float(out.value[k]), static_cast<float>(staged[c + k][p]), to_float(means.value[k])),
                   out.value[k]);
    store(decoded + at, out);
  });
}

dim3 tiles(const Shape& s) {
  return dim3((s.h * s.w + kTilePositions - 1) / kTilePositions, (s.c + kTileChannels - 1) / kTileChannels, s.n);
}

// --- launchers --------------------------------------------------------------------------------------------------

struct Work {
  int size, vectors;
  dim3 grid;
};

// Gains are interpolated once a block, so a block has several rounds of work; a few thousand blocks fill any GPU.
template <typename T>
Work divide_work(const Shape& s) {
  const int size = s.c * s.h * s.w;
  const int vectors = size % kVector<T> && s.n > 1 ? 0 : size / kVector<T>;
  const int items = vectors + size - vectors * kVector<T>;
  const unsigned blocks = blocks_for(items);
  const unsigned most = 4096 / static_cast<unsigned>(s.n) + 1;
  return {size, vectors, dim3(blocks < most ? blocks : most, s.n)};
}

template <typename T, Layout layout>
int quantize_as(const void* y, const void* mean, const float* gains, const float* level, const void* acc,
                int32_t* symbols, void* decoded, Shape s, int levels, int pass, bool planes, void* stream) {
  const T *values = static_cast<const T*>(y), *means = static_cast<const T*>(mean),
          *before = static_cast<const T*>(acc);
  T* after = static_cast<T*>(decoded);
  if (planes && layout == Layout::kChannelLast) {
    const auto kernel = s.c % kVector<T> ? quantize_to_planes<T, 1> : quantize_to_planes<T, kVector<T>>;
    return launch(kernel, tiles(s), 0, stream, values, means, gains, level, before, symbols, after, s, levels, pass);
  }
  const Work work = divide_work<T>(s);
  return launch(quantize<T, layout>, work.grid, s.c * sizeof(float), stream, values, means, gains, level, before,
                symbols, after, s, levels, pass, work.size, work.vectors);
}

template <typename T, Layout layout>
int dequantize_as(const int32_t* symbols, const void* mean, const void* acc, void* decoded, Shape s, int pass,
                  bool planes, void* stream) {
  const T *means = static_cast<const T*>(mean), *before = static_cast<const T*>(acc);
  T* after = static_cast<T*>(decoded);
  if (planes && layout == Layout::kChannelLast) {
    const auto kernel = s.c % kVector<T> ? dequantize_from_planes<T, 1> : dequantize_from_planes<T, kVector<T>>;
    return launch(kernel, tiles(s), 0, stream, symbols, means, before, after, s, pass);
  }
  const Work work = divide_work<T>(s);
  return launch(dequantize<T, layout>, work.grid, 0, stream, symbols, means, before, after, s, pass, work.size,
                work.vectors);
}

}  // namespace

int gain_quantize(const void* y, const void* mean, const float* gains, const float* level, const void* acc,
                  int32_t* symbols, void* decoded, Shape s, int32_t levels, int32_t pass, Type type, Layout layout,
                  Layout symbol_layout, void* stream) {
  const bool planes = symbol_layout == Layout::kPlanar;
  if (!is_possible(s) || levels < 2 || (layout == Layout::kPlanar && !planes)) return cudaErrorInvalidValue;
  if (is_empty(s)) return cudaSuccess;
  return with_types(type, layout, [&](auto element, auto order) {
    return quantize_as<decltype(element), order.value>(y, mean, gains, level, acc, symbols, decoded, s, levels, pass,
                                                       planes, stream);
  });
}

int gain_dequantize(const int32_t* symbols, const void* mean, const void* acc, void* decoded, Shape s, int32_t pass,
                    Type type, Layout layout, Layout symbol_layout, void* stream) {
  const bool planes = symbol_layout == Layout::kPlanar;
  if (!is_possible(s) || (layout == Layout::kPlanar && !planes)) return cudaErrorInvalidValue;
  if (is_empty(s)) return cudaSuccess;
  return with_types(type, layout, [&](auto element, auto order) {
    return dequantize_as<decltype(element), order.value>(symbols, mean, acc, decoded, s, pass, planes, stream);
  });
}

}  // namespace rdc
