// Activations are stored as
// [pixel][channel] with a border of zeros, so that the zero padding needs no branches. A block of
// pixels may run over the end of its row, and what it computes there is dropped.
#include "scale_network.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "pair_sums.h"
#include "simd.h"
#include "workers.h"

namespace rdc {
namespace {

constexpr size_t kMaxPixels = 8;         // pixels computed together, at most
constexpr size_t kPixelsOfThread = 192;  // fewer are not worth a thread: about 1 ms

[[noreturn]] void fail(size_t layer, const std::string& message) {
  throw std::invalid_argument("layer " + std::to_string(layer) + ": " + message);
}

size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

// [height + 2][width + 2][channels] and room for a pixel block that starts in the last column.
struct Plane {
  Plane(size_t height, size_t width, size_t channel_count)
      : stride(width + 2), channels(channel_count), values(((height + 2) * stride + kMaxPixels) * channel_count, 0) {}
  int16_t* at(size_t y, size_t x) { return values.data() + (y * stride + x) * channels; }
  const int16_t* at(size_t y, size_t x) const { return values.data() + (y * stride + x) * channels; }

  size_t stride, channels;
  std::vector<int16_t> values;
};

// Where the activations of a layer go: into the next plane, or shuffled into the result.
struct PlaneSink {
  Plane& plane;
  void store(size_t y, size_t x, size_t first, const int32_t* values) const {
    int16_t* pixel = plane.at(y + 1, x + 1) + first;
    for (size_t o = 0; o < kBlock; ++o) pixel[o] = static_cast<int16_t>(values[o]);
  }
};

struct ShuffleSink {
  uint8_t* out;
  const std::vector<size_t>& offsets;  // of each channel's sample of pixel (0, 0)
  size_t row_step, column_step;        // column_step is the shuffle factor
  void store(size_t y, size_t x, size_t first, const int32_t* values) const {
    uint8_t* pixel = out + y * row_step + x * column_step;
    uint8_t bytes[kBlock];
    for (size_t o = 0; o < kBlock; ++o) bytes[o] = static_cast<uint8_t>(values[o]);
    if (column_step == 4) {  // the usual case: a block is 4 runs of 4 neighbours in a row
      static_assert(kBlock == 16, "a block is one plane's 4 x 4 samples");
      for (size_t o = 0; o < kBlock; o += 4) std::memcpy(pixel + offsets[first + o], bytes + o, 4);
      return;
    }
    const size_t count = std::min(kBlock, offsets.size() - first);
    for (size_t o = 0; o < count; ++o) pixel[offsets[first + o]] = bytes[o];
  }
};

}  // namespace

// A layer's numbers as the inner loop reads them: weights [block][tap][input pair][kBlock][2].
struct PackedLayer {
  explicit PackedLayer(const ScaleLayer& layer)
      : kernel(static_cast<size_t>(layer.kernel)),
        pairs(round_up(static_cast<size_t>(layer.inputs), 2) / 2),
        blocks(round_up(static_cast<size_t>(layer.outputs), kBlock) / kBlock),
        clip_max(layer.clip_max),
        weights(blocks * kernel * kernel * pairs * 2 * kBlock, 0),
        bias(blocks * kBlock, 0),
        shift(blocks * kBlock, 1) {
    const size_t taps = kernel * kernel, inputs = static_cast<size_t>(layer.inputs);
    for (size_t o = 0; o < static_cast<size_t>(layer.outputs); ++o) {
      shift[o] = layer.shift[o];
      bias[o] = layer.bias[o] + (1 << (layer.shift[o] - 1));
      for (size_t i = 0; i < inputs; ++i)
        for (size_t t = 0; t < taps; ++t)
          weights[(((o / kBlock * taps + t) * pairs + i / 2) * kBlock + o % kBlock) * 2 + i % 2] =
              layer.weights[(o * inputs + i) * taps + t];
    }
  }

  size_t kernel, pairs, blocks;
  int32_t clip_max;
  std::vector<int16_t> weights;
  std::vector<int32_t> bias;  // with the rounding term
  std::vector<int32_t> shift;
};

namespace {

#ifdef RDC_X86
namespace avx2 {
using namespace rdc::avx2;
#define RDC_TARGET RDC_TARGET_AVX2
#include "scale_kernel.inc"
#undef RDC_TARGET
}  // namespace avx2
#endif

namespace portable {
using namespace rdc::portable;
#define RDC_TARGET
#include "scale_kernel.inc"
#undef RDC_TARGET
}  // namespace portable

template <class Sink>
void dispatch_layer(const PackedLayer& layer, const Plane& in, size_t height, size_t width, const Sink& sink,
                    size_t threads) {
  const size_t parts = std::min(height, parts_of(height * width, kPixelsOfThread, threads));
  in_parts(height, parts, [&](size_t, size_t first, size_t last) {
#ifdef RDC_X86
    if (simd() != Simd::kScalar) return avx2::run_layer(layer, in, first, last, width, sink);
#endif
    portable::run_layer(layer, in, first, last, width, sink);
  });
}

void check_layer(const ScaleLayer& layer, size_t index, bool last) {
  if (layer.kernel != 1 && layer.kernel != 3) fail(index, "kernel must be 1 or 3");
  const int clip_limit = last ? 255 : ScaleNetwork::kMaxInput;
  if (layer.clip_max < 1 || layer.clip_max > clip_limit)
    fail(index, "clip_max must be in [1, " + std::to_string(clip_limit) + "]");
  const size_t fan_in = layer.weights.size() / static_cast<size_t>(layer.outputs);
  for (size_t o = 0; o < static_cast<size_t>(layer.outputs); ++o) {
    if (layer.shift[o] < 1 || layer.shift[o] > 30) fail(index, "shift[" + std::to_string(o) + "] must be in [1, 30]");
    int64_t reach = std::llabs(layer.bias[o]) + (int64_t{1} << (layer.shift[o] - 1));
    for (size_t k = 0; k < fan_in; ++k) reach += std::abs(int{layer.weights[o * fan_in + k]}) * ScaleNetwork::kMaxInput;
    if (reach > INT32_MAX) fail(index, "the sum of output " + std::to_string(o) + " can overflow 32 bits");
  }
}

}  // namespace

ScaleNetwork::ScaleNetwork(const std::vector<ScaleLayer>& layers, int shuffle) : shuffle_(shuffle) {
  if (layers.empty()) throw std::invalid_argument("a scale network needs at least one layer");
  if (shuffle < 1 || shuffle > 16) throw std::invalid_argument("shuffle must be in [1, 16]");
  for (size_t k = 0; k < layers.size(); ++k) {
    check_layer(layers[k], k, k + 1 == layers.size());
    if (k && layers[k].inputs != layers[k - 1].outputs)
      fail(k, "takes " + std::to_string(layers[k].inputs) + " channels, but layer " + std::to_string(k - 1) +
                  " gives " + std::to_string(layers[k - 1].outputs));
    layers_.emplace_back(layers[k]);
  }
  inputs_ = static_cast<size_t>(layers.front().inputs);
  outputs_ = static_cast<size_t>(layers.back().outputs);
  if (outputs_ % static_cast<size_t>(shuffle * shuffle))
    fail(layers.size() - 1, "its channels are not a multiple of shuffle * shuffle");
}

ScaleNetwork::~ScaleNetwork() = default;

template <class Input>
void ScaleNetwork::run(const Input* z, size_t height, size_t width, uint8_t* out, size_t threads) const {
  if (height == 0 || width == 0) return;
  const size_t pixels = height * width;
  Plane plane(height, width, round_up(inputs_, 2));
  for (size_t c = 0; c < inputs_; ++c)
    for (size_t y = 0; y < height; ++y)
      for (size_t x = 0; x < width; ++x) {
        const int32_t value = z[c * pixels + y * width + x];
        if (value > kMaxInput || value < -kMaxInput)
          throw std::invalid_argument("z must be within +-" + std::to_string(kMaxInput));
        plane.at(y + 1, x + 1)[c] = static_cast<int16_t>(value);
      }

  for (size_t k = 0; k + 1 < layers_.size(); ++k) {
    Plane next(height, width, layers_[k].blocks * kBlock);
    dispatch_layer(layers_[k], plane, height, width, PlaneSink{next}, threads);
    plane = std::move(next);
  }

  const auto r = static_cast<size_t>(shuffle_);
  const size_t out_width = width * r;
  std::vector<size_t> offsets(outputs_);
  for (size_t o = 0; o < outputs_; ++o)
    offsets[o] = o / (r * r) * (height * r * out_width) + o % (r * r) / r * out_width + o % r;
  dispatch_layer(layers_.back(), plane, height, width, ShuffleSink{out, offsets, r * out_width, r}, threads);
}

template void ScaleNetwork::run(const int8_t*, size_t, size_t, uint8_t*, size_t) const;
template void ScaleNetwork::run(const int16_t*, size_t, size_t, uint8_t*, size_t) const;
template void ScaleNetwork::run(const int32_t*, size_t, size_t, uint8_t*, size_t) const;

}  // namespace rdc
