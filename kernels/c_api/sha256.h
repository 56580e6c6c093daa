// SHA-256 (FIPS 180-4), which identifies models and the files of a bundle.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace rdc {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void update(const void* data, size_t size);
  void update(const std::string& text) { update(text.data(), text.size()); }
  Digest finish();  // once, after the last update

 private:
  void compress(const uint8_t* block);

  uint32_t state_[8];
  uint8_t block_[64];
  size_t filled_ = 0;
  uint64_t bytes_ = 0;
};

Digest sha256(const void* data, size_t size);

}  // namespace rdc
