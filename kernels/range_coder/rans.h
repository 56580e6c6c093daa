// Encoding and decoding of one segment: `n` symbols, each with the index of its table.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>

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

// Symbol is int16_t or int32_t. Both throw std::invalid_argument (std::out_of_range is not used) for
// arguments that cannot be coded; decode throws CorruptStream for every defect of the data.
template <class Symbol>
Encoded encode(const Symbol* symbols, const uint8_t* indexes, size_t n, const Tables& tables, int limit);

template <class Symbol>
void decode(const uint8_t* data, size_t size, const uint8_t* indexes, size_t n, const Tables& tables, int limit,
            Symbol* symbols);

}  // namespace rdc
