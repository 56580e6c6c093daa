// Accesses of 16 bytes, and the division of a flat tensor among threads.
#pragma once

#include <cstdint>

namespace rdc {

// As many neighbours as 16 bytes of T hold; arrays of other types come along in as many 16-byte accesses as it takes.
template <typename T>
constexpr int kLane = 16 / sizeof(T);

template <typename T, int N>
struct alignas(16) Pack {
  T value[N];
};

template <typename T, int N>
__device__ __forceinline__ Pack<T, N> load(const T* from) {
  static_assert(sizeof(T) * N % 16 == 0, "whole accesses");
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <typename T, int N>
__device__ __forceinline__ void store(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

constexpr int kThreads = 256;

inline unsigned blocks_for(int64_t work) { return static_cast<unsigned>((work + kThreads - 1) / kThreads); }

}  // namespace rdc
