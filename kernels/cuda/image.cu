// ImageToTensor and BlendToImage: between interleaved pixels and folded tensors, [N, 192, h, w].
//
// A folded position is a square of eight by eight pixels: eight runs of 24 bytes in the picture, and 192 values, in the
// same order, in the tensor (channel = (row * 8 + column) * 3 + colour). Channel-last tensors have them as neighbours,
// so eight bytes become eight values. Planar ones have 192 planes: a strip of positions goes through shared memory.
#include <cuda_runtime_api.h>

#include "dispatch.cuh"
#include "elements.h"
#include "kernels.h"
#include "memory.cuh"

namespace rdc {
namespace {

// --- channel-last -----------------------------------------------------------------------------------------------

constexpr int kEights = kImageChannels / 8;  // of a position

struct alignas(8) Eight {
  int8_t value[8];
};

// Offset in the picture of the eight bytes that are the channels from 8 * eight on of a position.
__device__ int64_t picture_offset(int64_t position, int eight, const Shape& s) {
  const int64_t row = position / s.w * kStride + eight / kColours;  // over all images: their heights are alike
  return (row * s.w + position % s.w) * kRun + eight % kColours * 8;
}

template <typename T>
__device__ void load_eight(float* value, const T* from) {
  for (int part = 0; part < 8; part += kVector<T>) {
    const auto pack = load<T, kVector<T>>(from + part);
    for (int k = 0; k < kVector<T>; ++k) value[part + k] = to_float(pack.value[k]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) fold_channel_last(const int8_t* pixels, T* folded, Shape s, int64_t work) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= work) return;
  const Eight in = *reinterpret_cast<const Eight*>(pixels + picture_offset(i / kEights, i % kEights, s));
  for (int part = 0; part < 8; part += kVector<T>) {
    Pack<T, kVector<T>> out;
    for (int k = 0; k < kVector<T>; ++k) from_float(unit_of(in.value[part + k]), out.value[k]);
    store(folded + 8 * i + part, out);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    blend_channel_last(const T* x1, const T* r, const float* beta, int8_t* pixels, Shape s, int64_t work) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= work) return;
  const int64_t position = i / kEights;
  const float share = 1.0f - beta[position / (static_cast<int64_t>(s.h) * s.w)];
  float first[8], second[8];
  load_eight(first, x1 + 8 * i);
  load_eight(second, r + 8 * i);
  Eight out;
  for (int k = 0; k < 8; ++k) out.value[k] = pixel_of(first[k], second[k], share);
  *reinterpret_cast<Eight*>(pixels + picture_offset(position, i % kEights, s)) = out;
}

// --- planar -----------------------------------------------------------------------------------------------------

constexpr int kStrip = 64;   // positions of a block, of one row
constexpr int kPadded = 28;  // bytes that a run takes in shared memory: 7 words, so that neighbours lie in other banks
constexpr int kStripBytes = kStride * kStrip * kPadded;

// What a block works on: `count` positions from `first` on, in row `row` of image `image`.
struct Strip {
  int64_t image;
  int row, first, count;

  __device__ explicit Strip(const Shape& s)
      : image(blockIdx.z), row(blockIdx.y), first(blockIdx.x * kStrip), count(min(kStrip, s.w - first)) {}

  // Of row `line` (0 to 7) of its pixels.
  __device__ int64_t picture_offset(int line, const Shape& s) const {
    return (((image * s.h + row) * kStride + line) * s.w + first) * kRun;
  }

  __device__ int64_t tensor_offset(int channel, const Shape& s) const {
    return ((image * kImageChannels + channel) * s.h + row) * s.w + first;
  }
};

__device__ int shared_offset(int line, int position, int byte) { return (line * kStrip + position) * kPadded + byte; }

// Word `word` of a row of the strip; six make a run.
__device__ uint32_t& word_at(int8_t* shared, int line, int word) {
  return *reinterpret_cast<uint32_t*>(shared + shared_offset(line, word / 6, word % 6 * 4));
}

// Copies between the picture's rows and shared memory, 16 bytes at a time where `wide`, else 8 (odd widths).
template <bool to_shared>
__device__ void copy_strip(int8_t* shared, int8_t* pixels, const Strip& strip, const Shape& s, bool wide) {
  const int words = wide ? 4 : 2, parts = strip.count * 6 / words;
  for (int i = threadIdx.x; i < kStride * parts; i += kThreads) {
    const int line = i / parts, word = i % parts * words;
    int8_t* outside = pixels + strip.picture_offset(line, s) + 4 * word;
    if (wide) {
      auto& pack = *reinterpret_cast<Pack<uint32_t, 4>*>(outside);
      Pack<uint32_t, 4> copy;
      if (to_shared) {
        copy = pack;
        for (int k = 0; k < 4; ++k) word_at(shared, line, word + k) = copy.value[k];
      } else {
        for (int k = 0; k < 4; ++k) copy.value[k] = word_at(shared, line, word + k);
        pack = copy;
      }
    } else {
      auto& pair = *reinterpret_cast<uint2*>(outside);
      if (to_shared) {
        const uint2 copy = pair;
        word_at(shared, line, word) = copy.x, word_at(shared, line, word + 1) = copy.y;
      } else {
        pair = make_uint2(word_at(shared, line, word), word_at(shared, line, word + 1));
      }
    }
  }
}

// Calls f(channel, position of the first) for all values of the strip, N neighbours at a time: as many as 16 bytes hold
// where rows of the tensor are aligned (`wide`), else one.
template <int N, typename F>
__device__ void for_values(const Strip& strip, F&& f) {
  const int parts = strip.count / N;
  for (int i = threadIdx.x; i < kImageChannels * parts; i += kThreads) f(i / parts, i % parts * N);
}

template <typename T, bool wide>
__global__ void __launch_bounds__(kThreads) fold_planar(const int8_t* pixels, T* folded, Shape s) {
  alignas(16) __shared__ int8_t shared[kStripBytes];
  const Strip strip(s);
  copy_strip<true>(shared, const_cast<int8_t*>(pixels), strip, s, s.w % 2 == 0);
  __syncthreads();
  constexpr int N = wide ? kVector<T> : 1;
  for_values<N>(strip, [&](int channel, int position) {
    const int line = channel / kRun, byte = channel % kRun;
    T* to = folded + strip.tensor_offset(channel, s) + position;
    Pack<T, N> out;
    for (int k = 0; k < N; ++k) from_float(unit_of(shared[shared_offset(line, position + k, byte)]), out.value[k]);
    store(to, out);
  });
}

template <typename T, bool wide>
__global__ void __launch_bounds__(kThreads)
    blend_planar(const T* x1, const T* r, const float* beta, int8_t* pixels, Shape s) {
  alignas(16) __shared__ int8_t shared[kStripBytes];
  const Strip strip(s);
  const float share = 1.0f - beta[strip.image];
  constexpr int N = wide ? kVector<T> : 1;
  for_values<N>(strip, [&](int channel, int position) {
    const int line = channel / kRun, byte = channel % kRun;
    const int64_t from = strip.tensor_offset(channel, s) + position;
    const auto first = load<T, N>(x1 + from), second = load<T, N>(r + from);
    for (int k = 0; k < N; ++k)
      shared[shared_offset(line, position + k, byte)] =
          pixel_of(to_float(first.value[k]), to_float(second.value[k]), share);
  });
  __syncthreads();
  copy_strip<false>(shared, pixels, strip, s, s.w % 2 == 0);
}

template <typename T>
bool rows_are_aligned(const Shape& s) {
  return s.w % kVector<T> == 0;
}

dim3 strips(const Shape& s) { return dim3((s.w + kStrip - 1) / kStrip, s.h, s.n); }

bool is_image(const Shape& s) { return is_possible(s) && s.c == kImageChannels && s.h <= 65535; }

}  // namespace

int image_to_tensor(const int8_t* pixels, void* folded, Shape s, Type type, Layout layout, void* stream) {
  if (!is_image(s)) return cudaErrorInvalidValue;
  if (is_empty(s)) return cudaSuccess;
  return with_types(type, layout, [&](auto element, auto order) -> int {
    using T = decltype(element);
    T* out = static_cast<T*>(folded);
    if (order.value == Layout::kChannelLast) {
      const int64_t work = static_cast<int64_t>(s.n) * s.h * s.w * kEights;
      return launch(fold_channel_last<T>, blocks_for(work), 0, stream, pixels, out, s, work);
    } else if (rows_are_aligned<T>(s)) {
      return launch(fold_planar<T, true>, strips(s), 0, stream, pixels, out, s);
    } else {
      return launch(fold_planar<T, false>, strips(s), 0, stream, pixels, out, s);
    }
  });
}

int blend_to_image(const void* x1, const void* r, const float* beta, int8_t* pixels, Shape s, Type type, Layout layout,
                   void* stream) {
  if (!is_image(s)) return cudaErrorInvalidValue;
  if (is_empty(s)) return cudaSuccess;
  return with_types(type, layout, [&](auto element, auto order) -> int {
    using T = decltype(element);
    const T *first = static_cast<const T*>(x1), *second = static_cast<const T*>(r);
    if (order.value == Layout::kChannelLast) {
      const int64_t work = static_cast<int64_t>(s.n) * s.h * s.w * kEights;
      return launch(blend_channel_last<T>, blocks_for(work), 0, stream, first, second, beta, pixels, s, work);
    } else if (rows_are_aligned<T>(s)) {
      return launch(blend_planar<T, true>, strips(s), 0, stream, first, second, beta, pixels, s);
    } else {
      return launch(blend_planar<T, false>, strips(s), 0, stream, first, second, beta, pixels, s);
    }
  });
}

}  // namespace rdc
