// The readers that a bundle's files go through, each by itself: the first byte of an input says which.
//
// Must hold: rdc::Error with RDC_CORRUPT, RDC_UNSUPPORTED or RDC_LIMIT is all that is thrown; inflating makes exactly
// the bytes that were asked for, or none; what sorted_dump() writes is read to the same text.
#include <string>

#include "../../../kernels/c_api/error.h"
#include "../../../kernels/c_api/inflate.h"
#include "../../../kernels/c_api/json.h"
#include "../../../kernels/c_api/npz.h"
#include "check.h"

namespace {

using fuzz::Bytes;
using fuzz::Input;

constexpr size_t kMost = 1 << 16;

void check_json(const Bytes& bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const rdc::Json value = rdc::Json::parse(text, bytes.size());
  const std::string dump = value.sorted_dump();
  MUST_HOLD(rdc::Json::parse(dump.data(), dump.size()).sorted_dump() == dump);
  if (const rdc::Json* number = value.find("number")) number->whole(-5, 70000);
}

void check_inflate(size_t expected, const Bytes& bytes) {
  const fuzz::Memory memory;
  MUST_HOLD(rdc::inflate(bytes.data(), bytes.size(), expected).size() == expected);
  MUST_HOLD(memory.peak() <= expected);
}

void check_npz(const Bytes& bytes) {
  const fuzz::Memory memory;
  size_t total = 0;
  for (const auto& [name, array] : rdc::read_npz(bytes.data(), bytes.size(), kMost)) {
    size_t count = 1;
    for (const size_t side : array.shape) count *= side;
    MUST_HOLD(array.count() == count && name.size() <= bytes.size() && array.shape_text().size() >= 2);
    if (count == 1 && array.shape.empty()) array.scalar();
    total += array.bytes.size();
  }
  MUST_HOLD(total <= kMost && memory.peak() <= 3 * kMost + 1024 * bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::Budget budget;
  Input in(data, size);
  const uint32_t which = in.number(1) % 3;
  const size_t expected = which == 1 ? in.number(2) : 0;
  const Bytes bytes = in.rest();
  try {
    if (which == 0)
      check_json(bytes);
    else if (which == 1)
      check_inflate(expected, bytes);
    else
      check_npz(bytes);
  } catch (const rdc::Error& error) {
    MUST_HOLD(error.status == RDC_CORRUPT || error.status == RDC_UNSUPPORTED || error.status == RDC_LIMIT);
  }
  return 0;
}
