// The rANS coder, built so that few symbols have many lanes. An input describes tables and the parts of a segment; then
// it is bytes to be decoded, or symbols to be encoded whose bytes are damaged before they are decoded.
//
// Must hold: CorruptStream and std::invalid_argument are all that is thrown. Every code path and both types of symbols
// say the same. What can be decoded is encoded to the same bytes, and what was encoded is decoded to the same symbols.
#include "../../../kernels/entropy_coder/rans.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>

#include "../../../kernels/entropy_coder/simd.h"
#include "check.h"

namespace {

using fuzz::Bytes;
using fuzz::Input;
using rdc::Tables;

std::shared_ptr<const Tables> raw_tables(Input& in) {
  const size_t count = in.below(6);
  std::vector<int32_t> sizes(count), minimum(count);
  for (int32_t& size : sizes) size = static_cast<int32_t>(in.number(in.seldom() ? 4 : 1));
  for (int32_t& least : minimum) least = static_cast<int32_t>(in.number(in.seldom() ? 4 : 1));
  const int precision = static_cast<int>(in.below(20));
  std::vector<uint16_t> cdf(in.below(64));
  for (uint16_t& value : cdf) value = static_cast<uint16_t>(in.number(2));
  return std::make_shared<Tables>(cdf.data(), cdf.size(), sizes.data(), minimum.data(), count, precision);
}

std::shared_ptr<const Tables> made_tables(Input& in) {
  const int precision = rdc::kMinPrecision + static_cast<int>(in.below(rdc::kMaxPrecision - rdc::kMinPrecision + 1));
  const size_t count = in.seldom() ? 1 + in.below(rdc::kMaxTables) : 1 + in.below(4);
  const size_t total = size_t{1} << precision;
  std::vector<uint16_t> cdf;
  std::vector<int32_t> sizes, minimum;
  for (size_t t = 0; t < count; ++t) {
    const size_t size = 1 + in.below(in.seldom() ? total - 2 : 24);
    const auto reach = static_cast<uint32_t>(2 * rdc::kMaxSymbol + 2 - static_cast<int>(size));
    const Bytes weights = in.pattern();
    size_t sum = 0, before = 0;
    for (size_t k = 0; k <= size; ++k) sum += weights[k % weights.size()];
    if (cdf.size() + size + 2 > rdc::kMaxCdfEntries) break;
    for (size_t k = 0; k <= size; ++k) {  // a slot for each symbol, and what is left by weight
      const size_t share = sum ? (total - size - 1) * before / sum : 0;
      cdf.push_back(static_cast<uint16_t>(k + share));
      before += weights[k % weights.size()];
    }
    cdf.push_back(static_cast<uint16_t>(total));
    sizes.push_back(static_cast<int32_t>(size));
    minimum.push_back(in.seldom() ? static_cast<int32_t>(in.number(4) % reach) - rdc::kMaxSymbol
                                  : -static_cast<int32_t>(in.below(size + 2)));
  }
  return std::make_shared<Tables>(cdf.data(), cdf.size(), sizes.data(), minimum.data(), sizes.size(), precision);
}

// One of a few: to make tables takes longer than all that is done with them.
std::shared_ptr<const Tables> usual_tables(size_t number) {
  static std::shared_ptr<const Tables> known[64];
  std::shared_ptr<const Tables>& tables = known[number % 64];
  if (!tables) {
    std::minstd_rand random(static_cast<unsigned>(number % 64) + 1);
    Bytes description(400);
    for (uint8_t& byte : description) byte = static_cast<uint8_t>(random() >> 8);
    Input in(description.data(), description.size());
    tables = made_tables(in);
  }
  return tables;
}

struct Described {
  std::vector<uint8_t> indexes;
  int limit;
};

enum class Said { kSymbols, kCorrupt, kInvalid };

template <class Symbol>
struct Decoded {
  Said said = Said::kSymbols;
  std::string problem;
  std::vector<std::vector<Symbol>> symbols;
};

template <class Symbol>
Decoded<Symbol> decoded(const Bytes& data, const std::vector<Described>& parts, const Tables& tables, rdc::Simd path) {
  rdc::set_simd(path);
  Decoded<Symbol> found;
  try {
    rdc::Decoder decoder(data.data(), data.size());
    for (const Described& part : parts) {
      found.symbols.emplace_back(part.indexes.size());
      decoder.read(part.indexes.data(), part.indexes.size(), tables, part.limit, found.symbols.back().data());
    }
    decoder.finish();
  } catch (const rdc::CorruptStream& error) {
    found.said = Said::kCorrupt;
    found.problem = error.what();
  } catch (const std::invalid_argument& error) {
    found.said = Said::kInvalid;
    found.problem = error.what();
  }
  return found;
}

template <class Symbol>
Bytes encoded(const std::vector<std::vector<Symbol>>& symbols, const std::vector<Described>& described,
              const Tables& tables, rdc::Simd path) {
  rdc::set_simd(path);
  std::vector<rdc::Part<Symbol>> parts;
  for (size_t k = 0; k < symbols.size(); ++k)
    parts.push_back({symbols[k].data(), described[k].indexes.data(), symbols[k].size(), &tables, described[k].limit});
  const rdc::Encoded result = rdc::encode(parts);
  return Bytes(result.data, result.data + result.size);
}

Said check_decoding(const Bytes& data, const std::vector<Described>& parts, const Tables& tables) {
  const auto wide = decoded<int32_t>(data, parts, tables, rdc::Simd::kScalar);
  const auto narrow = decoded<int16_t>(data, parts, tables, rdc::best_simd());
  MUST_HOLD(wide.said == narrow.said && wide.problem == narrow.problem);
  if (wide.said != Said::kSymbols) return wide.said;
  for (size_t k = 0; k < parts.size(); ++k) {
    MUST_HOLD(std::equal(wide.symbols[k].begin(), wide.symbols[k].end(), narrow.symbols[k].begin()));
    for (const int32_t symbol : wide.symbols[k]) MUST_HOLD(symbol <= parts[k].limit && symbol >= -parts[k].limit);
  }
  MUST_HOLD(encoded(wide.symbols, parts, tables, rdc::best_simd()) == data);
  MUST_HOLD(encoded(narrow.symbols, parts, tables, rdc::Simd::kScalar) == data);
  return wide.said;
}

void check_encoding(Input& in, const std::vector<Described>& parts, const Tables& tables) {
  const size_t position = in.number(2);
  const auto change = static_cast<uint8_t>(in.number(1));
  const bool narrow = in.seldom();
  const Bytes values = in.rest();
  std::vector<std::vector<int32_t>> symbols;
  std::vector<std::vector<int16_t>> narrow_symbols;
  bool within = true;
  size_t k = 0;
  for (const Described& part : parts) {
    symbols.emplace_back();
    for (size_t n = 0; n < part.indexes.size(); ++n, ++k) {
      const uint32_t low = values.empty() ? 0 : values[k % values.size()];
      const uint32_t high = values.empty() || !narrow ? 0 : values[(k + 1) % values.size()];
      symbols.back().push_back(narrow ? static_cast<int16_t>(low | high << 8) : static_cast<int8_t>(low));
      within &= symbols.back().back() <= part.limit && symbols.back().back() >= -part.limit;
    }
    narrow_symbols.emplace_back(symbols.back().begin(), symbols.back().end());
  }
  Bytes data;
  try {
    data = encoded(symbols, parts, tables, rdc::best_simd());
  } catch (const std::invalid_argument&) {
    return;
  }
  MUST_HOLD(within);
  MUST_HOLD(encoded(narrow_symbols, parts, tables, rdc::Simd::kScalar) == data);
  MUST_HOLD(check_decoding(data, parts, tables) == Said::kSymbols);
  if (data.empty()) return;
  data[position % data.size()] ^= change;
  if (change & 1) data.resize(position % data.size());
  check_decoding(data, parts, tables);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::Budget budget;
  Input in(data, size);
  std::shared_ptr<const Tables> tables;
  try {
    const bool usual = in.number(1) < 252;
    tables = usual ? usual_tables(in.number(1)) : in.seldom() ? raw_tables(in) : made_tables(in);
  } catch (const std::invalid_argument&) {
    return 0;
  }
  const bool symbols = in.number(1) & 1;
  std::vector<Described> parts(in.below(4));
  for (Described& part : parts) {
    part.indexes.resize(in.below(in.seldom() ? 700 : 70));
    const Bytes pattern = in.pattern();
    const size_t most = in.seldom() ? 256 : static_cast<size_t>(tables->count);
    for (size_t k = 0; k < part.indexes.size(); ++k)
      part.indexes[k] = static_cast<uint8_t>(pattern[k % pattern.size()] % most);
    part.limit = in.seldom() ? static_cast<int>(in.number(2)) - 64 : 127 + static_cast<int>(in.below(1 << 11));
  }
  if (symbols)
    check_encoding(in, parts, *tables);
  else
    check_decoding(in.rest(), parts, *tables);
  return 0;
}
