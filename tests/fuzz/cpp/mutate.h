// The fuzzer's own mutation, as the mutators that know a structure use it for bytes without one.
#pragma once

#include <algorithm>
#include <random>

#include "check.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace fuzz {

inline void change_bytes(Bytes& bytes, size_t most) {
  const size_t size = std::min(bytes.size(), most);
  bytes.resize(std::max<size_t>(most, 1));
  bytes.resize(LLVMFuzzerMutate(bytes.data(), size, bytes.size()));
}

// Puts what a mutator has made into the fuzzer's memory, and returns its size.
inline size_t given(const Bytes& made, uint8_t* data, size_t most) {
  const size_t size = std::min(made.size(), most);
  std::copy_n(made.begin(), size, data);
  return size;
}

}  // namespace fuzz
