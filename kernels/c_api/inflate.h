// Raw DEFLATE (RFC 1951), as in `tables.npz`. Own code, because this library depends on nothing: where it is embedded
// (a page in WebAssembly, firmware) there is often no zlib. Simple and not fast: a bundle is opened once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rdc {

// Returns exactly `expected` bytes. Throws Error with RDC_CORRUPT for anything that is not their compressed form.
std::vector<uint8_t> inflate(const uint8_t* data, size_t size, size_t expected);

}  // namespace rdc
