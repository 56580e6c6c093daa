#include "inflate.h"

#include "error.h"

namespace rdc {
namespace {

constexpr size_t kMaxBits = 15;  // of a code
constexpr size_t kLengths = 288, kDistances = 32;
constexpr size_t kUsedLengths = 286, kUsedDistances = 30;  // the others have codes but no meaning
constexpr uint32_t kEndOfBlock = 256;

constexpr uint16_t kLengthBase[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthBits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                     2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistanceBase[30] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                        33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                        1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr uint8_t kDistanceBits[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                       6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
constexpr uint8_t kCodeOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

[[noreturn]] void fail() { throw Error(RDC_CORRUPT, "compressed data is damaged"); }

// Bits from the least significant one of each byte on.
class Bits {
 public:
  Bits(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  uint32_t take(int count) {
    while (held_ < count) {
      if (next_ == end_) fail();
      value_ |= uint32_t{*next_++} << held_;
      held_ += 8;
    }
    const uint32_t result = value_ & ((uint32_t{1} << count) - 1);
    value_ >>= count;
    held_ -= count;
    return result;
  }

  // Drops the rest of the current byte, and returns `count` whole ones.
  const uint8_t* take_bytes(size_t count) {
    value_ = 0;
    held_ = 0;
    if (static_cast<size_t>(end_ - next_) < count) fail();
    next_ += count;
    return next_ - count;
  }

  bool at_end() const { return next_ == end_; }

 private:
  const uint8_t *next_, *end_;
  uint32_t value_ = 0;
  int held_ = 0;  // below 8 between calls
};

// A canonical prefix code: how many codes each length has, and the symbols in order of their codes.
class Code {
 public:
  Code(const uint8_t* lengths, size_t n) {
    for (size_t s = 0; s < n; ++s) ++count_[lengths[s]];
    const bool none = count_[0] == n;
    count_[0] = 0;
    int left = 1;
    for (size_t bits = 1; bits <= kMaxBits; ++bits) {
      left = 2 * left - count_[bits];
      if (left < 0) fail();  // more codes than there can be
    }
    // A code with gaps is allowed only where there is a single symbol or none.
    if (left > 0 && !none && !(n <= kDistances && count_[1] == 1 && left == 1 << (kMaxBits - 1))) fail();
    uint16_t start[kMaxBits + 2] = {};
    for (size_t bits = 1; bits <= kMaxBits; ++bits) start[bits + 1] = static_cast<uint16_t>(start[bits] + count_[bits]);
    for (size_t s = 0; s < n; ++s)
      if (lengths[s]) symbols_[start[lengths[s]]++] = static_cast<uint16_t>(s);
  }

  uint32_t take(Bits& in) const {
    int code = 0, first = 0, index = 0;
    for (size_t bits = 1; bits <= kMaxBits; ++bits) {
      code |= static_cast<int>(in.take(1));
      if (code - count_[bits] < first) return symbols_[index + (code - first)];
      index += count_[bits];
      first = (first + count_[bits]) << 1;
      code <<= 1;
    }
    fail();
  }

 private:
  uint16_t count_[kMaxBits + 1] = {};
  uint16_t symbols_[kLengths] = {};
};

class Inflater {
 public:
  Inflater(const uint8_t* data, size_t size, size_t expected) : in_(data, size), expected_(expected) {
    out_.reserve(expected);
  }

  std::vector<uint8_t> run() {
    for (bool last = false; !last;) {
      last = in_.take(1);
      switch (in_.take(2)) {
        case 0:
          stored();
          break;
        case 1:
          fixed();
          break;
        case 2:
          dynamic();
          break;
        default:
          fail();
      }
    }
    if (out_.size() != expected_ || !in_.at_end()) fail();
    return std::move(out_);
  }

 private:
  void stored() {
    const uint8_t* head = in_.take_bytes(4);
    const size_t length = head[0] | size_t{head[1]} << 8;
    if ((head[2] | size_t{head[3]} << 8) != (length ^ 0xffff) || length > expected_ - out_.size()) fail();
    const uint8_t* bytes = in_.take_bytes(length);
    out_.insert(out_.end(), bytes, bytes + length);
  }

  void fixed() {
    uint8_t lengths[kLengths], distances[kDistances];
    for (size_t s = 0; s < kLengths; ++s) lengths[s] = s < 144 ? 8 : s < 256 ? 9 : s < 280 ? 7 : 8;
    for (uint8_t& bits : distances) bits = 5;
    codes(Code(lengths, kLengths), Code(distances, kDistances));
  }

  void dynamic() {
    const size_t n = in_.take(5) + 257, m = in_.take(5) + 1, codes_of_lengths = in_.take(4) + 4;
    if (n > kUsedLengths || m > kUsedDistances) fail();
    uint8_t lengths[kLengths + kDistances] = {};
    for (size_t k = 0; k < codes_of_lengths; ++k) lengths[kCodeOrder[k]] = static_cast<uint8_t>(in_.take(3));
    const Code code(lengths, 19);
    for (size_t k = 0; k < n + m;) {
      const uint32_t symbol = code.take(in_);
      if (symbol < 16) {
        lengths[k++] = static_cast<uint8_t>(symbol);
        continue;
      }
      if (symbol == 16 && k == 0) fail();
      const uint8_t repeated = symbol == 16 ? lengths[k - 1] : 0;
      size_t times = symbol == 16 ? 3 + in_.take(2) : symbol == 17 ? 3 + in_.take(3) : 11 + in_.take(7);
      if (times > n + m - k) fail();
      while (times--) lengths[k++] = repeated;
    }
    if (lengths[kEndOfBlock] == 0) fail();
    codes(Code(lengths, n), Code(lengths + n, m));
  }

  void codes(const Code& lengths, const Code& distances) {
    for (;;) {
      const uint32_t symbol = lengths.take(in_);
      if (symbol == kEndOfBlock) return;
      if (symbol < kEndOfBlock) {
        if (out_.size() == expected_) fail();
        out_.push_back(static_cast<uint8_t>(symbol));
        continue;
      }
      if (symbol >= kUsedLengths) fail();
      const size_t length = kLengthBase[symbol - 257] + in_.take(kLengthBits[symbol - 257]);
      const uint32_t far = distances.take(in_);
      if (far >= kUsedDistances) fail();
      const size_t distance = kDistanceBase[far] + in_.take(kDistanceBits[far]);
      if (distance > out_.size() || length > expected_ - out_.size()) fail();
      for (size_t k = 0; k < length; ++k) out_.push_back(out_[out_.size() - distance]);
    }
  }

  Bits in_;
  size_t expected_;
  std::vector<uint8_t> out_;
};

}  // namespace

std::vector<uint8_t> inflate(const uint8_t* data, size_t size, size_t expected) {
  return Inflater(data, size, expected).run();
}

}  // namespace rdc
