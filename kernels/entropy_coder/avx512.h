// Sixteen lanes in one AVX-512 register: the same bytes and symbols as lane.h, group by group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lane.h"

namespace rdc {

constexpr size_t kAvx512Lanes = 16;
constexpr size_t kWriteSlack = 32;  // bytes below the words that avx512_encode may write over

// Call these only where simd() says kAvx512.
// `n` is a multiple of kAvx512Lanes; x, in and out carry the coder's state in and back. False if a
// symbol is beyond the limit (encode gives up there; decode's other symbols are meaningless then).
template <class Symbol>
bool avx512_encode(const Symbol* symbols, const uint8_t* indexes, size_t n, const TableView& tables, int limit,
                   uint32_t* x, WordWriter& out);

template <class Symbol>
bool avx512_decode(WordReader& in, const uint8_t* indexes, size_t n, const TableView& tables, int limit, uint32_t* x,
                   Symbol* symbols);

}  // namespace rdc
