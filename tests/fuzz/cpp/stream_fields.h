// A stream taken apart into fields, whether or not they make sense, so that one can be changed and all checksums made
// right again: a change of bytes alone would end at the first checksum. tests/fuzz/streams.py does the same in Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "check.h"

namespace fuzz {

struct Chunk {
  uint32_t type;
  Bytes payload;           // as much as is there
  uint32_t more = 0;       // bytes that the directory claims besides
  uint32_t wrong_crc = 0;  // flipped in its checksum
};

struct StreamFields {
  Bytes start;  // magic, version, flags, identities
  uint32_t width = 0, height = 0;
  uint16_t qualities[3] = {};
  uint32_t more_chunks = 0;  // that the header claims besides
  uint32_t wrong_crc = 0;
  std::vector<Chunk> chunks;
  Bytes after;
};

// False where the bytes have no header and directory.
bool take_apart(const uint8_t* data, size_t size, StreamFields& fields);

Bytes put_together(const StreamFields& fields);

// Changes a field or the payload of a chunk. change: the fuzzer's own mutation of some bytes.
void change_one(StreamFields& fields, std::minstd_rand& random, void (*change)(Bytes& bytes, size_t most));

}  // namespace fuzz
