// The first half of the integer network that says which table every latent has: hyper-latent symbols -> a first
// guess of each index, and features for the second half (scale_context.h).
// Normative: which CDF table a symbol was coded with follows from this arithmetic alone, so it must
// give the same integers on every machine. There is no floating point and no overflow in it.
//
// For each layer: acc = bias + sum(weight * input) with zero padding, then
// clip((acc + (1 << (shift - 1))) >> shift, 0, clip_max), the shift arithmetic. The last layer is
// followed by a pixel shuffle: output channel c, row y*r + i, column x*r + j is channel
// c*r*r + i*r + j at (y, x).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rdc {

struct ScaleLayer {
  int inputs;
  int outputs;
  int kernel;                   // 1 or 3
  std::vector<int8_t> weights;  // [outputs][inputs][kernel][kernel]
  std::vector<int32_t> bias;    // [outputs]
  std::vector<int32_t> shift;   // [outputs], 1 to 30
  int clip_max;                 // 1 to 127 (up to 255 in the last layer)
};

struct PackedLayer;

class ScaleNetwork {
 public:
  static constexpr int kMaxInput = 127;  // of any layer, in absolute value

  // Throws std::invalid_argument naming the layer and what is wrong with it. The sizes of each
  // layer's vectors are the caller's promise.
  ScaleNetwork(const std::vector<ScaleLayer>& layers, int shuffle);
  ~ScaleNetwork();
  ScaleNetwork(const ScaleNetwork&) = delete;
  ScaleNetwork& operator=(const ScaleNetwork&) = delete;

  size_t inputs() const { return inputs_; }
  size_t channels() const { return outputs_ / static_cast<size_t>(shuffle_ * shuffle_); }
  size_t shuffle() const { return static_cast<size_t>(shuffle_); }

  // z: [inputs, height, width] within +-127 (std::invalid_argument otherwise);
  // out: [channels, height * shuffle, width * shuffle]. On at most so many threads, the caller's among them.
  template <class Input>
  void run(const Input* z, size_t height, size_t width, uint8_t* out, size_t threads = 1) const;

 private:
  std::vector<PackedLayer> layers_;
  int shuffle_;
  size_t inputs_ = 0, outputs_ = 0;
};

}  // namespace rdc
