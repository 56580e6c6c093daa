// The constants and the lane rule of an entropy-coded segment. docs/entropy_coding.md is normative;
// every constant of the format lives here and nowhere else in the native code.
//
// Surprises first:
//  * rANS is last-in, first-out: the encoder walks the symbols backwards, the decoder forwards.
//  * The state lives in [2^15, 2^31), not in the customary [2^16, 2^32). The lost bit buys exact
//    32-bit reciprocals for every frequency, and a state whose top half tells whether it fits in
//    one word (see the flush in rans.cpp).
//  * The number of lanes is a function of the symbol count, so it is never stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rdc {

constexpr uint32_t kStateLow = 1u << 15;  // a state below this takes in one more 16-bit word
constexpr int kStateBits = 31;            // every state is below 2^31
constexpr int kWordBits = 16;
constexpr size_t kCrcLanes = 3;  // whose last state holds a part of the symbols' CRC
constexpr int kCrcBitsPerLane = 15;

constexpr int kMinPrecision = 8;
constexpr int kMaxPrecision = 14;
constexpr int kMaxTables = 256;
constexpr size_t kMaxCdfEntries = 65536;  // of all tables together: CDF positions fit in 16 bits

constexpr int kMaxSymbol = 16383;      // largest |symbol| and largest limit
constexpr int kEscapeHeaderBits = 5;   // 1 sign bit and 4 bits of length
constexpr int kMaxWordsPerSymbol = 3;  // an escape: the symbol, its header, its low bits

constexpr int kMaxLanes = 16;
#ifdef RDC_FUZZ_SYMBOLS_PER_LANE  // so that a fuzzer reaches all lanes with few symbols: not the format
constexpr size_t kSymbolsPerLane = RDC_FUZZ_SYMBOLS_PER_LANE;
#else
constexpr size_t kSymbolsPerLane = 16384;
#endif

// The largest power of two that leaves every lane at least kSymbolsPerLane symbols, within [1, kMaxLanes].
inline int lanes_for(size_t n) {
  int lanes = 1;
  while (lanes < kMaxLanes && n >= 2 * static_cast<size_t>(lanes) * kSymbolsPerLane) lanes *= 2;
  return lanes;
}

}  // namespace rdc
