#include "npz.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "inflate.h"

namespace rdc {
namespace {

constexpr size_t kMaxMembers = 1024;
constexpr size_t kMaxDimensions = 8;
constexpr size_t kEndRecord = 22, kCentralRecord = 46, kLocalRecord = 30;  // bytes without names and comments
constexpr size_t kMaxComment = 0xffff;

[[noreturn]] void fail(const std::string& message) { throw Error(RDC_CORRUPT, "tables.npz: " + message); }

struct View {
  const uint8_t* data;
  size_t size;

  View part(uint64_t offset, uint64_t length) const {
    if (offset > size || length > size - offset) fail("it ends early");
    return {data + offset, static_cast<size_t>(length)};
  }
  uint32_t number(size_t offset, size_t bytes) const {
    const View at = part(offset, bytes);
    uint32_t value = 0;
    for (size_t k = bytes; k--;) value = value << 8 | at.data[k];
    return value;
  }
};

uint64_t little_endian(const uint8_t* p, size_t bytes) {
  uint64_t value = 0;
  for (size_t k = bytes; k--;) value = value << 8 | p[k];
  return value;
}

// Where the directory ends: the record may be followed by a comment.
View end_record(View file) {
  if (file.size < kEndRecord) fail("not a zip archive");
  const size_t most = std::min(file.size - kEndRecord, kMaxComment);
  for (size_t comment = 0; comment <= most; ++comment) {
    const View record = file.part(file.size - kEndRecord - comment, kEndRecord);
    if (record.number(0, 4) == 0x06054b50 && record.number(20, 2) == comment) return record;
  }
  fail("not a zip archive");
}

// The text between `key` and the next of `stop` in the header of an array, a Python dictionary as NumPy writes it.
std::string field(const std::string& header, const char* key, const char* stop) {
  const size_t at = header.find(key);
  if (at == std::string::npos) fail("an array without " + std::string(key));
  const size_t start = header.find_first_not_of(' ', at + std::strlen(key));
  const size_t end = start == std::string::npos ? start : header.find_first_of(stop, start);
  if (end == std::string::npos) fail("an array's header is damaged");
  return header.substr(start, end - start);
}

std::vector<size_t> shape_of(const std::string& text) {
  std::vector<size_t> shape;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    uint64_t value = 0;
    bool digits = false;
    for (size_t k = at; k < end; ++k) {
      if (text[k] == ' ') continue;
      if (text[k] < '0' || text[k] > '9' || value > UINT32_MAX) fail("an array's shape is damaged");
      value = 10 * value + static_cast<uint64_t>(text[k] - '0');
      digits = true;
    }
    if (!digits || value > UINT32_MAX || shape.size() == kMaxDimensions) fail("an array's shape is damaged");
    shape.push_back(static_cast<size_t>(value));
    at = end + 1;
  }
  return shape;
}

size_t item_bytes(const std::string& type) {
  static const char* const kTypes[] = {"|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"};
  for (size_t k = 0; k < 8; ++k)
    if (type == kTypes[k]) return size_t{1} << (k / 2);
  throw Error(RDC_UNSUPPORTED, "tables.npz: an array of type " + type);
}

Array parse_npy(View file) {
  if (file.size < 10 || std::memcmp(file.data, "\x93NUMPY", 6) != 0) fail("a member that is no array");
  const bool first = file.number(6, 1) == 1;
  if (file.number(6, 1) < 1 || file.number(6, 1) > 3) throw Error(RDC_UNSUPPORTED, "tables.npz: a later array format");
  const size_t start = first ? 10 : 12;
  const uint32_t length = file.number(8, first ? 2 : 4);
  const View text = file.part(start, length);
  const std::string header(reinterpret_cast<const char*>(text.data), text.size);
  Array array;
  array.type = field(header, "'descr': '", "'");
  if (field(header, "'fortran_order':", ",}") != "False")
    throw Error(RDC_UNSUPPORTED, "tables.npz: an array in Fortran order");
  array.shape = shape_of(field(header, "'shape': (", ")"));
  uint64_t bytes = item_bytes(array.type);
  for (const size_t side : array.shape) {
    if (side && bytes > UINT32_MAX / side) fail("an array's shape is damaged");
    bytes *= side;
  }
  const View values = file.part(uint64_t{start} + length, file.size - start - length);
  if (values.size != bytes) fail("an array has too few or too many values");
  array.bytes.assign(values.data, values.data + values.size);
  return array;
}

}  // namespace

size_t Array::count() const { return bytes.size() / item_bytes(type); }

std::string Array::shape_text() const {
  if (shape.empty()) return "(1,)";
  std::string text = "(";
  for (size_t k = 0; k < shape.size(); ++k) text += (k ? ", " : "") + std::to_string(shape[k]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

template <class T>
std::vector<T> Array::values() const {
  constexpr bool kSigned = static_cast<T>(-1) < 0;
  const std::string expected =
      (sizeof(T) == 1 ? "|" : "<") + std::string(kSigned ? "i" : "u") + std::to_string(sizeof(T));
  if (type != expected) fail("an array of type " + type + " and not " + expected);
  std::vector<T> result(count());
  for (size_t k = 0; k < result.size(); ++k)
    result[k] = static_cast<T>(little_endian(bytes.data() + k * sizeof(T), sizeof(T)));
  return result;
}

template std::vector<int8_t> Array::values() const;
template std::vector<uint8_t> Array::values() const;
template std::vector<uint16_t> Array::values() const;
template std::vector<int32_t> Array::values() const;

int64_t Array::scalar() const {
  const size_t width = item_bytes(type);
  if (bytes.size() != width) fail("an array where a number was expected");
  uint64_t value = little_endian(bytes.data(), width);
  if (type[1] == 'i' && width < 8 && value >> (8 * width - 1)) value -= uint64_t{1} << (8 * width);
  return static_cast<int64_t>(value);
}

Arrays read_npz(const uint8_t* data, size_t size, size_t most) {
  const View file{data, size};
  const View end = end_record(file);
  const size_t members = end.number(10, 2);
  if (end.number(4, 4) != 0 || end.number(8, 2) != members || members > kMaxMembers)
    throw Error(RDC_UNSUPPORTED, "tables.npz: an archive of many parts or files");
  const View directory = file.part(end.number(16, 4), end.number(12, 4));
  Arrays arrays;
  size_t at = 0, left = most;
  for (size_t k = 0; k < members; ++k) {
    const View record = directory.part(at, kCentralRecord);
    if (record.number(0, 4) != 0x02014b50) fail("its directory is damaged");
    const uint32_t flags = record.number(8, 2), method = record.number(10, 2);
    const uint32_t packed = record.number(20, 4), unpacked = record.number(24, 4), offset = record.number(42, 4);
    const uint32_t name_bytes = record.number(28, 2);
    const View named = directory.part(at + kCentralRecord, name_bytes);
    at += kCentralRecord + name_bytes + record.number(30, 2) + record.number(32, 2);
    std::string name(reinterpret_cast<const char*>(named.data), named.size);
    if (name.size() > 4 && name.compare(name.size() - 4, 4, ".npy") == 0) name.resize(name.size() - 4);
    if ((flags & 1) || (method != 0 && method != 8))
      throw Error(RDC_UNSUPPORTED, "tables.npz: a member that is encrypted or compressed in another way");
    if (unpacked > left) throw Error(RDC_LIMIT, "tables.npz: it holds more than the limit");
    left -= unpacked;

    const View local = file.part(offset, kLocalRecord);
    if (local.number(0, 4) != 0x04034b50) fail("a member is not where the directory says");
    const uint64_t start = uint64_t{offset} + kLocalRecord + local.number(26, 2) + local.number(28, 2);
    const View content = file.part(start, packed);
    std::vector<uint8_t> inflated;
    if (method == 8) inflated = inflate(content.data, content.size, unpacked);
    if (method == 0 && packed != unpacked) fail("a member's size is wrong");
    const View npy = method == 8 ? View{inflated.data(), inflated.size()} : content;
    if (!arrays.emplace(name, parse_npy(npy)).second) fail("two arrays of one name");
  }
  return arrays;
}

}  // namespace rdc
