#include "simd.h"

#include <atomic>

namespace rdc {
namespace {

std::atomic<Simd> g_simd{best_simd()};

}  // namespace

Simd best_simd() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return Simd::kScalar;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("popcnt");
  return avx512 ? Simd::kAvx512 : Simd::kAvx2;
#else
  return Simd::kScalar;
#endif
}

Simd simd() { return g_simd.load(std::memory_order_relaxed); }
void set_simd(Simd path) { g_simd.store(path, std::memory_order_relaxed); }

}  // namespace rdc
