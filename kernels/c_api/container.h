// The container of a stream, written from docs/bitstream.md and from nothing else, so that it and the Python package's
// are two readings of one text (tests/test_c_api.py holds them against each other).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rdc.h"

namespace rdc {

// The bytes of a chunk that is whole.
inline const uint8_t* content_of(const uint8_t* data, const rdc_chunk& chunk) {
  return chunk.length ? data + chunk.offset : data;
}

struct Stream {
  const uint8_t* data;
  rdc_header header;
  std::vector<rdc_chunk> chunks;

  // NULL where the directory has no such chunk.
  const rdc_chunk* find(uint32_t type, uint32_t nth) const;
};

// Steps 1 to 4 of what a reader does, and the state of every chunk. max_pixels 0: no limit.
// Throws Error with RDC_TRUNCATED, RDC_CORRUPT, RDC_UNSUPPORTED or RDC_LIMIT.
Stream read_stream(const uint8_t* data, size_t size, uint64_t max_pixels);

// "AUX_SLICE 2 is damaged" of the first chunk that is not whole; empty where all are.
std::string damage_of(const Stream& stream);

// A chunk to be written.
struct Content {
  uint32_t type;
  const uint8_t* data;
  size_t size;
};

// Returns the bytes before the first chunk. The header's sizes, qualities and identities are used. Throws Error with
// RDC_INVALID for values out of range and types in the wrong order, RDC_LIMIT for chunks that are too many or too long.
std::vector<uint8_t> write_head(const rdc_header& header, const std::vector<Content>& chunks);

}  // namespace rdc

struct rdc_stream {
  rdc::Stream stream;
};
