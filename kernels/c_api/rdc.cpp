// The C functions: checks of pointers, and the way from exceptions to statuses. What they do is in the other files.
#include "rdc.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "bundle.h"
#include "container.h"
#include "error.h"
#include "symbols.h"

namespace rdc {
namespace {

constexpr size_t kMessageBytes = 256;
thread_local char message[kMessageBytes] = "";

const uint8_t* bytes_of(const void* data, size_t size) {
  static const uint8_t nothing = 0;
  require(data || size == 0, "the data must not be NULL");
  return data ? static_cast<const uint8_t*>(data) : &nothing;
}

template <class Handle>
Handle& checked(Handle* handle) {
  require(handle, "an argument is NULL");
  return *handle;
}

// numpy.interp: the position's row, and a line to the next one.
double interpolated(const std::vector<double>& xs, const std::vector<double>& ys, double x) {
  const auto row = static_cast<size_t>(std::upper_bound(xs.begin(), xs.end(), x) - xs.begin()) - 1;
  if (row + 1 == xs.size() || xs[row] == x) return ys[row];
  const double slope = (ys[row + 1] - ys[row]) / (xs[row + 1] - xs[row]);
  return slope * (x - xs[row]) + ys[row];
}

template <class Arrays>
rdc_status read_arrays(const rdc_bundle* bundle, const rdc_stream* stream, uint32_t layers, Arrays* arrays) {
  return guarded([&] {
    const std::string problem = read_symbols(checked(bundle).bundle, checked(stream).stream, layers, checked(arrays));
    return problem.empty() ? RDC_OK : report(RDC_DAMAGED, problem.c_str());
  });
}

template <class Arrays>
rdc_status write_arrays(const rdc_bundle* bundle, const rdc_header* header, const Arrays* arrays,
                        const rdc_content* contents, uint32_t count, void* out, size_t room, size_t* size) {
  return guarded([&] {
    require(contents || count == 0, "contents must not be NULL");
    require(out || room == 0, "out must not be NULL");
    if (count > RDC_MAX_CHUNKS) throw Error(RDC_LIMIT, "there are too many chunks");
    std::vector<Content> chunks;
    for (uint32_t k = 0; k < count; ++k)
      chunks.push_back({contents[k].type, bytes_of(contents[k].data, contents[k].size), contents[k].size});
    size_t& needed = checked(size);
    needed = write_stream(checked(bundle).bundle, checked(header), checked(arrays), chunks, static_cast<uint8_t*>(out),
                          room);
    if (needed > room) throw Error(RDC_NO_ROOM, "the stream takes " + std::to_string(needed) + " bytes");
    return RDC_OK;
  });
}

// Bytes of rows that are row_bytes apart, of which the last ends with its pixels. Sides are below 2^25.
void check_rows(uint32_t width, uint32_t height, size_t row_bytes, size_t size) {
  for (const uint32_t side : {width, height})
    require(side >= 1 && side <= RDC_MAX_SIDE, "width and height must be 1 to 2^24");
  const size_t used = 3 * size_t{width};
  require(row_bytes >= used, "row_bytes must be at least 3 * width");
  if (size < used || (size - used) / row_bytes < height - 1) throw Error(RDC_NO_ROOM, "rgb is too small");
}

size_t padded(uint32_t side) { return (size_t{side} + RDC_STRIDE - 1) / RDC_STRIDE * RDC_STRIDE; }

void check_pixels(uint32_t width, uint32_t height, size_t count) {
  if (count / 3 / padded(width) < padded(height)) throw Error(RDC_NO_ROOM, "pixels is too small");
}

int8_t to_signed(uint8_t value) { return static_cast<int8_t>(int{value} - 128); }

}  // namespace

rdc_status report(rdc_status status, const char* text) noexcept {
  std::strncpy(message, text, kMessageBytes - 1);
  message[kMessageBytes - 1] = '\0';
  return status;
}

}  // namespace rdc

using namespace rdc;

extern "C" {

uint32_t rdc_version(void) { return uint32_t{RDC_VERSION_MAJOR} << 16 | RDC_VERSION_MINOR; }

const char* rdc_message(void) { return message; }

const char* rdc_status_name(rdc_status status) {
  switch (status) {
    case RDC_OK:
      return "RDC_OK";
    case RDC_DAMAGED:
      return "RDC_DAMAGED";
    case RDC_TRUNCATED:
      return "RDC_TRUNCATED";
    case RDC_CORRUPT:
      return "RDC_CORRUPT";
    case RDC_UNSUPPORTED:
      return "RDC_UNSUPPORTED";
    case RDC_WRONG_MODEL:
      return "RDC_WRONG_MODEL";
    case RDC_LIMIT:
      return "RDC_LIMIT";
    case RDC_INVALID:
      return "RDC_INVALID";
    case RDC_NO_ROOM:
      return "RDC_NO_ROOM";
    case RDC_NO_MEMORY:
      return "RDC_NO_MEMORY";
    case RDC_INTERNAL:
      return "RDC_INTERNAL";
    default:
      return "unknown status";
  }
}

rdc_status rdc_bundle_open(const void* manifest, size_t manifest_size, const void* tables, size_t tables_size,
                           rdc_bundle** bundle) {
  return guarded([&] {
    rdc_bundle*& opened = checked(bundle);
    const auto* text = reinterpret_cast<const char*>(bytes_of(manifest, manifest_size));
    opened = new rdc_bundle{read_bundle(text, manifest_size, bytes_of(tables, tables_size), tables_size)};
    return RDC_OK;
  });
}

void rdc_bundle_close(rdc_bundle* bundle) { delete bundle; }

rdc_status rdc_bundle_describe(const rdc_bundle* bundle, rdc_bundle_info* info) {
  return guarded([&] {
    const Bundle& described = checked(bundle).bundle;
    rdc_bundle_info found{};
    const auto fill = [](const Branch& branch, uint32_t& latent, uint32_t& hyper, uint32_t& levels) {
      latent = static_cast<uint32_t>(branch.latent);
      hyper = static_cast<uint32_t>(branch.hyper);
      levels = static_cast<uint32_t>(branch.levels);
    };
    fill(*described.primary, found.latent1, found.hyper1, found.levels1);
    if (described.auxiliary) fill(*described.auxiliary, found.latent2, found.hyper2, found.levels2);
    found.slices = described.slices();
    std::copy(described.parse_id.begin(), described.parse_id.end(), found.parse_id);
    std::copy(described.picture_id.begin(), described.picture_id.end(), found.picture_id);
    checked(info) = found;
    return RDC_OK;
  });
}

const char* rdc_bundle_name(const rdc_bundle* bundle) { return bundle ? bundle->bundle.name.c_str() : nullptr; }

const char* rdc_bundle_graph(const rdc_bundle* bundle, const char* graph) {
  if (!bundle || !graph) return nullptr;
  for (const auto& [name, file] : bundle->bundle.graphs)
    if (name == graph) return file.c_str();
  return nullptr;
}

rdc_status rdc_bundle_check_file(const rdc_bundle* bundle, const char* name, const void* data, size_t size) {
  return guarded([&] {
    const auto& files = checked(bundle).bundle.files;
    const auto known = files.find(&checked(name));
    require(known != files.end(), "the manifest names no such file");
    if (sha256(bytes_of(data, size), size) != known->second)
      throw Error(RDC_CORRUPT, known->first + " is not the file that the manifest names");
    return RDC_OK;
  });
}

rdc_status rdc_bundle_qualities(const rdc_bundle* bundle, double* dial, double* base_quality, double* aux_quality) {
  return guarded([&] {
    const Bundle& known = checked(bundle).bundle;
    const double set = from_fixed(to_fixed(checked(dial), "the dial"));
    const double base = interpolated(known.dial, known.base_quality, set);
    const double auxiliary = interpolated(known.dial, known.aux_quality, set);
    checked(base_quality) = from_fixed(to_fixed(base, "base_quality"));
    checked(aux_quality) = from_fixed(to_fixed(auxiliary, "aux_quality"));
    *dial = set;
    return RDC_OK;
  });
}

rdc_status rdc_bundle_level(const rdc_bundle* bundle, uint32_t branch, double quality, float* level) {
  return guarded([&] {
    const Bundle& known = checked(bundle).bundle;
    const Branch* found = branch == 1 ? known.primary.get() : branch == 2 ? known.auxiliary.get() : nullptr;
    require(found, "the model has no such branch");
    require(quality >= 0 && quality <= 100, "quality must be 0 to 100");
    checked(level) = static_cast<float>(quality / 100 * static_cast<double>(found->levels - 1));
    return RDC_OK;
  });
}

rdc_status rdc_bundle_shapes(const rdc_bundle* bundle, uint32_t width, uint32_t height, rdc_shapes* shapes) {
  return guarded([&] {
    checked(shapes) = shapes_of(checked(bundle).bundle, width, height);
    return RDC_OK;
  });
}

rdc_status rdc_working_memory(const rdc_bundle* bundle, uint32_t width, uint32_t height, uint64_t* bytes) {
  return guarded([&] {
    const Bundle& known = checked(bundle).bundle;
    checked(bytes) = working_memory(known, shapes_of(known, width, height));
    return RDC_OK;
  });
}

rdc_status rdc_stream_open(const void* data, size_t size, uint64_t max_pixels, rdc_stream** stream) {
  return guarded([&] {
    rdc_stream*& opened = checked(stream);
    opened = new rdc_stream{read_stream(bytes_of(data, size), size, max_pixels)};
    return RDC_OK;
  });
}

void rdc_stream_close(rdc_stream* stream) { delete stream; }

rdc_status rdc_stream_header(const rdc_stream* stream, rdc_header* header) {
  return guarded([&] {
    checked(header) = checked(stream).stream.header;
    return RDC_OK;
  });
}

rdc_status rdc_stream_chunk(const rdc_stream* stream, uint32_t index, rdc_chunk* chunk) {
  return guarded([&] {
    const std::vector<rdc_chunk>& chunks = checked(stream).stream.chunks;
    require(index < chunks.size(), "the directory has fewer chunks");
    checked(chunk) = chunks[index];
    return RDC_OK;
  });
}

rdc_status rdc_stream_find(const rdc_stream* stream, uint32_t type, uint32_t nth, rdc_chunk* chunk) {
  return guarded([&] {
    const rdc_chunk* found = checked(stream).stream.find(type, nth);
    require(found, "the directory has no such chunk");
    checked(chunk) = *found;
    return RDC_OK;
  });
}

rdc_status rdc_stream_check(const rdc_stream* stream) {
  return guarded([&] {
    const std::string damage = damage_of(checked(stream).stream);
    return damage.empty() ? RDC_OK : report(RDC_DAMAGED, damage.c_str());
  });
}

rdc_status rdc_stream_check_model(const rdc_stream* stream, const rdc_bundle* bundle) {
  return guarded([&] {
    check_model(checked(bundle).bundle, checked(stream).stream.header);
    return RDC_OK;
  });
}

rdc_status rdc_read_symbols(const rdc_bundle* bundle, const rdc_stream* stream, uint32_t layers, rdc_symbols* symbols) {
  return read_arrays(bundle, stream, layers, symbols);
}

rdc_status rdc_read_symbols16(const rdc_bundle* bundle, const rdc_stream* stream, uint32_t layers,
                              rdc_symbols16* symbols) {
  return read_arrays(bundle, stream, layers, symbols);
}

rdc_status rdc_write_stream(const rdc_bundle* bundle, const rdc_header* header, const rdc_symbols* symbols,
                            const rdc_content* contents, uint32_t contents_count, void* out, size_t room,
                            size_t* size) {
  return write_arrays(bundle, header, symbols, contents, contents_count, out, room, size);
}

rdc_status rdc_write_stream16(const rdc_bundle* bundle, const rdc_header* header, const rdc_symbols16* symbols,
                              const rdc_content* contents, uint32_t contents_count, void* out, size_t room,
                              size_t* size) {
  return write_arrays(bundle, header, symbols, contents, contents_count, out, room, size);
}

rdc_status rdc_stream_bound(const rdc_bundle* bundle, uint32_t width, uint32_t height, uint64_t* bytes) {
  return guarded([&] {
    const Bundle& known = checked(bundle).bundle;
    checked(bytes) = stream_bound(known, shapes_of(known, width, height));
    return RDC_OK;
  });
}

rdc_status rdc_pad_pixels(const uint8_t* rgb, size_t size, size_t row_bytes, uint32_t width, uint32_t height,
                          int8_t* pixels, size_t room) {
  return guarded([&] {
    require(rgb && pixels, "rgb and pixels must not be NULL");
    check_rows(width, height, row_bytes, size);
    check_pixels(width, height, room);
    const size_t columns = padded(width), rows = padded(height);
    for (size_t y = 0; y < rows; ++y) {
      const uint8_t* from = rgb + std::min<size_t>(y, height - 1) * row_bytes;
      int8_t* to = pixels + y * columns * 3;
      std::transform(from, from + 3 * size_t{width}, to, to_signed);
      for (size_t x = 3 * size_t{width}; x < 3 * columns; ++x) to[x] = to[x - 3];
    }
    return RDC_OK;
  });
}

rdc_status rdc_crop_pixels(const int8_t* pixels, size_t count, uint32_t width, uint32_t height, uint8_t* rgb,
                           size_t row_bytes, size_t room) {
  return guarded([&] {
    require(rgb && pixels, "rgb and pixels must not be NULL");
    check_rows(width, height, row_bytes, room);
    check_pixels(width, height, count);
    for (size_t y = 0; y < height; ++y) {
      const int8_t* from = pixels + y * padded(width) * 3;
      std::transform(from, from + 3 * size_t{width}, rgb + y * row_bytes,
                     [](int8_t value) { return static_cast<uint8_t>(value + 128); });
    }
    return RDC_OK;
  });
}

const char* rdc_decode_graph(const rdc_bundle* bundle, uint32_t slices, float beta) {
  if (!bundle || slices > bundle->bundle.slices() || !(beta >= 0 && beta <= 1)) return nullptr;
  if (slices == 0 || beta == 1) return "decode_base";
  return beta == 0 && bundle->bundle.graphs.count("decode_people") ? "decode_people" : "decode_full";
}

}  // extern "C"
