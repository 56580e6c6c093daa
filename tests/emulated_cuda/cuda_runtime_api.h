// Just enough of CUDA to run the kernels of kernels/cuda on a CPU: blocks one after another, the threads of a block
// as threads that meet at __syncthreads. For tests where there is no GPU; it finds wrong indices, not slow ones.
// Compile with -x c++ -std=c++20 -D__CUDACC__ -DRDC_EMULATED_CUDA and this folder before any other on the include path.
#pragma once

#include <algorithm>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static  // one block at a time

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct uint2 {
  unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

enum { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;

using std::max;
using std::min;

inline thread_local dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline std::barrier<>* emulated_barrier;
inline std::vector<std::max_align_t> emulated_shared;

inline void __syncthreads() { emulated_barrier->arrive_and_wait(); }

template <typename... Parameters, typename... Arguments>
int emulated_launch(void (*kernel)(Parameters...), dim3 grid, unsigned threads, std::size_t shared,
                    Arguments... arguments) {
  gridDim = grid, blockDim = dim3(threads);
  emulated_shared.assign(shared / sizeof(std::max_align_t) + 1, {});
  std::barrier<> barrier(threads);
  emulated_barrier = &barrier;
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t)
    pool.emplace_back([=] {
      threadIdx = dim3(t, 0, 0);
      for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
          for (unsigned x = 0; x < grid.x; ++x) {
            blockIdx = dim3(x, y, z);
            kernel(static_cast<Parameters>(arguments)...);
            __syncthreads();  // shared memory is the next block's now
          }
    });
  for (auto& thread : pool) thread.join();
  return cudaSuccess;
}
