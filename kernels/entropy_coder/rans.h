// Encoding and decoding of one segment: one or more parts of symbols, each symbol with the index of its table.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "lane.h"
#include "tables.h"

namespace rdc {

// The bytes are not an encoding of any symbols with these indexes, tables and limit.
struct CorruptStream : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The encoder fills its buffer from the end; `data` points at the first byte of the result.
struct Encoded {
  std::unique_ptr<uint8_t[]> buffer;
  const uint8_t* data = nullptr;
  size_t size = 0;
};

// Symbols of one part of a segment. The parts of a segment share one chain of states, so that a decoder can
// work out the indexes of a part from the symbols of those before it. Symbol is int16_t or int32_t.
template <class Symbol>
struct Part {
  const Symbol* symbols;
  const uint8_t* indexes;
  size_t n;
  const Tables* tables;
  int limit;
};

// Throws std::invalid_argument for symbols, indexes or limits that cannot be coded.
template <class Symbol>
Encoded encode(const std::vector<Part<Symbol>>& parts);

// Reads a segment part by part: read() each with the `n`, tables and limit it was written with, then finish().
// The bytes must outlive it. Throws std::invalid_argument as encode does, CorruptStream for every defect of the
// data; after that, or after finish(), it must not be used again.
class Decoder {
 public:
  Decoder(const uint8_t* data, size_t size);

  template <class Symbol>
  void read(const uint8_t* indexes, size_t n, const Tables& tables, int limit, Symbol* symbols);

  void finish();

 private:
  WordReader in_;
  uint32_t crc_ = 0;
  // Of the latest part that is not empty. Their last values are checked once it is known whether one follows.
  size_t lanes_ = 0;
  uint32_t x_[kMaxLanes];
};

}  // namespace rdc
