// The C API with any stream and the tiny bundle: header, directory and symbols.
//
// Must hold: never RDC_INTERNAL; reading takes no more memory than rdc_working_memory says, and opening no more than
// rdc.h says; both types of symbols and both paths of the coder say the same; a stream that is whole, and has nothing
// but what rdc_write_stream can write, is written again to the same bytes.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "../../../kernels/c_api/rdc.h"
#include "../../../kernels/entropy_coder/simd.h"
#include "check.h"
#include "mutate.h"
#include "stream_fields.h"

namespace {

using fuzz::Bytes;

constexpr uint64_t kMaxPixels = 1 << 13;

Bytes file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  MUST_HOLD(in.good());
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

const rdc_bundle* tiny() {
  static const rdc_bundle* const bundle = [] {
    const Bytes manifest = file(RDC_TINY "/manifest.json"), tables = file(RDC_TINY "/tables.npz");
    rdc_bundle* opened = nullptr;
    MUST_HOLD(rdc_bundle_open(manifest.data(), manifest.size(), tables.data(), tables.size(), &opened) == RDC_OK);
    return opened;
  }();
  return bundle;
}

// Memory of exactly the size that is needed, so that a step beyond it is seen.
template <class Symbol, class Fields>
struct Planes {
  std::vector<Symbol> z1, y1, z2, y2;
  Fields fields;

  explicit Planes(const rdc_shapes& shapes)
      : z1(shapes.z1_count), y1(shapes.y1_count), z2(shapes.z2_count), y2(shapes.y2_count) {
    fields = {z1.data(), y1.data(), z2.data(), y2.data(), z1.size(), y1.size(), z2.size(), y2.size(), 0};
  }
};
using Wide = Planes<int32_t, rdc_symbols>;
using Narrow = Planes<int16_t, rdc_symbols16>;

template <class A, class B>
bool same(const A& a, const B& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

struct Opened {
  rdc_stream* stream = nullptr;
  rdc_header header = {};
  std::vector<rdc_chunk> chunks;

  Opened() = default;
  ~Opened() { rdc_stream_close(stream); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
};

bool open(const Bytes& data, uint64_t max_pixels, Opened& opened) {
  const fuzz::Memory memory;
  const rdc_status status = rdc_stream_open(data.data(), data.size(), max_pixels, &opened.stream);
  MUST_HOLD((status == RDC_OK) == (opened.stream != nullptr));
  MUST_HOLD(status == RDC_OK || status == RDC_TRUNCATED || status == RDC_CORRUPT || status == RDC_UNSUPPORTED ||
            status == RDC_LIMIT);
  MUST_HOLD(memory.peak() <= 4096 + 32 * std::min<size_t>(data.size(), 131072));
  if (status != RDC_OK) {
    MUST_HOLD(memory.live() == 0);
    return false;
  }
  MUST_HOLD(rdc_stream_header(opened.stream, &opened.header) == RDC_OK);
  return true;
}

// Whether rdc_write_stream can write all that the stream has.
bool is_rewritable(const std::vector<rdc_chunk>& chunks, uint32_t slices) {
  for (size_t k = 0; k < chunks.size(); ++k) {
    const uint32_t type = chunks[k].type;
    if (k <= slices ? type != (k ? uint32_t{RDC_AUX_SLICE} : uint32_t{RDC_PRIMARY}) : type <= 3) return false;
    if (type == RDC_LOSSLESS && slices) return false;
  }
  return chunks.size() > slices;
}

void check_writing(const Bytes& data, const Opened& opened, const Wide& planes) {
  std::vector<rdc_content> contents;
  for (size_t k = 1 + planes.fields.slices; k < opened.chunks.size(); ++k) {
    const rdc_chunk& chunk = opened.chunks[k];
    contents.push_back({chunk.type, chunk.length ? data.data() + chunk.offset : nullptr, chunk.length});
  }
  Bytes out(data.size());
  size_t size = 0;
  uint64_t bound = 0, most = 0;
  MUST_HOLD(rdc_working_memory(tiny(), opened.header.width, opened.header.height, &bound) == RDC_OK);
  MUST_HOLD(rdc_stream_bound(tiny(), opened.header.width, opened.header.height, &most) == RDC_OK);
  const auto count = static_cast<uint32_t>(contents.size());
  for (const rdc_content& content : contents) {
    most += content.size + 14;
    bound += content.size + 64;
  }
  rdc::set_simd(data.size() % 4 ? rdc::best_simd() : rdc::Simd::kScalar);
  const fuzz::Memory memory;
  MUST_HOLD(rdc_write_stream(tiny(), &opened.header, &planes.fields, contents.data(), count, out.data(), out.size(),
                             &size) == RDC_OK);
  MUST_HOLD(memory.peak() <= bound && memory.live() == 0);
  MUST_HOLD(size == data.size() && out == data && size <= most);
}

void check_symbols(const Bytes& data, Opened& opened) {
  rdc_shapes shapes;
  uint64_t bound;
  MUST_HOLD(rdc_bundle_shapes(tiny(), opened.header.width, opened.header.height, &shapes) == RDC_OK);
  MUST_HOLD(rdc_working_memory(tiny(), opened.header.width, opened.header.height, &bound) == RDC_OK);
  if (uint64_t{shapes.padded_width} * shapes.padded_height > 2 * kMaxPixels) return;  // it would take too long
  Wide wide(shapes);
  Narrow narrow(shapes);
  rdc::set_simd(rdc::best_simd());
  rdc_status status;
  {
    const fuzz::Memory memory;
    status = rdc_read_symbols(tiny(), opened.stream, RDC_MAX_SLICES, &wide.fields);
    MUST_HOLD(memory.peak() <= bound && memory.live() == 0);
  }
  const std::string message = status == RDC_OK ? "" : rdc_message();
  rdc::set_simd(rdc::Simd::kScalar);
  const rdc_status again = rdc_read_symbols16(tiny(), opened.stream, RDC_MAX_SLICES, &narrow.fields);
  MUST_HOLD(again == status && (status == RDC_OK || message == rdc_message()));
  if (status < 0) {
    MUST_HOLD(status == RDC_WRONG_MODEL || status == RDC_TRUNCATED || status == RDC_CORRUPT);
    return;
  }
  MUST_HOLD(wide.fields.slices <= RDC_MAX_SLICES && wide.fields.slices == narrow.fields.slices);
  MUST_HOLD(same(wide.z1, narrow.z1) && same(wide.y1, narrow.y1));
  MUST_HOLD(same(wide.z2, narrow.z2) && same(wide.y2, narrow.y2));
  if (status == RDC_OK && rdc_stream_check(opened.stream) == RDC_OK && is_rewritable(opened.chunks, wide.fields.slices))
    check_writing(data, opened, wide);
}

// Other symbols for the picture of a stream, with right checksums of every kind.
bool with_other_symbols(const Bytes& data, std::minstd_rand& random, Bytes& made) {
  Opened opened;
  rdc_shapes shapes;
  if (!open(data, kMaxPixels, opened)) return false;
  rdc::set_simd(rdc::best_simd());
  if (random() % 4 == 0) {
    opened.header.width = 1 + random() % 90;
    opened.header.height = 1 + random() % 90;
  }
  MUST_HOLD(rdc_bundle_shapes(tiny(), opened.header.width, opened.header.height, &shapes) == RDC_OK);
  Wide planes(shapes);
  if (rdc_read_symbols(tiny(), opened.stream, RDC_MAX_SLICES, &planes.fields) < 0) {
    planes = Wide(shapes);
    planes.fields.slices = random() % (RDC_MAX_SLICES + 1);
  }
  for (uint32_t left = 1 + random() % 30; left; --left) {
    const bool hyper = random() % 2, second = random() % 2;
    std::vector<int32_t>& plane = hyper ? (second ? planes.z2 : planes.z1) : (second ? planes.y2 : planes.y1);
    const int32_t most = hyper ? RDC_MAX_HYPER_SYMBOL : RDC_MAX_SYMBOL;
    const auto any = static_cast<int32_t>(random() % static_cast<uint32_t>(2 * most + 1)) - most;
    plane[random() % plane.size()] = random() % 4 ? any % 4 : any;
  }
  uint64_t most = 0;
  MUST_HOLD(rdc_stream_bound(tiny(), opened.header.width, opened.header.height, &most) == RDC_OK);
  made.resize(most);
  size_t size = 0;
  MUST_HOLD(rdc_write_stream(tiny(), &opened.header, &planes.fields, nullptr, 0, made.data(), made.size(), &size) ==
            RDC_OK);
  made.resize(size);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::Budget budget;
  tiny();
  const Bytes exact(data, data + size);
  Opened opened;
  if (!open(exact, kMaxPixels, opened)) return 0;
  uint32_t damaged = 0;
  for (uint32_t k = 0; k < opened.header.chunks; ++k) {
    opened.chunks.emplace_back();
    MUST_HOLD(rdc_stream_chunk(opened.stream, k, &opened.chunks.back()) == RDC_OK);
    const rdc_chunk& chunk = opened.chunks.back();
    damaged += chunk.state != RDC_CHUNK_OK;
    if (chunk.state < RDC_CHUNK_TRUNCATED && chunk.length) MUST_HOLD(chunk.offset + chunk.length <= size);
  }
  rdc_chunk found;
  MUST_HOLD(rdc_stream_chunk(opened.stream, opened.header.chunks, &found) == RDC_INVALID);
  MUST_HOLD(rdc_stream_find(opened.stream, RDC_PRIMARY, 0, &found) == RDC_OK && found.type == RDC_PRIMARY);
  MUST_HOLD(rdc_stream_check(opened.stream) == (damaged ? RDC_DAMAGED : RDC_OK));
  check_symbols(exact, opened);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  std::minstd_rand random(seed + 1);
  Bytes made(data, data + size);
  fuzz::StreamFields fields;
  if (random() % 16 == 0 || !fuzz::take_apart(data, size, fields)) {
    fuzz::change_bytes(made, most);
    return fuzz::given(made, data, most);
  }
  if (random() % 4 == 0 && with_other_symbols(made, random, made)) return fuzz::given(made, data, most);
  for (uint32_t left = 1 + random() % 3; left; --left) fuzz::change_one(fields, random, fuzz::change_bytes);
  if (random() % 32 == 0) fields.wrong_crc ^= 1u << random() % 32;
  return fuzz::given(fuzz::put_together(fields), data, most);
}
