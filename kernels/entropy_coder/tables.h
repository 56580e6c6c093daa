// Integer CDF tables, in the layouts that the inner loops want.
//
// All tables share one CDF array, and a position in it (16 bits) names a symbol of a table. Every
// per-table array has kMaxTables entries, those beyond the last table repeating table 0: an index
// that a caller's other thread changes after validation then reads the wrong table, never outside.
#pragma once

#include <cstdint>
#include <vector>

#include "format.h"

namespace rdc {

// Division by the frequency as a multiplication: q = (x * reciprocal) >> (31 + shift), exact for
// every state that the encoder divides (x < frequency * 2^(31 - precision)); proof in tables.cpp.
struct EncodeEntry {
  uint32_t reciprocal;
  uint32_t packed;  // frequency | start << 14 | shift << 28

  uint32_t frequency() const { return packed & 0x3fff; }
  uint32_t start() const { return (packed >> 14) & 0x3fff; }
  uint32_t shift() const { return packed >> 28; }
};

struct TableInfo {
  int16_t minimum;  // the first regular symbol
  uint16_t size;    // regular symbols; the escape symbol comes after them
  uint32_t offset;  // of the table's first CDF entry
};
static_assert(sizeof(EncodeEntry) == 8 && sizeof(TableInfo) == 8, "avx512.cpp gathers them as 64 bits");

// What the inner loops use of Tables. A copy on the stack, of which no address is taken, stays in
// registers; through a reference to Tables every byte written would force the pointers to be read again.
struct TableView {
  const TableInfo* info;
  const EncodeEntry* encode;
  const uint32_t* buckets;
  const uint16_t* cdf;
  int precision;
};

class Tables {
 public:
  // Throws std::invalid_argument naming the first thing that is wrong.
  Tables(const uint16_t* cdf, size_t cdf_length, const int32_t* sizes, const int32_t* minimum, size_t count,
         int precision);

  static constexpr int kBucketBits = 8;

  TableView view() const { return {info.data(), encode.data(), buckets.data(), cdf.data(), precision}; }

  int count;
  int precision;
  int max_abs;  // largest |regular symbol| of any table

  std::vector<uint16_t> cdf;
  std::vector<TableInfo> info;
  std::vector<EncodeEntry> encode;  // by CDF position (the last entry of a table is unused)
  // [table << kBucketBits | slot >> (precision - kBucketBits)]: where the search for the slot's
  // symbol starts, as CDF position | symbol << 16. 1 KiB a table, so the tables in use stay in the
  // caches; a table of all slots would be 32 KiB.
  std::vector<uint32_t> buckets;
};

}  // namespace rdc
