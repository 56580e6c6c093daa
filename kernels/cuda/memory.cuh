// Accesses of 16 bytes, and launches.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace rdc {

// As many neighbours as 16 bytes of T hold; arrays of other types come along in as many 16-byte accesses as it takes.
template <typename T>
constexpr int kVector = 16 / sizeof(T);

template <typename T, int N>
struct alignas(N == 1 ? alignof(T) : 16) Pack {
  T value[N];
};

template <typename T, int N>
__device__ __forceinline__ Pack<T, N> load(const T* from) {
  static_assert(N == 1 || sizeof(T) * N % 16 == 0, "whole accesses");
  if constexpr (N == 1)
    return {*from};
  else
    return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <typename T, int N>
__device__ __forceinline__ void store(T* to, const Pack<T, N>& pack) {
  if constexpr (N == 1)
    *to = pack.value[0];
  else
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

constexpr int kThreads = 256;

// Shared memory whose size the launch says.
#if defined(RDC_EMULATED_CUDA)  // tests/emulated_cuda
#define RDC_DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulated_shared.data())
#else
#define RDC_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// Blocks of kThreads. Returns a cudaError_t.
template <typename... Parameters, typename... Arguments>
int launch(void (*kernel)(Parameters...), dim3 grid, std::size_t shared, void* stream, Arguments... arguments) {
#if defined(RDC_EMULATED_CUDA)
  static_cast<void>(stream);
  return emulated_launch(kernel, grid, kThreads, shared, arguments...);
#else
  kernel<<<grid, kThreads, shared, static_cast<cudaStream_t>(stream)>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();  // and clears it, or every launch after a failed one would seem to fail
#endif
}

inline unsigned blocks_for(int64_t work) { return static_cast<unsigned>((work + kThreads - 1) / kThreads); }

}  // namespace rdc
