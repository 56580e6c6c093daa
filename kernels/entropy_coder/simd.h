// Which code path runs. Paths differ in speed only, never in a byte or a symbol.
#pragma once

namespace rdc {

// In order of preference; each includes those before it.
//   kAvx2    the scale network: vpdpwssd of AVX-512 was no faster there
//   kAvx512  the coder, whose sixteen lanes fill one register
enum class Simd { kScalar, kAvx2, kAvx512 };

Simd best_simd();  // of this processor
Simd simd();       // in use: the best one, until a test asks for less
void set_simd(Simd path);

}  // namespace rdc
