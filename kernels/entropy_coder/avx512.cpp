// One pass of a loop codes sixteen symbols, one per lane. Words go in lane order, so a group's words
// are the lanes that need one, compressed. A group with an escape goes through lane.h, symbol by symbol.
//
// Gathers dominate. The per-table and per-symbol records are eight bytes so that one 64-bit gather of
// the even lanes and one of the odd lanes fetch all of both; a blend puts the halves back in lane order.
#include "avx512.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define RDC_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")))

namespace rdc {
namespace {

constexpr __mmask16 kOdd = 0xaaaa;

RDC_AVX512 inline __m512i load_symbols(const int32_t* p) { return _mm512_loadu_si512(p); }
RDC_AVX512 inline __m512i load_symbols(const int16_t* p) {
  return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
RDC_AVX512 inline void store_symbols(int32_t* p, __m512i v) { _mm512_storeu_si512(p, v); }
RDC_AVX512 inline void store_symbols(int16_t* p, __m512i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
}
RDC_AVX512 inline __m512i load_indexes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Records of eight bytes, those of the even lanes and those of the odd ones.
struct Gathered {
  __m512i even, odd;
};

RDC_AVX512 inline Gathered gather_records(const void* base, __m512i position) {
  return {_mm512_i64gather_epi64(_mm512_maskz_mov_epi32(0x5555, position), base, 8),
          _mm512_i64gather_epi64(_mm512_srli_epi64(position, 32), base, 8)};
}
RDC_AVX512 inline __m512i low_halves(const Gathered& g) {
  return _mm512_mask_blend_epi32(kOdd, g.even, _mm512_slli_epi64(g.odd, 32));
}
RDC_AVX512 inline __m512i high_halves(const Gathered& g) {
  return _mm512_mask_blend_epi32(kOdd, _mm512_srli_epi64(g.even, 32), g.odd);
}

template <class Symbol>
RDC_AVX512 bool encode_groups(const Symbol* symbols, const uint8_t* indexes, size_t n, const TableView& tables,
                              int limit, uint32_t* state, WordWriter& out) {
  const int precision = tables.precision;
  const __m128i max_shift = _mm_cvtsi32_si128(kStateBits - precision);
  const __m512i total = _mm512_set1_epi32(1 << precision);
  const __m512i field = _mm512_set1_epi32(0x3fff);
  const __m512i base_shift = _mm512_set1_epi64(31);
  const __m512i lane_numbers = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);

  __m512i x = _mm512_loadu_si512(state);
  while (n) {
    n -= kAvx512Lanes;
    const Gathered info = gather_records(tables.info, load_indexes(indexes + n));
    const __m512i minimum_size = low_halves(info);
    const __m512i minimum = _mm512_srai_epi32(_mm512_slli_epi32(minimum_size, 16), 16);
    const __m512i size = _mm512_srli_epi32(minimum_size, 16);
    const __m512i position = _mm512_sub_epi32(load_symbols(symbols + n), minimum);
    if (_mm512_cmpge_epu32_mask(position, size)) {
      _mm512_storeu_si512(state, x);
      for (size_t lane = kAvx512Lanes; lane--;)
        if (!put_symbol(state[lane], out, symbols[n + lane], indexes[n + lane], tables, limit)) return false;
      x = _mm512_loadu_si512(state);
      continue;
    }
    const Gathered entry = gather_records(tables.encode, _mm512_add_epi32(position, high_halves(info)));
    const __m512i packed = high_halves(entry);
    const __m512i frequency = _mm512_and_si512(packed, field);
    const __m512i start = _mm512_and_si512(_mm512_srli_epi32(packed, 14), field);

    // The words, compressed, then rotated to the top so that they end where the last ones began;
    // what lies below them in the 32 bytes written is overwritten later.
    const __mmask16 emit = _mm512_cmpge_epu32_mask(x, _mm512_sll_epi32(frequency, max_shift));
    const int count = _mm_popcnt_u32(emit);
    const __m512i words = _mm512_permutexvar_epi32(_mm512_add_epi32(lane_numbers, _mm512_set1_epi32(count)),
                                                   _mm512_maskz_compress_epi32(emit, x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.next - 32), _mm512_cvtepi32_epi16(words));
    out.next -= 2 * count;
    x = _mm512_mask_srli_epi32(x, emit, x, kWordBits);

    const __m512i even = _mm512_srlv_epi64(_mm512_mul_epu32(x, entry.even),
                                           _mm512_add_epi64(_mm512_srli_epi64(entry.even, 60), base_shift));
    const __m512i odd = _mm512_srlv_epi64(_mm512_mul_epu32(_mm512_srli_epi64(x, 32), entry.odd),
                                          _mm512_add_epi64(_mm512_srli_epi64(entry.odd, 60), base_shift));
    const __m512i quotient = low_halves({even, odd});
    x = _mm512_add_epi32(_mm512_add_epi32(x, start), _mm512_mullo_epi32(quotient, _mm512_sub_epi32(total, frequency)));
  }
  _mm512_storeu_si512(state, x);
  return true;
}

template <class Symbol>
RDC_AVX512 bool decode_groups(WordReader& in, const uint8_t* indexes, size_t n, const TableView& tables, int limit,
                              uint32_t* state, Symbol* symbols) {
  const int precision = tables.precision;
  const __m128i slot_bits = _mm_cvtsi32_si128(precision);
  const __m128i bucket_shift = _mm_cvtsi32_si128(precision - Tables::kBucketBits);
  const __m512i slot_mask = _mm512_set1_epi32((1 << precision) - 1);
  const __m512i total = _mm512_set1_epi32(1 << precision);
  const __m512i low_word = _mm512_set1_epi32(0xffff);
  const __m512i one = _mm512_set1_epi32(1);
  const __m512i state_low = _mm512_set1_epi32(kStateLow);
  const __m512i limits = _mm512_set1_epi32(limit);

  __m512i x = _mm512_loadu_si512(state);
  __mmask16 invalid = 0;
  for (size_t i = 0; i < n; i += kAvx512Lanes) {
    const __m512i slot = _mm512_and_si512(x, slot_mask);
    const __m512i bucket =
        _mm512_i32gather_epi32(_mm512_or_si512(_mm512_slli_epi32(load_indexes(indexes + i), Tables::kBucketBits),
                                               _mm512_srl_epi32(slot, bucket_shift)),
                               tables.buckets, 4);
    __m512i position = _mm512_and_si512(bucket, low_word);
    __m512i symbol = _mm512_srai_epi32(bucket, 16);
    __m512i start_end = _mm512_i32gather_epi32(position, tables.cdf, 2);
    __m512i end = _mm512_srli_epi32(start_end, 16);
    while (const __mmask16 behind = _mm512_cmple_epu32_mask(end, slot)) {
      position = _mm512_mask_add_epi32(position, behind, position, one);
      symbol = _mm512_mask_add_epi32(symbol, behind, symbol, one);
      start_end = _mm512_mask_i32gather_epi32(start_end, behind, position, tables.cdf, 2);
      end = _mm512_srli_epi32(start_end, 16);
    }
    if (_mm512_cmpeq_epi32_mask(end, total)) {
      _mm512_storeu_si512(state, x);
      for (size_t lane = 0; lane < kAvx512Lanes; ++lane) {
        const int value = take_symbol(state[lane], in, indexes[i + lane], tables);
        // Goes on, as lane.h's loop does: that the words end later is what the stream is refused for then.
        if (value > limit || value < -limit) invalid = 1;
        symbols[i + lane] = static_cast<Symbol>(value);
      }
      x = _mm512_loadu_si512(state);
      continue;
    }
    const __m512i start = _mm512_and_si512(start_end, low_word);
    x = _mm512_add_epi32(_mm512_mullo_epi32(_mm512_sub_epi32(end, start), _mm512_srl_epi32(x, slot_bits)),
                         _mm512_sub_epi32(slot, start));

    const __mmask16 need = _mm512_cmplt_epu32_mask(x, state_low);
    const auto count = static_cast<size_t>(_mm_popcnt_u32(need));
    const size_t left = in.words_left();
    __m256i words;
    if (left >= kAvx512Lanes) {
      words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in.next));
    } else {
      if (count > left) {
        in.overrun = true;
        return true;
      }
      words = _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << left) - 1), in.next);
    }
    x = _mm512_mask_or_epi32(x, need, _mm512_slli_epi32(x, kWordBits),
                             _mm512_maskz_expand_epi32(need, _mm512_cvtepu16_epi32(words)));
    in.next += 2 * count;

    invalid |= _mm512_cmpgt_epi32_mask(_mm512_abs_epi32(symbol), limits);
    store_symbols(symbols + i, symbol);
  }
  _mm512_storeu_si512(state, x);
  return invalid == 0;
}

}  // namespace
}  // namespace rdc

#else

namespace rdc {
namespace {

template <class Symbol>
bool encode_groups(const Symbol*, const uint8_t*, size_t, const TableView&, int, uint32_t*, WordWriter&) {
  return false;
}
template <class Symbol>
bool decode_groups(WordReader&, const uint8_t*, size_t, const TableView&, int, uint32_t*, Symbol*) {
  return false;
}

}  // namespace
}  // namespace rdc

#endif

namespace rdc {

// GCC drops the target attribute of a template that was declared without it, hence the detour.
template <class Symbol>
bool avx512_encode(const Symbol* symbols, const uint8_t* indexes, size_t n, const TableView& tables, int limit,
                   uint32_t* x, WordWriter& out) {
  return encode_groups(symbols, indexes, n, tables, limit, x, out);
}

template <class Symbol>
bool avx512_decode(WordReader& in, const uint8_t* indexes, size_t n, const TableView& tables, int limit, uint32_t* x,
                   Symbol* symbols) {
  return decode_groups(in, indexes, n, tables, limit, x, symbols);
}

template bool avx512_encode(const int16_t*, const uint8_t*, size_t, const TableView&, int, uint32_t*, WordWriter&);
template bool avx512_encode(const int32_t*, const uint8_t*, size_t, const TableView&, int, uint32_t*, WordWriter&);
template bool avx512_decode(WordReader&, const uint8_t*, size_t, const TableView&, int, uint32_t*, int16_t*);
template bool avx512_decode(WordReader&, const uint8_t*, size_t, const TableView&, int, uint32_t*, int32_t*);

}  // namespace rdc
