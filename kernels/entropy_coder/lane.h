// One lane's steps: the definition of the coder, one symbol at a time. rans.cpp loops over them;
// avx512.cpp does sixteen at once and comes back here for escapes.
#pragma once

#include <cstdint>
#include <cstring>

#include "format.h"
#include "tables.h"

namespace rdc {

inline uint32_t load_word(const uint8_t* p) { return uint32_t{p[0]} | uint32_t{p[1]} << 8; }

inline void store_word(uint8_t* p, uint32_t word) {
  p[0] = static_cast<uint8_t>(word);
  p[1] = static_cast<uint8_t>(word >> 8);
}

// The unread words. Reading past the end yields zeros and is remembered, so that the inner loop
// needs no way out; decode() looks at `overrun` afterwards.
struct WordReader {
  const uint8_t* next;
  const uint8_t* end;
  bool overrun = false;

  size_t words_left() const { return static_cast<size_t>(end - next) / 2; }

  uint32_t read() {
    if (next == end) {
      overrun = true;
      return 0;
    }
    const uint32_t word = load_word(next);
    next += 2;
    return word;
  }
};

// The words written so far, the last one first; the caller guarantees the space below.
struct WordWriter {
  uint8_t* next;

  void write(uint32_t word) {
    next -= 2;
    store_word(next, word);
  }
};

inline void put_bits(uint32_t& x, WordWriter& out, uint32_t value, int bits) {
  if (x >> (kStateBits - bits)) {
    out.write(x);
    x >>= kWordBits;
  }
  x = x << bits | value;
}

inline uint32_t take_bits(uint32_t& x, WordReader& in, int bits) {
  const uint32_t value = x & ((1u << bits) - 1);
  x >>= bits;
  if (x < kStateLow) x = x << kWordBits | in.read();
  return value;
}

inline void put_entry(uint32_t& x, WordWriter& out, const EncodeEntry& entry, int precision) {
  const uint32_t frequency = entry.frequency();
  if (x >= frequency << (kStateBits - precision)) {
    out.write(x);
    x >>= kWordBits;
  }
  const auto quotient = static_cast<uint32_t>((uint64_t{x} * entry.reciprocal) >> (31 + entry.shift()));
  x += entry.start() + quotient * ((1u << precision) - frequency);
}

// False if |symbol| > limit; symbols of the tables themselves have been checked by the caller.
inline bool put_symbol(uint32_t& x, WordWriter& out, int symbol, uint8_t index, const TableView& tables, int limit) {
  const TableInfo& table = tables.info[index];
  uint32_t position = static_cast<uint32_t>(symbol) - static_cast<uint32_t>(int{table.minimum});
  if (position >= table.size) {
    if (symbol > limit || symbol < -limit) return false;
    // Everything backwards: the decoder meets escape, header, low bits.
    const int maximum = table.minimum + table.size - 1;
    const uint32_t negative = symbol < table.minimum;
    const auto distance = static_cast<uint32_t>(negative ? table.minimum - symbol : symbol - maximum);
    uint32_t length = 0;
    while (distance >> (length + 1)) ++length;
    put_bits(x, out, distance - (1u << length), static_cast<int>(length));
    put_bits(x, out, length << 1 | negative, kEscapeHeaderBits);
    position = table.size;
  }
  put_entry(x, out, tables.encode[table.offset + position], tables.precision);
  return true;
}

// Reads what follows an escape symbol. The result may exceed the limit: the caller checks.
inline int take_escape(uint32_t& x, WordReader& in, const TableInfo& table) {
  const uint32_t header = take_bits(x, in, kEscapeHeaderBits);
  const int length = static_cast<int>(header >> 1);
  // A length of 15 is never written: it would leave a state of zero bits and means damage anyway.
  const uint32_t low = length < 15 ? take_bits(x, in, length) : 0;
  const int distance = static_cast<int>((1u << length) + low);
  const int maximum = table.minimum + table.size - 1;
  return (header & 1) ? table.minimum - distance : maximum + distance;
}

// The next symbol, or anything beyond +-limit if the data is damaged there.
inline int take_symbol(uint32_t& x, WordReader& in, uint8_t index, const TableView& tables) {
  const int precision = tables.precision;
  const uint32_t slot = x & ((1u << precision) - 1);
  const uint32_t bucket =
      tables.buckets[static_cast<uint32_t>(index) << Tables::kBucketBits | slot >> (precision - Tables::kBucketBits)];
  const uint16_t* c = tables.cdf + (bucket & 0xffff);
  int symbol = static_cast<int16_t>(bucket >> 16);
  for (; c[1] <= slot; ++c) ++symbol;
  x = (static_cast<uint32_t>(c[1]) - c[0]) * (x >> precision) + slot - c[0];
  if (x < kStateLow) x = x << kWordBits | in.read();
  if (c[1] >> precision) symbol = take_escape(x, in, tables.info[index]);
  return symbol;
}

}  // namespace rdc
