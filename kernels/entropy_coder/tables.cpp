#include "tables.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace rdc {
namespace {

// With s = ceil(log2 f) and m = ceil(2^(31+s) / f), floor(x m / 2^(31+s)) = floor(x / f) as long as
// x (m f - 2^(31+s)) < 2^(31+s). The encoder divides x < f 2^(31-p) with f < 2^p only, so the left
// side is below f^2 2^(31-p) < f 2^31 <= 2^(31+s). And 2^s < 2f, hence m < 2^32.
EncodeEntry make_entry(uint32_t start, uint32_t frequency) {
  uint32_t shift = 0;
  while ((1u << shift) < frequency) ++shift;
  const uint64_t power = uint64_t{1} << (31 + shift);
  const auto reciprocal = static_cast<uint32_t>((power + frequency - 1) / frequency);
  return {reciprocal, frequency | start << 14 | shift << 28};
}

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

[[noreturn]] void fail_table(size_t table, const std::string& message) {
  fail("table " + std::to_string(table) + ": " + message);
}

}  // namespace

Tables::Tables(const uint16_t* cdf_in, size_t cdf_length, const int32_t* sizes, const int32_t* minimum,
               size_t table_count, int precision_in)
    : count(static_cast<int>(table_count)), precision(precision_in), max_abs(0) {
  if (precision < kMinPrecision || precision > kMaxPrecision)
    fail("precision must be in [" + std::to_string(kMinPrecision) + ", " + std::to_string(kMaxPrecision) + "], not " +
         std::to_string(precision));
  if (table_count < 1 || table_count > kMaxTables)
    fail("there must be 1 to " + std::to_string(kMaxTables) + " tables, not " + std::to_string(table_count));
  if (cdf_length > kMaxCdfEntries)
    fail("cdf has " + std::to_string(cdf_length) + " entries, more than " + std::to_string(kMaxCdfEntries));

  const uint32_t total = 1u << precision;
  size_t offset = 0;
  info.reserve(kMaxTables);
  for (size_t t = 0; t < table_count; ++t) {
    if (sizes[t] < 1) fail_table(t, "size must be at least 1, not " + std::to_string(sizes[t]));
    const auto size = static_cast<size_t>(sizes[t]);
    if (size + 2 > cdf_length - offset) fail_table(t, "cdf ends before the table does");
    const int64_t last = int64_t{minimum[t]} + sizes[t] - 1;
    if (minimum[t] < -kMaxSymbol || last > kMaxSymbol)
      fail_table(t, "symbols " + std::to_string(minimum[t]) + " to " + std::to_string(last) + " are not within +-" +
                        std::to_string(kMaxSymbol));
    const uint16_t* c = cdf_in + offset;
    if (c[0] != 0) fail_table(t, "cdf must start at 0");
    if (c[size + 1] != total) fail_table(t, "cdf must end at 1 << precision");
    for (size_t k = 0; k <= size; ++k)
      if (c[k + 1] <= c[k]) fail_table(t, "cdf must increase strictly");
    max_abs = std::max({max_abs, std::abs(minimum[t]), std::abs(static_cast<int>(last))});
    info.push_back({static_cast<int16_t>(minimum[t]), static_cast<uint16_t>(size), static_cast<uint32_t>(offset)});
    offset += size + 2;
  }
  if (offset != cdf_length)
    fail("cdf has " + std::to_string(cdf_length) + " entries, the tables need " + std::to_string(offset));

  cdf.assign(cdf_in, cdf_in + cdf_length);
  encode.assign(cdf_length, EncodeEntry{0, 0});
  buckets.resize(static_cast<size_t>(kMaxTables) << kBucketBits);

  const uint32_t slots_per_bucket = total >> kBucketBits;
  for (size_t t = 0; t < table_count; ++t) {
    const TableInfo& table = info[t];
    const uint16_t* c = cdf.data() + table.offset;
    for (uint32_t k = 0; k <= table.size; ++k)
      encode[table.offset + k] = make_entry(c[k], static_cast<uint32_t>(c[k + 1]) - c[k]);
    uint32_t k = 0;
    for (uint32_t b = 0; b < (1u << kBucketBits); ++b) {
      while (c[k + 1] <= b * slots_per_bucket) ++k;
      const auto symbol = static_cast<uint16_t>(table.minimum + static_cast<int>(k));
      buckets[t << kBucketBits | b] = (table.offset + k) | static_cast<uint32_t>(symbol) << 16;
    }
  }
  for (size_t t = table_count; t < kMaxTables; ++t) {
    info.push_back(info[0]);
    std::copy_n(buckets.begin(), 1u << kBucketBits, buckets.begin() + static_cast<ptrdiff_t>(t << kBucketBits));
  }
}

}  // namespace rdc
