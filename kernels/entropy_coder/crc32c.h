// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), as in RFC 3720 and the SSE4.2 instruction.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rdc {

// `value` is the checksum of what came before, so that crc(b, crc(a)) == crc(a + b).
uint32_t crc32c(const uint8_t* data, size_t size, uint32_t value);

}  // namespace rdc
