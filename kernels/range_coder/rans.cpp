#include "rans.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "avx512.h"
#include "lane.h"

namespace rdc {
namespace {

std::atomic<Simd> g_simd{simd_available(Simd::kAvx512) ? Simd::kAvx512 : Simd::kScalar};

// Why an argument cannot be coded. Called once the fast check has failed, or to make it.
void check_indexes(const uint8_t* indexes, size_t n, const Tables& tables) {
    if (n == 0 || *std::max_element(indexes, indexes + n) < tables.count) return;
    const auto* bad = std::find_if(indexes, indexes + n, [&](uint8_t i) { return i >= tables.count; });
    throw std::invalid_argument("indexes[" + std::to_string(bad - indexes) + "] is " + std::to_string(*bad) +
                                ", but there are " + std::to_string(tables.count) + " tables");
}

void check_limit(int limit) {
    if (limit < 0 || limit > kMaxSymbol)
        throw std::invalid_argument("limit must be in [0, " + std::to_string(kMaxSymbol) + "], not " +
                                    std::to_string(limit));
}

template <class Symbol>
bool all_within(const Symbol* symbols, size_t n, int limit) {
    Symbol low = 0, high = 0;
    for (size_t i = 0; i < n; ++i) {
        low = std::min(low, symbols[i]);
        high = std::max(high, symbols[i]);
    }
    return low >= -limit && high <= limit;
}

[[noreturn]] void fail_limit(int limit) {
    throw std::invalid_argument("symbols must be within +-limit, limit = " + std::to_string(limit));
}

}  // namespace

bool simd_available(Simd path) { return path == Simd::kScalar || avx512_available(); }
void set_simd(Simd path) { g_simd = path; }
Simd simd() { return g_simd; }

template <class Symbol>
Encoded encode(const Symbol* symbols, const uint8_t* indexes, size_t n, const Tables& tables, int limit) {
    check_limit(limit);
    check_indexes(indexes, n, tables);
    Encoded result;
    if (n == 0) return result;
    // Escapes are checked where they are met; a table that reaches beyond the limit needs more.
    if (tables.max_abs > limit && !all_within(symbols, n, limit)) fail_limit(limit);

    const auto lanes = static_cast<size_t>(lanes_for(n));
    const size_t capacity = 2 * (kMaxWordsPerSymbol * n + 2 * lanes) + kWriteSlack;
    result.buffer.reset(new uint8_t[capacity]);  // uninitialised: pages never written cost nothing
    WordWriter out{result.buffer.get() + capacity};
    uint32_t x[kMaxLanes];
    std::fill(x, x + kMaxLanes, kStateLow);

    size_t i = n;
    for (; i % lanes; --i)
        if (!put_symbol(x[(i - 1) % lanes], out, symbols[i - 1], indexes[i - 1], tables, limit)) fail_limit(limit);
    if (lanes == kAvx512Lanes && simd() == Simd::kAvx512) {
        if (!avx512_encode(symbols, indexes, i, tables, limit, x, out)) fail_limit(limit);
    } else {
        while (i) {
            i -= lanes;
            for (size_t lane = lanes; lane--;)
                if (!put_symbol(x[lane], out, symbols[i + lane], indexes[i + lane], tables, limit))
                    fail_limit(limit);
        }
    }

    // A state that fits in 16 bits has its top bit set there (it is at least 2^15); the high word of
    // any other has it clear. So one word or two, and the decoder can tell.
    for (size_t lane = lanes; lane--;) {
        const bool one_word = x[lane] < (1u << kWordBits);
        out.write(x[lane]);
        if (!one_word) out.write(x[lane] >> kWordBits);
    }
    result.data = out.next;
    result.size = static_cast<size_t>(result.buffer.get() + capacity - out.next);
    return result;
}

template <class Symbol>
void decode(const uint8_t* data, size_t size, const uint8_t* indexes, size_t n, const Tables& tables, int limit,
            Symbol* symbols) {
    check_limit(limit);
    check_indexes(indexes, n, tables);
    if (size % 2) throw CorruptStream("an odd number of bytes");
    if (n == 0) {
        if (size) throw CorruptStream("bytes where no symbols are coded");
        return;
    }

    const auto lanes = static_cast<size_t>(lanes_for(n));
    WordReader in{data, data + size};
    uint32_t x[kMaxLanes];
    for (size_t lane = 0; lane < lanes; ++lane) {
        x[lane] = in.read();
        if (x[lane] == 0) throw CorruptStream("invalid initial state");
        if (x[lane] < kStateLow) x[lane] = x[lane] << kWordBits | in.read();
    }

    size_t i = 0;
    bool valid = true;
    if (lanes == kAvx512Lanes && simd() == Simd::kAvx512) {
        i = n - n % lanes;
        valid = avx512_decode(in, indexes, i, tables, limit, x, symbols);
    } else {
        for (; i + lanes <= n; i += lanes)
            for (size_t lane = 0; lane < lanes; ++lane) {
                const int symbol = take_symbol(x[lane], in, indexes[i + lane], tables);
                valid &= symbol <= limit && symbol >= -limit;
                symbols[i + lane] = static_cast<Symbol>(symbol);
            }
    }
    for (; i < n; ++i) {
        const int symbol = take_symbol(x[i % lanes], in, indexes[i], tables);
        valid &= symbol <= limit && symbol >= -limit;
        symbols[i] = static_cast<Symbol>(symbol);
    }

    if (in.overrun) throw CorruptStream("truncated");
    if (!valid) throw CorruptStream("a symbol beyond the limit");
    if (in.next != in.end) throw CorruptStream("trailing bytes");
    for (size_t lane = 0; lane < lanes; ++lane)
        if (x[lane] != kStateLow) throw CorruptStream("wrong final state");
}

template Encoded encode(const int16_t*, const uint8_t*, size_t, const Tables&, int);
template Encoded encode(const int32_t*, const uint8_t*, size_t, const Tables&, int);
template void decode(const uint8_t*, size_t, const uint8_t*, size_t, const Tables&, int, int16_t*);
template void decode(const uint8_t*, size_t, const uint8_t*, size_t, const Tables&, int, int32_t*);

}  // namespace rdc
