// c_api_harness BUNDLE IN.rdc: calls the C API with a stream, with every beginning of it, and with damage everywhere,
// also such as no checksum of bytes finds; and counts memory. Built twice: for the memory with the shared library,
// whose operator new is this program's then, and with sanitizers, which have one of their own.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "../kernels/c_api/rdc.h"
#include "../kernels/c_api/sha256.h"
#include "../kernels/entropy_coder/crc32c.h"

namespace {

size_t g_live = 0, g_peak = 0;

struct Memory {
  size_t before = g_live;
  Memory() { g_peak = g_live; }
  size_t peak() const { return g_peak - before; }
  bool freed() const { return g_live == before; }
};

}  // namespace

#ifndef RDC_SANITIZED
constexpr size_t kPrefix = 16;

void* operator new(size_t size) {
  auto* memory = static_cast<uint8_t*>(std::malloc(size + kPrefix));
  if (!memory) throw std::bad_alloc();
  std::memcpy(memory, &size, sizeof size);
  g_live += size;
  if (g_live > g_peak) g_peak = g_live;
  return memory + kPrefix;
}
void* operator new[](size_t size) { return operator new(size); }
void operator delete(void* memory) noexcept {
  if (!memory) return;
  size_t size;
  std::memcpy(&size, static_cast<uint8_t*>(memory) - kPrefix, sizeof size);
  g_live -= size;
  std::free(static_cast<uint8_t*>(memory) - kPrefix);
}
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }
void operator delete[](void* memory, size_t) noexcept { operator delete(memory); }
#endif

namespace {

using Bytes = std::vector<uint8_t>;

#define EXPECT(condition)                                                             \
  do {                                                                                \
    if (!(condition)) {                                                               \
      std::fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, rdc_message()); \
      std::exit(1);                                                                   \
    }                                                                                 \
  } while (0)

Bytes file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT(in.good());
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

// The caller's memory, of exactly the size that is needed, so that sanitizers see any step beyond it.
struct Arrays {
  std::vector<int32_t> z1, y1, z2, y2;
  rdc_symbols symbols;

  explicit Arrays(const rdc_shapes& shapes)
      : z1(shapes.z1_count), y1(shapes.y1_count), z2(shapes.z2_count), y2(shapes.y2_count) {
    symbols = {z1.data(), y1.data(), z2.data(), y2.data(), z1.size(), y1.size(), z2.size(), y2.size(), 0};
  }
};

// Nothing but what the header promises: never a defect, never more memory than stated.
rdc_status read(const rdc_bundle* bundle, const Bytes& data) {
  const Bytes exact(data);
  rdc_stream* stream = nullptr;
  const rdc_status opened = rdc_stream_open(exact.data(), exact.size(), 1 << 22, &stream);
  EXPECT(opened != RDC_INTERNAL && (opened == RDC_OK) == (stream != nullptr));
  if (opened != RDC_OK) return opened;
  rdc_header header;
  rdc_shapes shapes;
  uint64_t bound;
  EXPECT(rdc_stream_header(stream, &header) == RDC_OK);
  EXPECT(rdc_bundle_shapes(bundle, header.width, header.height, &shapes) == RDC_OK);
  EXPECT(rdc_working_memory(bundle, header.width, header.height, &bound) == RDC_OK);
  Arrays arrays(shapes);
  const Memory memory;
  const rdc_status status = rdc_read_symbols(bundle, stream, RDC_MAX_SLICES, &arrays.symbols);
  EXPECT(memory.peak() <= bound && memory.freed() && status != RDC_INTERNAL);
  rdc_stream_close(stream);
  return status;
}

void put_varint(Bytes& out, uint32_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}

void put_crc(Bytes& out, uint32_t crc) {
  for (int k = 0; k < 4; ++k) out.push_back(static_cast<uint8_t>(crc >> 8 * k));
}

// A stream with all checksums of bytes made right. Its chunks have types up to 3.
Bytes repaired(const rdc_stream* whole, const Bytes& data) {
  rdc_header header;
  EXPECT(rdc_stream_header(whole, &header) == RDC_OK);
  size_t directory = 13;
  for (int k = 0; k < 2; ++k)
    while (data[directory++] & 0x80) continue;
  directory += 6;
  while (data[directory++] & 0x80) continue;
  Bytes out(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(directory));
  for (uint32_t k = 0; k < header.chunks; ++k) {
    rdc_chunk chunk;
    EXPECT(rdc_stream_chunk(whole, k, &chunk) == RDC_OK);
    put_varint(out, chunk.length << 2 | chunk.type);
    put_crc(out, rdc::crc32c(data.data() + chunk.offset, chunk.length, 0));
  }
  put_crc(out, rdc::crc32c(out.data(), out.size(), 0));
  out.insert(out.end(), data.begin() + header.header_bytes, data.end());
  return out;
}

void check_streams(const rdc_bundle* bundle, const Bytes& data) {
  EXPECT(read(bundle, data) == RDC_OK);
  std::set<rdc_status> seen;
  for (size_t size = 0; size < data.size(); ++size)
    seen.insert(read(bundle, Bytes(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(size))));
  EXPECT(seen.count(RDC_TRUNCATED));
  rdc_stream* whole = nullptr;
  EXPECT(rdc_stream_open(data.data(), data.size(), 0, &whole) == RDC_OK);
  rdc_header header;
  EXPECT(rdc_stream_header(whole, &header) == RDC_OK);
  for (size_t k = 0; k < data.size(); ++k) {
    Bytes damaged(data);
    damaged[k] ^= static_cast<uint8_t>(1 << k % 8);
    EXPECT(read(bundle, damaged) != RDC_OK);
    if (k >= header.header_bytes) EXPECT(read(bundle, repaired(whole, damaged)) != RDC_OK);
  }
  rdc_stream_close(whole);
}

void check_writing(const rdc_bundle* bundle, const Bytes& data) {
  rdc_stream* stream = nullptr;
  rdc_header header;
  rdc_shapes shapes;
  uint64_t bound, memory_bound;
  size_t size = 0;
  EXPECT(rdc_stream_open(data.data(), data.size(), 0, &stream) == RDC_OK);
  EXPECT(rdc_stream_header(stream, &header) == RDC_OK);
  EXPECT(rdc_bundle_shapes(bundle, header.width, header.height, &shapes) == RDC_OK);
  EXPECT(rdc_stream_bound(bundle, header.width, header.height, &bound) == RDC_OK);
  EXPECT(rdc_working_memory(bundle, header.width, header.height, &memory_bound) == RDC_OK);
  Arrays arrays(shapes);
  EXPECT(rdc_read_symbols(bundle, stream, RDC_MAX_SLICES, &arrays.symbols) == RDC_OK);
  Bytes out(data.size());
  {
    const Memory memory;
    EXPECT(rdc_write_stream(bundle, &header, &arrays.symbols, nullptr, 0, out.data(), out.size(), &size) == RDC_OK);
    EXPECT(memory.peak() <= memory_bound && memory.freed());
  }
  EXPECT(size == data.size() && out == data);
  EXPECT(rdc_write_stream(bundle, &header, &arrays.symbols, nullptr, 0, out.data(), size - 1, &size) == RDC_NO_ROOM);

  // The worst symbols: escapes everywhere. The bounds hold for them, too.
  for (int32_t& symbol : arrays.y1) symbol = RDC_MAX_SYMBOL;
  for (int32_t& symbol : arrays.y2) symbol = -RDC_MAX_SYMBOL;
  for (int32_t& symbol : arrays.z1) symbol = RDC_MAX_HYPER_SYMBOL;
  Bytes worst(bound);
  {
    const Memory memory;
    arrays.symbols.slices = RDC_MAX_SLICES;
    EXPECT(rdc_write_stream(bundle, &header, &arrays.symbols, nullptr, 0, worst.data(), bound, &size) == RDC_OK);
    EXPECT(memory.peak() <= memory_bound && memory.freed());
  }
  worst.resize(size);
  EXPECT(read(bundle, worst) == RDC_OK);
  rdc_stream_close(stream);
}

rdc_status open_bundle(const Bytes& manifest, const Bytes& tables) {
  rdc_bundle* bundle = nullptr;
  const Memory memory;
  const rdc_status status = rdc_bundle_open(manifest.data(), manifest.size(), tables.data(), tables.size(), &bundle);
  EXPECT(status != RDC_INTERNAL && (status == RDC_OK) == (bundle != nullptr) && memory.peak() <= 128u << 20);
  rdc_bundle_close(bundle);
  EXPECT(memory.freed());
  return status;
}

// The manifest with the SHA-256 of these tables, so that what reads them meets what is wrong with them.
Bytes naming(const Bytes& manifest, const Bytes& tables) {
  std::string text(manifest.begin(), manifest.end());
  const size_t at = text.find('"', text.find(':', text.find("\"tables.npz\""))) + 1;
  const rdc::Digest digest = rdc::sha256(tables.data(), tables.size());
  for (size_t k = 0; k < digest.size(); ++k) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", digest[k]);
    text.replace(at + 2 * k, 2, hex);
  }
  return Bytes(text.begin(), text.end());
}

void check_bundles(const Bytes& manifest, const Bytes& tables) {
  EXPECT(open_bundle(manifest, tables) == RDC_OK);
  EXPECT(open_bundle(naming(manifest, tables), tables) == RDC_OK);
  for (size_t k = 0; k + 1 < manifest.size(); k += 37) {  // without its last line break it is whole
    Bytes damaged(manifest);
    damaged[k] ^= static_cast<uint8_t>(1 << k / 37 % 8);
    open_bundle(damaged, tables);  // what people read may be anything
    EXPECT(open_bundle(Bytes(manifest.begin(), manifest.begin() + static_cast<std::ptrdiff_t>(k)), tables) != RDC_OK);
  }
  for (size_t k = 0; k < tables.size(); k += 101) {
    Bytes damaged(tables);
    damaged[k] ^= static_cast<uint8_t>(1 << k / 101 % 8);
    EXPECT(open_bundle(manifest, damaged) == RDC_CORRUPT);
    open_bundle(naming(manifest, damaged), damaged);  // what no array is made of may be anything
    const Bytes cut(tables.begin(), tables.begin() + static_cast<std::ptrdiff_t>(k));
    EXPECT(open_bundle(naming(manifest, cut), cut) != RDC_OK);
  }
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 3);
  const std::string folder = argv[1];
  const Bytes manifest = file(folder + "/manifest.json"), tables = file(folder + "/tables.npz"), data = file(argv[2]);
  rdc_bundle* bundle = nullptr;
  EXPECT(rdc_bundle_open(manifest.data(), manifest.size(), tables.data(), tables.size(), &bundle) == RDC_OK);
  check_streams(bundle, data);
  check_writing(bundle, data);
  rdc_bundle_close(bundle);
  check_bundles(manifest, tables);
  std::puts("ok");
  return 0;
}
