#include "rans.h"

#include <algorithm>
#include <string>

#include "avx512.h"
#include "crc32c.h"
#include "lane.h"
#include "simd.h"

namespace rdc {
namespace {

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

// CRC-32C of the symbols as 16-bit two's complement numbers, low byte first; `crc` is of those before.
template <class Symbol>
uint32_t crc_of(const Symbol* symbols, size_t n, uint32_t crc) {
  constexpr size_t kBlock = 2048;
  uint16_t words[kBlock];
  for (size_t done = 0; done < n; done += kBlock) {
    const size_t count = std::min(kBlock, n - done);
    // On its own, so that compilers vectorise it; writing bytes one by one, they do not.
    for (size_t i = 0; i < count; ++i) words[i] = static_cast<uint16_t>(symbols[done + i]);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (size_t i = 0; i < count; ++i) words[i] = static_cast<uint16_t>(words[i] << 8 | words[i] >> 8);
#endif
    crc = crc32c(reinterpret_cast<const uint8_t*>(words), 2 * count, crc);
  }
  return crc;
}

// Where the encoder starts and the decoder must end: the first three lanes hold the CRC, 15 bits each.
uint32_t end_state(uint32_t crc, size_t lane) {
  return kStateLow + (lane < kCrcLanes ? crc >> (kCrcBitsPerLane * lane) & (kStateLow - 1) : 0);
}

[[noreturn]] void fail_limit(int limit) {
  throw std::invalid_argument("symbols must be within +-limit, limit = " + std::to_string(limit));
}

// A state that fits in 16 bits has its top bit set there (it is at least 2^15); the high word of
// any other has it clear. So one word or two, and the decoder can tell.
void write_state(uint32_t x, WordWriter& out) {
  out.write(x);
  if (x >> kWordBits) out.write(x >> kWordBits);
}

uint32_t read_state(WordReader& in) {
  const uint32_t x = in.read();
  if (x == 0) throw CorruptStream("invalid initial state");
  return x < kStateLow ? x << kWordBits | in.read() : x;
}

// The whole groups of one symbol per lane, with the states in registers for as many lanes as fit.
template <size_t kLanes, class Symbol>
bool encode_groups(const Symbol* symbols, const uint8_t* indexes, size_t n, const TableView tables, int limit,
                   uint32_t* state, WordWriter& out_state) {
  WordWriter out = out_state;
  uint32_t x[kLanes];
  std::copy_n(state, kLanes, x);
  while (n) {
    n -= kLanes;
#pragma GCC unroll 16
    for (size_t k = 1; k <= kLanes; ++k) {
      const size_t lane = kLanes - k;
      if (!put_symbol(x[lane], out, symbols[n + lane], indexes[n + lane], tables, limit)) return false;
    }
  }
  std::copy_n(x, kLanes, state);
  out_state = out;
  return true;
}

template <size_t kLanes, class Symbol>
bool decode_groups(WordReader& in_state, const uint8_t* indexes, size_t n, const TableView tables, int limit,
                   uint32_t* state, Symbol* symbols) {
  WordReader in = in_state;
  uint32_t x[kLanes];
  std::copy_n(state, kLanes, x);
  bool valid = true;
  for (size_t i = 0; i < n; i += kLanes)
#pragma GCC unroll 16
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const int symbol = take_symbol(x[lane], in, indexes[i + lane], tables);
      valid &= symbol <= limit && symbol >= -limit;
      symbols[i + lane] = static_cast<Symbol>(symbol);
    }
  std::copy_n(x, kLanes, state);
  in_state = in;
  return valid;
}

template <class... Arguments>
bool encode_groups(size_t lanes, Arguments&&... arguments) {
  switch (lanes) {
    case 1:
      return encode_groups<1>(arguments...);
    case 2:
      return encode_groups<2>(arguments...);
    case 4:
      return encode_groups<4>(arguments...);
    case 8:
      return encode_groups<8>(arguments...);
    default:
      return simd() == Simd::kAvx512 ? avx512_encode(arguments...) : encode_groups<16>(arguments...);
  }
}

template <class... Arguments>
bool decode_groups(size_t lanes, Arguments&&... arguments) {
  switch (lanes) {
    case 1:
      return decode_groups<1>(arguments...);
    case 2:
      return decode_groups<2>(arguments...);
    case 4:
      return decode_groups<4>(arguments...);
    case 8:
      return decode_groups<8>(arguments...);
    default:
      return simd() == Simd::kAvx512 ? avx512_decode(arguments...) : decode_groups<16>(arguments...);
  }
}
static_assert(kMaxLanes == 16 && kAvx512Lanes == 16, "the switches above list every lane count");

}  // namespace

template <class Symbol>
Encoded encode(const std::vector<Part<Symbol>>& parts) {
  Encoded result;
  size_t capacity = kWriteSlack;
  uint32_t crc = 0;
  bool empty = true;
  for (const Part<Symbol>& part : parts) {
    check_limit(part.limit);
    check_indexes(part.indexes, part.n, *part.tables);
    if (part.n == 0) continue;
    // Escapes are checked where they are met; a table that reaches beyond the limit needs more.
    if (part.tables->max_abs > part.limit && !all_within(part.symbols, part.n, part.limit)) fail_limit(part.limit);
    capacity += 2 * (kMaxWordsPerSymbol * part.n + 2 * static_cast<size_t>(lanes_for(part.n)));
    crc = crc_of(part.symbols, part.n, crc);
    empty = false;
  }
  if (empty) return result;
  result.buffer.reset(new uint8_t[capacity]);  // uninitialised: pages never written cost nothing
  WordWriter out{result.buffer.get() + capacity};

  uint32_t first = 0;  // lane 0 of the part after this one, which goes on with what this one leaves there
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->n == 0) continue;
    const auto lanes = static_cast<size_t>(lanes_for(part->n));
    uint32_t x[kMaxLanes];
    for (size_t lane = 0; lane < lanes; ++lane) x[lane] = first ? kStateLow : end_state(crc, lane);
    if (first) x[0] = first;
    const TableView view = part->tables->view();
    size_t i = part->n;
    for (; i % lanes; --i)
      if (!put_symbol(x[(i - 1) % lanes], out, part->symbols[i - 1], part->indexes[i - 1], view, part->limit))
        fail_limit(part->limit);
    if (!encode_groups(lanes, part->symbols, part->indexes, i, view, part->limit, x, out)) fail_limit(part->limit);
    for (size_t lane = lanes; --lane;) write_state(x[lane], out);
    first = x[0];
  }
  write_state(first, out);
  result.data = out.next;
  result.size = static_cast<size_t>(result.buffer.get() + capacity - out.next);
  return result;
}

Decoder::Decoder(const uint8_t* data, size_t size) : in_{data, data + size} {
  if (size % 2) throw CorruptStream("an odd number of bytes");
}

template <class Symbol>
void Decoder::read(const uint8_t* indexes, size_t n, const Tables& tables, int limit, Symbol* symbols) {
  check_limit(limit);
  check_indexes(indexes, n, tables);
  if (n == 0) return;
  for (size_t lane = 1; lane < lanes_; ++lane)
    if (x_[lane] != kStateLow) throw CorruptStream("wrong final state");
  for (size_t lane = lanes_ ? 1 : 0, lanes = static_cast<size_t>(lanes_for(n)); lane < lanes; ++lane)
    x_[lane] = read_state(in_);
  lanes_ = static_cast<size_t>(lanes_for(n));

  const TableView view = tables.view();
  size_t i = n - n % lanes_;
  bool valid = decode_groups(lanes_, in_, indexes, i, view, limit, x_, symbols);
  for (; i < n; ++i) {
    const int symbol = take_symbol(x_[i % lanes_], in_, indexes[i], view);
    valid &= symbol <= limit && symbol >= -limit;
    symbols[i] = static_cast<Symbol>(symbol);
  }
  if (in_.overrun) throw CorruptStream("truncated");
  if (!valid) throw CorruptStream("a symbol beyond the limit");
  crc_ = crc_of(symbols, n, crc_);
}

void Decoder::finish() {
  if (in_.next != in_.end) throw CorruptStream(lanes_ ? "trailing bytes" : "bytes where no symbols are coded");
  for (size_t lane = 0; lane < lanes_; ++lane)
    if (x_[lane] != end_state(crc_, lane)) throw CorruptStream("wrong final state");
}

template Encoded encode(const std::vector<Part<int16_t>>&);
template Encoded encode(const std::vector<Part<int32_t>>&);
template void Decoder::read(const uint8_t*, size_t, const Tables&, int, int16_t*);
template void Decoder::read(const uint8_t*, size_t, const Tables&, int, int32_t*);

}  // namespace rdc
