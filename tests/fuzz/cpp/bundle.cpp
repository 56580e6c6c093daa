// Opening a bundle. An input is the size of the manifest (4 bytes), the manifest, and tables.npz.
//
// Must hold: RDC_CORRUPT, RDC_UNSUPPORTED and RDC_LIMIT are all that is said; opening takes at most 128 MiB, the open
// bundle at most 64 MiB; and with a bundle that could be opened, symbols are written and read again as they were.
#include <algorithm>
#include <cstdio>
#include <string>

#include "../../../kernels/c_api/json.h"
#include "../../../kernels/c_api/npz.h"
#include "../../../kernels/c_api/rdc.h"
#include "../../../kernels/c_api/sha256.h"
#include "check.h"
#include "mutate.h"

namespace {

using fuzz::Bytes;

struct Parts {
  std::string manifest;
  Bytes tables;
};

Parts apart(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  const Bytes manifest = in.take(in.number(4));
  return {std::string(manifest.begin(), manifest.end()), in.rest()};
}

Bytes together(const Parts& parts) {
  Bytes out;
  for (int k = 0; k < 4; ++k) out.push_back(static_cast<uint8_t>(parts.manifest.size() >> (8 * k)));
  out.insert(out.end(), parts.manifest.begin(), parts.manifest.end());
  out.insert(out.end(), parts.tables.begin(), parts.tables.end());
  return out;
}

// Puts a digest where the manifest has one after a key.
void name(std::string& manifest, const char* key, const rdc::Digest& digest) {
  size_t at = manifest.find(key);
  if (at != std::string::npos) at = manifest.find(':', at);
  if (at != std::string::npos) at = manifest.find('"', at);
  if (at == std::string::npos || manifest.size() - at <= 2 * digest.size()) return;
  for (size_t k = 0; k < digest.size(); ++k) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", digest[k]);
    manifest.replace(at + 1 + 2 * k, 2, hex, 2);
  }
}

// What whoever writes a bundle does: the digests are those of what is there.
void repair(Parts& parts) {
  name(parts.manifest, "\"tables.npz\"", rdc::sha256(parts.tables.data(), parts.tables.size()));
  try {
    const rdc::Json manifest = rdc::Json::parse(parts.manifest.data(), parts.manifest.size());
    rdc::Sha256 hash;
    hash.update(manifest.at("parsing").sorted_dump());
    for (const auto& [array, described] : rdc::read_npz(parts.tables.data(), parts.tables.size(), 1 << 20)) {
      hash.update(array + ':' + described.type + ':' + described.shape_text() + ';');
      hash.update(described.bytes.data(), described.bytes.size());
    }
    name(parts.manifest, "\"parse_id\"", hash.finish());
  } catch (const std::exception&) {
  }
}

void check_symbols(const rdc_bundle* bundle) {
  constexpr uint32_t kSide = 64;
  rdc_shapes shapes;
  uint64_t memory, bound;
  MUST_HOLD(rdc_bundle_shapes(bundle, kSide, kSide, &shapes) == RDC_OK);
  MUST_HOLD(rdc_working_memory(bundle, kSide, kSide, &memory) == RDC_OK);
  MUST_HOLD(rdc_stream_bound(bundle, kSide, kSide, &bound) == RDC_OK);
  rdc_bundle_info info;
  MUST_HOLD(rdc_bundle_describe(bundle, &info) == RDC_OK);
  if (memory > 4 << 20) return;  // it would take too long
  std::vector<int32_t> z1(shapes.z1_count, 3), y1(shapes.y1_count), z2(shapes.z2_count, -1), y2(shapes.y2_count);
  for (size_t k = 0; k < y1.size(); ++k) y1[k] = k % 7 ? 0 : static_cast<int32_t>(k) % 300 - 150;
  for (size_t k = 0; k < y2.size(); ++k) y2[k] = k % 5 ? 0 : static_cast<int32_t>(k) % 9 - 4;
  const bool two = info.slices != 0;
  const rdc_symbols written{
      z1.data(), y1.data(),  two ? z2.data() : nullptr, two ? y2.data() : nullptr, z1.size(), y1.size(), z2.size(),
      y2.size(), info.slices};
  const rdc_header header{kSide, kSide, 50, 40, 60, {}, {}, 0, 0};
  Bytes stream(bound);
  size_t size = 0;
  {
    const fuzz::Memory counted;
    MUST_HOLD(rdc_write_stream(bundle, &header, &written, nullptr, 0, stream.data(), bound, &size) == RDC_OK);
    MUST_HOLD(counted.peak() <= memory && counted.live() == 0);
  }
  stream.resize(size);
  rdc_stream* opened = nullptr;
  MUST_HOLD(rdc_stream_open(stream.data(), size, 0, &opened) == RDC_OK);
  auto a = z1, b = y1, c = z2, d = y2;
  for (auto* plane : {&a, &b, &c, &d}) std::fill(plane->begin(), plane->end(), 9999);
  rdc_symbols read{a.data(), b.data(), two ? c.data() : nullptr, two ? d.data() : nullptr, a.size(), b.size(), c.size(),
                   d.size(), 9};
  {
    const fuzz::Memory counted;
    MUST_HOLD(rdc_read_symbols(bundle, opened, RDC_MAX_SLICES, &read) == RDC_OK);
    MUST_HOLD(counted.peak() <= memory && counted.live() == 0);
  }
  MUST_HOLD(read.slices == info.slices && a == z1 && b == y1 && c == z2 && d == y2);
  rdc_stream_close(opened);
}

void check_dials(const rdc_bundle* bundle) {
  double before[2] = {0, 0};
  for (double dial = 0; dial <= 100; dial += 12.5) {
    double set = dial, base, auxiliary;
    MUST_HOLD(rdc_bundle_qualities(bundle, &set, &base, &auxiliary) == RDC_OK && set == dial);
    MUST_HOLD(base >= before[0] && base <= 100 && auxiliary >= before[1] && auxiliary <= 100);
    before[0] = base;
    before[1] = auxiliary;
    float level;
    MUST_HOLD(rdc_bundle_level(bundle, 1, base, &level) == RDC_OK && level >= 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::Budget budget;
  const Parts parts = apart(data, size);
  const Bytes manifest(parts.manifest.begin(), parts.manifest.end());
  rdc_bundle* bundle = nullptr;
  {
    const fuzz::Memory memory;
    const rdc_status status =
        rdc_bundle_open(manifest.data(), manifest.size(), parts.tables.data(), parts.tables.size(), &bundle);
    MUST_HOLD((status == RDC_OK) == (bundle != nullptr));
    MUST_HOLD(status == RDC_OK || status == RDC_CORRUPT || status == RDC_UNSUPPORTED || status == RDC_LIMIT);
    MUST_HOLD(memory.peak() <= size_t{128} << 20 && memory.live() <= size_t{64} << 20);
    if (status != RDC_OK) {
      MUST_HOLD(memory.live() == 0);
      return 0;
    }
  }
  check_dials(bundle);
  check_symbols(bundle);
  rdc_bundle_close(bundle);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  static const char* const kNumbers[] = {"0", "1", "2", "4", "-1", "16", "64", "100", "65536", "1e308", "2.5", "null"};
  std::minstd_rand random(seed + 1);
  Parts parts = apart(data, size);
  const size_t room = most > size ? most - size : 0;
  for (uint32_t left = 1 + random() % 3; left; --left) {
    std::string& text = parts.manifest;
    const size_t digit = text.find_first_of("0123456789", text.empty() ? 0 : random() % text.size());
    switch (random() % 6) {
      case 0: {
        Bytes bytes(text.begin(), text.end());
        fuzz::change_bytes(bytes, bytes.size() + room);
        text.assign(bytes.begin(), bytes.end());
        break;
      }
      case 1:
        if (digit == std::string::npos) break;
        text.replace(digit, text.find_first_not_of("0123456789.", digit) - digit, kNumbers[random() % 12]);
        break;
      case 2:  // of the same size: what the archive's directory says of places stays right
        for (uint32_t more = 1 + random() % 4; more && !parts.tables.empty(); --more)
          parts.tables[random() % parts.tables.size()] = static_cast<uint8_t>(random() % 3 ? random() : random() % 4);
        break;
      case 3:
        fuzz::change_bytes(parts.tables, parts.tables.size());
        break;
      case 4:
        fuzz::change_bytes(parts.tables, parts.tables.size() + room);
        break;
      default:
        if (!parts.tables.empty())
          parts.tables[random() % parts.tables.size()] ^= static_cast<uint8_t>(1u << random() % 8);
        break;
    }
  }
  if (random() % 16) repair(parts);
  return fuzz::given(together(parts), data, most);
}
