#include "container.h"

#include <algorithm>
#include <iterator>

#include "../entropy_coder/crc32c.h"
#include "bundle.h"
#include "error.h"

namespace rdc {
namespace {

constexpr uint8_t kMagic[3] = {'R', 'D', 'C'};
constexpr uint8_t kVersion = 1;
constexpr int kVarintBytes = 5;
constexpr uint32_t kShortTypes = 3;  // types up to this one stand in the two low bits of an entry
constexpr uint32_t kMaxFixed = 25600;
constexpr size_t kMaxLength = size_t{1} << 30;  // a chunk is shorter

struct KnownType {
  uint32_t type;
  const char* name;
};
constexpr KnownType kKnown[] = {
    {RDC_PRIMARY, "PRIMARY"}, {RDC_AUX_SLICE, "AUX_SLICE"}, {RDC_ICC, "ICC"},   {RDC_EXIF, "EXIF"},
    {RDC_XMP, "XMP"},         {RDC_ALPHA, "ALPHA"},         {RDC_GREY, "GREY"}, {RDC_LOSSLESS, "LOSSLESS"}};

const KnownType* known(uint32_t type) {
  const auto* found =
      std::find_if(std::begin(kKnown), std::end(kKnown), [type](const KnownType& k) { return k.type == type; });
  return found == std::end(kKnown) ? nullptr : found;
}

// Reads what stands before the chunks, one number after the other; the first that is wrong decides.
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t position() const { return position_; }

  const uint8_t* take(size_t count) {
    if (count > size_ - position_) throw Error(RDC_TRUNCATED, "the stream ends within its header");
    position_ += count;
    return data_ + position_ - count;
  }

  uint32_t fixed(size_t bytes) {
    const uint8_t* p = take(bytes);
    uint32_t value = 0;
    for (size_t k = bytes; k--;) value = value << 8 | p[k];
    return value;
  }

  uint32_t varint() {
    uint64_t value = 0;
    for (int k = 0; k < kVarintBytes; ++k) {
      const uint8_t byte = *take(1);
      value |= uint64_t{byte & 0x7fu} << (7 * k);
      if (byte & 0x80) continue;
      if ((k && byte == 0) || value > UINT32_MAX) break;  // not the shortest form, or too large
      return static_cast<uint32_t>(value);
    }
    throw Error(RDC_CORRUPT, "a number in the header is not valid");
  }

 private:
  const uint8_t* data_;
  size_t size_, position_ = 0;
};

void check_magic(Reader& in) {
  for (const uint8_t expected : kMagic)
    if (*in.take(1) != expected) throw Error(RDC_CORRUPT, "not an RDC stream");
  const uint32_t version = in.fixed(1);
  if (version != kVersion) throw Error(RDC_UNSUPPORTED, "a stream of version " + std::to_string(version));
}

// The order in which types may stand; empty if it is right.
std::string wrong_order(const std::vector<uint32_t>& types) {
  uint32_t last = 0;
  bool primary = false;
  for (const uint32_t type : types) {
    if (!known(type)) continue;
    if (type < last || (type == last && type != RDC_AUX_SLICE)) return "chunks are in the wrong order";
    primary |= type == RDC_PRIMARY;
    last = type;
  }
  return primary ? "" : "there is no primary chunk";
}

void check_values(const rdc_header& header, uint32_t flags, const uint32_t (&qualities)[3], uint64_t max_pixels) {
  if (flags != 0) throw Error(RDC_UNSUPPORTED, "a stream with flags that this version does not know");
  for (const uint32_t side : {header.width, header.height})
    if (side < 1 || side > RDC_MAX_SIDE) throw Error(RDC_CORRUPT, "width or height is out of range");
  for (const uint32_t quality : qualities)
    if (quality > kMaxFixed) throw Error(RDC_CORRUPT, "a quality is out of range");
  if (max_pixels && uint64_t{header.width} * header.height > max_pixels)
    throw Error(RDC_LIMIT, "a picture of " + std::to_string(header.width) + "x" + std::to_string(header.height) +
                               " pixels is over the limit of " + std::to_string(max_pixels));
}

// Says where each chunk is, and how much of it. A chunk of no bytes is there even behind the end.
void locate(std::vector<rdc_chunk>& chunks, const uint8_t* data, uint64_t size, uint64_t offset) {
  for (rdc_chunk& chunk : chunks) {
    chunk.offset = offset;
    offset += chunk.length;
    const uint64_t there = chunk.offset < size ? std::min<uint64_t>(size - chunk.offset, chunk.length) : 0;
    if (there < chunk.length)
      chunk.state = there ? RDC_CHUNK_TRUNCATED : RDC_CHUNK_MISSING;
    else
      chunk.state = crc32c(content_of(data, chunk), chunk.length, 0) == chunk.crc ? RDC_CHUNK_OK : RDC_CHUNK_DAMAGED;
  }
  if (offset < size) throw Error(RDC_CORRUPT, "there are bytes after the last chunk");
}

void put_varint(std::vector<uint8_t>& out, uint32_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}

void put_fixed(std::vector<uint8_t>& out, uint32_t value, int bytes) {
  for (int k = 0; k < bytes; ++k) out.push_back(static_cast<uint8_t>(value >> (8 * k)));
}

}  // namespace

const rdc_chunk* Stream::find(uint32_t type, uint32_t nth) const {
  for (const rdc_chunk& chunk : chunks)
    if (chunk.type == type && nth-- == 0) return &chunk;
  return nullptr;
}

Stream read_stream(const uint8_t* data, size_t size, uint64_t max_pixels) {
  Reader in(data, size);
  Stream stream{data, {}, {}};
  rdc_header& header = stream.header;
  check_magic(in);
  const uint32_t flags = in.fixed(1);
  std::copy_n(in.take(4), 4, header.parse_id);
  std::copy_n(in.take(4), 4, header.picture_id);
  header.width = in.varint();
  header.height = in.varint();
  uint32_t qualities[3];
  for (uint32_t& quality : qualities) quality = in.fixed(2);
  header.chunks = in.varint();
  if (header.chunks > RDC_MAX_CHUNKS) throw Error(RDC_LIMIT, "a stream of too many chunks");
  std::vector<uint32_t> types;
  for (uint32_t k = 0; k < header.chunks; ++k) {
    const uint32_t entry = in.varint();
    rdc_chunk chunk{0, entry >> 2, entry & 3, RDC_CHUNK_OK, 0};
    if (chunk.type == 0) {
      chunk.type = in.varint();
      if (chunk.type <= kShortTypes) throw Error(RDC_CORRUPT, "a number in the directory is not valid");
    }
    chunk.crc = in.fixed(4);
    stream.chunks.push_back(chunk);
    types.push_back(chunk.type);
  }
  const size_t checked = in.position();
  if (in.fixed(4) != crc32c(data, checked, 0)) throw Error(RDC_CORRUPT, "the header is damaged");
  header.header_bytes = static_cast<uint32_t>(in.position());
  header.quality = from_fixed(static_cast<uint16_t>(qualities[0]));
  header.base_quality = from_fixed(static_cast<uint16_t>(qualities[1]));
  header.aux_quality = from_fixed(static_cast<uint16_t>(qualities[2]));

  check_values(header, flags, qualities, max_pixels);
  const std::string problem = wrong_order(types);
  if (!problem.empty()) throw Error(RDC_CORRUPT, problem);
  locate(stream.chunks, data, size, in.position());
  return stream;
}

std::string damage_of(const Stream& stream) {
  static const char* const kStates[] = {"is whole", "is damaged", "is cut off", "is missing"};
  uint32_t slices = 0;
  for (const rdc_chunk& chunk : stream.chunks) {
    const uint32_t slice = chunk.type == RDC_AUX_SLICE ? slices++ : 0;
    if (chunk.state == RDC_CHUNK_OK) continue;
    const KnownType* type = known(chunk.type);
    std::string name = type ? type->name : "chunk of type " + std::to_string(chunk.type);
    if (chunk.type == RDC_AUX_SLICE) name += ' ' + std::to_string(slice);
    return name + ' ' + kStates[chunk.state];
  }
  return "";
}

std::vector<uint8_t> write_head(const rdc_header& header, const std::vector<Content>& chunks) {
  for (const uint32_t side : {header.width, header.height})
    require(side >= 1 && side <= RDC_MAX_SIDE, "width and height must be 1 to 2^24");
  if (chunks.size() > RDC_MAX_CHUNKS) throw Error(RDC_LIMIT, "there are too many chunks");
  std::vector<uint32_t> types;
  for (const Content& chunk : chunks) types.push_back(chunk.type);
  const std::string problem = wrong_order(types);
  require(problem.empty(), problem.c_str());

  std::vector<uint8_t> out(std::begin(kMagic), std::end(kMagic));
  out.push_back(kVersion);
  out.push_back(0);  // flags
  out.insert(out.end(), std::begin(header.parse_id), std::end(header.parse_id));
  out.insert(out.end(), std::begin(header.picture_id), std::end(header.picture_id));
  put_varint(out, header.width);
  put_varint(out, header.height);
  put_fixed(out, to_fixed(header.quality, "quality"), 2);
  put_fixed(out, to_fixed(header.base_quality, "base_quality"), 2);
  put_fixed(out, to_fixed(header.aux_quality, "aux_quality"), 2);
  put_varint(out, static_cast<uint32_t>(chunks.size()));
  for (const Content& chunk : chunks) {
    if (chunk.size >= kMaxLength) throw Error(RDC_LIMIT, "a chunk of 2^30 bytes or more");
    const auto length = static_cast<uint32_t>(chunk.size);
    const bool in_entry = chunk.type <= kShortTypes;
    put_varint(out, length << 2 | (in_entry ? chunk.type : 0));
    if (!in_entry) put_varint(out, chunk.type);
    put_fixed(out, crc32c(chunk.data, chunk.size, 0), 4);
  }
  put_fixed(out, crc32c(out.data(), out.size(), 0), 4);
  return out;
}

}  // namespace rdc
