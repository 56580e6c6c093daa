#include "stream_fields.h"

#include <algorithm>
#include <iterator>

#include "../../../kernels/entropy_coder/crc32c.h"

namespace fuzz {
namespace {

constexpr size_t kStart = 13;  // bytes of fixed fields before the sides
constexpr size_t kMaxChunks = 4096;
constexpr uint32_t kTypes[] = {1, 2, 2, 2, 3, 4, 32, 33, 34, 35, 36, 40, 99, 0xffffffff};
constexpr uint32_t kSides[] = {1, 2, 63, 64, 65, 127, 128, 129, 256, 4096, 1 << 24, (1 << 24) + 1, 0, 0xffffffff};

struct Reader {
  const uint8_t* next;
  const uint8_t* end;
  bool ended = false;

  uint32_t fixed(size_t bytes) {
    uint32_t value = 0;
    for (size_t k = 0; k < bytes; ++k) value |= uint32_t{byte()} << (8 * k);
    return value;
  }
  uint32_t varint() {
    uint64_t value = 0;
    for (int k = 0; k < 5; ++k) {
      const uint8_t taken = byte();
      value |= uint64_t{taken & 0x7fu} << (7 * k);
      if (!(taken & 0x80)) break;
    }
    return static_cast<uint32_t>(value);
  }
  uint8_t byte() {
    ended |= next == end;
    return next == end ? uint8_t{0} : *next++;
  }
};

void put_varint(Bytes& out, uint32_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<uint8_t>(value | 0x80));
  out.push_back(static_cast<uint8_t>(value));
}

void put_fixed(Bytes& out, uint32_t value, int bytes) {
  for (int k = 0; k < bytes; ++k) out.push_back(static_cast<uint8_t>(value >> (8 * k)));
}

template <size_t kCount>
uint32_t one_of(const uint32_t (&values)[kCount], std::minstd_rand& random) {
  return values[random() % kCount];
}

}  // namespace

bool take_apart(const uint8_t* data, size_t size, StreamFields& fields) {
  if (size < kStart) return false;
  fields.start.assign(data, data + kStart);
  Reader in{data + kStart, data + size};
  fields.width = in.varint();
  fields.height = in.varint();
  for (uint16_t& quality : fields.qualities) quality = static_cast<uint16_t>(in.fixed(2));
  const uint32_t count = in.varint();
  std::vector<uint32_t> lengths, sums;
  for (uint32_t k = 0; k < count && k < kMaxChunks && !in.ended; ++k) {
    const uint32_t entry = in.varint();
    fields.chunks.push_back({entry & 3 ? entry & 3 : in.varint(), {}});
    lengths.push_back(entry >> 2);
    sums.push_back(in.fixed(4));
  }
  in.fixed(4);
  if (in.ended) return false;
  fields.more_chunks = count - static_cast<uint32_t>(fields.chunks.size());
  for (size_t k = 0; k < fields.chunks.size(); ++k) {
    Chunk& chunk = fields.chunks[k];
    const size_t there = std::min<size_t>(lengths[k], static_cast<size_t>(in.end - in.next));
    chunk.payload.assign(in.next, in.next + there);
    chunk.more = lengths[k] - static_cast<uint32_t>(there);
    chunk.wrong_crc = chunk.more ? 0 : sums[k] ^ rdc::crc32c(chunk.payload.data(), there, 0);
    in.next += there;
  }
  fields.after.assign(in.next, in.end);
  return true;
}

Bytes put_together(const StreamFields& fields) {
  Bytes out = fields.start;
  put_varint(out, fields.width);
  put_varint(out, fields.height);
  for (const uint16_t quality : fields.qualities) put_fixed(out, quality, 2);
  put_varint(out, static_cast<uint32_t>(fields.chunks.size()) + fields.more_chunks);
  for (const Chunk& chunk : fields.chunks) {
    const uint32_t length = (static_cast<uint32_t>(chunk.payload.size()) + chunk.more) & 0x3fffffff;
    const bool in_entry = chunk.type >= 1 && chunk.type <= 3;
    put_varint(out, length << 2 | (in_entry ? chunk.type : 0));
    if (!in_entry) put_varint(out, chunk.type);
    put_fixed(out, rdc::crc32c(chunk.payload.data(), chunk.payload.size(), 0) ^ chunk.wrong_crc, 4);
  }
  put_fixed(out, rdc::crc32c(out.data(), out.size(), 0) ^ fields.wrong_crc, 4);
  for (const Chunk& chunk : fields.chunks) out.insert(out.end(), chunk.payload.begin(), chunk.payload.end());
  out.insert(out.end(), fields.after.begin(), fields.after.end());
  return out;
}

void change_one(StreamFields& fields, std::minstd_rand& random, void (*change)(Bytes& bytes, size_t most)) {
  std::vector<Chunk>& chunks = fields.chunks;
  const auto any = [&]() -> size_t { return random() % chunks.size(); };
  const auto place = [&](size_t k) { return chunks.begin() + static_cast<ptrdiff_t>(k); };
  switch (random() % 16) {
    case 0:
      fields.width = random() % 4 ? 1 + random() % 90 : one_of(kSides, random);
      return;
    case 1:
      fields.height = random() % 4 ? 1 + random() % 90 : one_of(kSides, random);
      return;
    case 2:
      fields.qualities[random() % 3] = static_cast<uint16_t>(random() % 4 ? random() % 25601 : random());
      return;
    case 3:
      if (random() % 4 == 0)
        change(fields.start, kStart);
      else if (random() % 4 == 0)
        fields.more_chunks = random() % 2 ? 0 : random() % 70000;
      else
        fields.more_chunks = fields.wrong_crc = 0;
      return;
    case 4:
      if (random() % 8 == 0)
        change(fields.after, 16);
      else
        fields.after.clear();
      return;
    case 5:
      if (chunks.size() > 16) chunks.resize(5);
      chunks.insert(place(random() % (chunks.size() + 1)), {one_of(kTypes, random), Bytes(random() % 9)});
      return;
    default:
      break;
  }
  if (chunks.empty()) return;
  Chunk& chunk = chunks[any()];
  switch (random() % 10) {
    case 0:
      chunks.erase(place(any()));
      return;
    case 1:
      std::swap(chunk, chunks[any()]);
      return;
    case 2:
      chunk.type = one_of(kTypes, random);
      return;
    case 3:
      chunk.wrong_crc = random() % 2 ? 0 : 1u << random() % 32;
      return;
    case 4:
      chunk.more = random() % 2 ? 0 : random() % (1 << 30);
      return;
    case 5: {  // cut it here: all that follows is missing
      const size_t kept = chunk.payload.empty() ? 0 : random() % chunk.payload.size();
      chunk.more += static_cast<uint32_t>(chunk.payload.size() - kept);
      chunk.payload.resize(kept);
      for (auto next = place(static_cast<size_t>(&chunk - chunks.data()) + 1); next != chunks.end(); ++next) {
        next->more += static_cast<uint32_t>(next->payload.size());
        next->payload.clear();
      }
      fields.after.clear();
      return;
    }
    default:
      change(chunk.payload, chunk.payload.size() + 64);
      return;
  }
}

}  // namespace fuzz
