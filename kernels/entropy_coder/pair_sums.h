// Sums over pairs of 16-bit products, because that is what processors multiply fastest (pmaddwd). A pair
// cannot overflow: 2 * 127 * 128. The same names for each instruction set, each in a namespace; the loops that use them
// are in .inc files, included once per namespace with RDC_TARGET as their functions' target attribute. Files to include
// and not templates: compilers inline a function with a target attribute only into functions that have the same one.
//   Sums                              kBlock 32-bit sums;  kPixels: how many of them the registers hold
//   load(Sums&, p), store(p, Sums)
//   add_pairs(Sums&, weights, pair)   adds weights[2 o] * low half of the pair + weights[2 o + 1] * its high half to
//   sum o
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define RDC_X86 1
#include <immintrin.h>
#endif

namespace rdc {

constexpr size_t kBlock = 16;  // output channels computed together

#ifdef RDC_X86
namespace avx2 {
#define RDC_TARGET_AVX2 __attribute__((target("avx2")))
constexpr size_t kPixels = 4;
struct Sums {
  __m256i low, high;
};
RDC_TARGET_AVX2 inline __m256i load_half(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
RDC_TARGET_AVX2 inline void load(Sums& sums, const int32_t* p) { sums = {load_half(p), load_half(p + 8)}; }
RDC_TARGET_AVX2 inline void store(int32_t* p, const Sums& sums) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), sums.low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), sums.high);
}
RDC_TARGET_AVX2 inline void add_pairs(Sums& sums, const int16_t* weights, int32_t pair) {
  const __m256i both = _mm256_set1_epi32(pair);
  sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(load_half(weights), both));
  sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(load_half(weights + kBlock), both));
}
}  // namespace avx2
#endif

namespace portable {
constexpr size_t kPixels = 4;
struct Sums {
  int32_t values[kBlock];
};
inline void load(Sums& sums, const int32_t* p) { std::copy_n(p, kBlock, sums.values); }
inline void store(int32_t* p, const Sums& sums) { std::copy_n(sums.values, kBlock, p); }
inline void add_pairs(Sums& sums, const int16_t* weights, int32_t pair) {
  int16_t a[2];
  std::memcpy(a, &pair, sizeof a);
  for (size_t o = 0; o < kBlock; ++o) sums.values[o] += weights[2 * o] * a[0] + weights[2 * o + 1] * a[1];
}
}  // namespace portable

}  // namespace rdc
