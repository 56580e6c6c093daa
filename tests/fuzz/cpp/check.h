// What all targets share: numbers out of an input, what must hold, and the memory that a call takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace fuzz {

using Bytes = std::vector<uint8_t>;

#define MUST_HOLD(condition)                                                              \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (0)

// Numbers from the start of an input on; zeros where it has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  uint32_t number(size_t bytes) {
    uint32_t value = 0;
    for (size_t k = 0; k < bytes; ++k) value |= uint32_t{next_ == end_ ? uint8_t{0} : *next_++} << (8 * k);
    return value;
  }
  size_t below(size_t most) { return number(most > 256 ? 2 : 1) % most; }
  bool seldom() { return number(1) >= 240; }
  Bytes take(size_t count) {
    const uint8_t* const first = next_;
    next_ += std::min(count, static_cast<size_t>(end_ - next_));
    return Bytes(first, next_);
  }
  Bytes rest() { return take(static_cast<size_t>(end_ - next_)); }
  // At least one byte: few of them, repeated, fill an array of any size.
  Bytes pattern() {
    Bytes found = take(1 + below(32));
    if (found.empty()) found.push_back(0);
    return found;
  }

 private:
  const uint8_t *next_, *end_;
};

// An input that takes more than this, of the processor's time so that other programs do not count, is a hang.
class Budget {
 public:
  ~Budget() { MUST_HOLD(std::clock() - start_ < 5 * CLOCKS_PER_SEC); }

 private:
  std::clock_t start_ = std::clock();
};

// Bytes that this thread has allocated since, at most at a time; 0 where no sanitizer counts them.
class Memory {
 public:
  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  size_t peak() const;
  size_t live() const;
};

}  // namespace fuzz
