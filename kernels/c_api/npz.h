// Reads `.npz`: a zip archive (stored or deflated members, no encryption, no zip64) of `.npy` arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace rdc {

// Integers, little-endian, in C order.
struct Array {
  std::string type;  // as NumPy writes it: "<u2", "|i1", ...
  std::vector<size_t> shape;
  std::vector<uint8_t> bytes;

  size_t count() const;
  std::string shape_text() const;  // as Python writes a tuple; that of a scalar is (1,), as identities have it

  // Throws Error with RDC_CORRUPT where the type is not that of T. T: int8_t, uint8_t, uint16_t or int32_t.
  template <class T>
  std::vector<T> values() const;

  int64_t scalar() const;  // of an array of one integer of any type
};

using Arrays = std::map<std::string, Array>;  // in the order of names that an identity has

// Throws Error with RDC_CORRUPT, with RDC_UNSUPPORTED for what NumPy could read and this cannot, with RDC_LIMIT where
// the arrays have more than `most` bytes together. The members' CRC-32 is not looked at: a bundle has SHA-256.
Arrays read_npz(const uint8_t* data, size_t size, size_t most);

}  // namespace rdc
