// Vectorised with the GCC/Clang vector extensions, one body compiled for several instruction sets.
// Activations are stored as [pixel][channel] with a border of zeros, so that the zero padding needs
// no branches; a block of pixels may run over the end of its row, and what it computes there is dropped.
#include "scale_network.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#define RDC_TARGET(isa) __attribute__((target(isa)))
#endif

namespace rdc {
namespace {

constexpr size_t kBlock = 16;     // output channels computed together
constexpr size_t kMaxPixels = 8;  // pixels computed together, at most
using Int32x16 = int32_t __attribute__((vector_size(64)));
using Int8x16 = int8_t __attribute__((vector_size(16)));

[[noreturn]] void fail(size_t layer, const std::string& message) {
    throw std::invalid_argument("layer " + std::to_string(layer) + ": " + message);
}

size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

// [height + 2][width + 2][channels] and room for a pixel block that starts in the last column.
struct Plane {
    Plane(size_t height, size_t width, size_t channel_count)
        : stride(width + 2),
          channels(channel_count),
          values(((height + 2) * stride + kMaxPixels) * channel_count, 0) {}
    int32_t* at(size_t y, size_t x) { return values.data() + (y * stride + x) * channels; }
    const int32_t* at(size_t y, size_t x) const { return values.data() + (y * stride + x) * channels; }

    size_t stride, channels;
    std::vector<int32_t> values;
};

// Where the activations of a layer go: into the next plane, or shuffled into the result.
struct PlaneSink {
    Plane& plane;
    void store(size_t y, size_t x, size_t first, const int32_t* values) const {
        std::memcpy(plane.at(y + 1, x + 1) + first, values, kBlock * sizeof(int32_t));
    }
};

struct ShuffleSink {
    uint8_t* out;
    const std::vector<size_t>& offsets;  // of each channel's sample of pixel (0, 0)
    size_t row_step, column_step;
    void store(size_t y, size_t x, size_t first, const int32_t* values) const {
        uint8_t* pixel = out + y * row_step + x * column_step;
        const size_t count = std::min(kBlock, offsets.size() - first);
        for (size_t k = 0; k < count; ++k) pixel[offsets[first + k]] = static_cast<uint8_t>(values[k]);
    }
};

}  // namespace

// A layer's numbers as the inner loop reads them: weights [block][tap][input][kBlock].
struct PackedLayer {
    explicit PackedLayer(const ScaleLayer& layer)
        : inputs(static_cast<size_t>(layer.inputs)),
          kernel(static_cast<size_t>(layer.kernel)),
          blocks(round_up(static_cast<size_t>(layer.outputs), kBlock) / kBlock),
          clip_max(layer.clip_max),
          weights(blocks * kernel * kernel * inputs * kBlock, 0),
          bias(blocks * kBlock, 0),
          shift(blocks * kBlock, 1) {
        const size_t taps = kernel * kernel;
        for (size_t o = 0; o < static_cast<size_t>(layer.outputs); ++o) {
            shift[o] = layer.shift[o];
            bias[o] = layer.bias[o] + (1 << (layer.shift[o] - 1));
            for (size_t i = 0; i < inputs; ++i)
                for (size_t t = 0; t < taps; ++t)
                    weights[((o / kBlock * taps + t) * inputs + i) * kBlock + o % kBlock] =
                        layer.weights[(o * inputs + i) * taps + t];
        }
    }

    size_t inputs, kernel, blocks;
    int32_t clip_max;
    std::vector<int8_t> weights;
    std::vector<int32_t> bias;  // with the rounding term
    std::vector<int32_t> shift;
};

namespace {

template <size_t kPixels, class Sink>
inline __attribute__((always_inline)) void run_layer(const PackedLayer& layer, const Plane& in, size_t height,
                                                     size_t width, const Sink& sink) {
    const size_t border = layer.kernel == 1 ? 1 : 0;  // a 1x1 kernel starts inside the border
    const size_t block_weights = layer.kernel * layer.kernel * layer.inputs * kBlock;
    for (size_t b = 0; b < layer.blocks; ++b) {
        Int32x16 bias, shift;
        std::memcpy(&bias, &layer.bias[b * kBlock], sizeof bias);
        std::memcpy(&shift, &layer.shift[b * kBlock], sizeof shift);
        for (size_t y = 0; y < height; ++y)
            for (size_t x = 0; x < width; x += kPixels) {
                const int8_t* w = &layer.weights[b * block_weights];
                Int32x16 sum[kPixels];
                for (size_t p = 0; p < kPixels; ++p) sum[p] = bias;
                for (size_t ky = 0; ky < layer.kernel; ++ky)
                    for (size_t kx = 0; kx < layer.kernel; ++kx) {
                        const int32_t* a = in.at(y + border + ky, x + border + kx);
                        for (size_t i = 0; i < layer.inputs; ++i, w += kBlock) {
                            Int8x16 narrow;
                            std::memcpy(&narrow, w, sizeof narrow);
                            const Int32x16 weight = __builtin_convertvector(narrow, Int32x16);
#pragma GCC unroll 8
                            for (size_t p = 0; p < kPixels; ++p) sum[p] += weight * a[p * in.channels + i];
                        }
                    }
                for (size_t p = 0; p < kPixels && x + p < width; ++p) {
                    alignas(64) int32_t values[kBlock];
                    const Int32x16 shifted = sum[p] >> shift;
                    std::memcpy(values, &shifted, sizeof values);
                    for (size_t k = 0; k < kBlock; ++k)
                        values[k] = std::max(0, std::min(values[k], layer.clip_max));
                    sink.store(y, x + p, b * kBlock, values);
                }
            }
    }
}

#ifdef RDC_TARGET
template <class Sink>
RDC_TARGET("avx512f,avx512bw,avx512dq,avx512vl")
void run_layer_avx512(const PackedLayer& layer, const Plane& in, size_t height, size_t width, const Sink& sink) {
    run_layer<8>(layer, in, height, width, sink);
}

template <class Sink>
RDC_TARGET("avx2")
void run_layer_avx2(const PackedLayer& layer, const Plane& in, size_t height, size_t width, const Sink& sink) {
    run_layer<4>(layer, in, height, width, sink);
}
#endif

template <class Sink>
void dispatch_layer(const PackedLayer& layer, const Plane& in, size_t height, size_t width, const Sink& sink) {
#ifdef RDC_TARGET
    static const bool avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                               __builtin_cpu_supports("avx512vl");
    static const bool avx2 = __builtin_cpu_supports("avx2");
    if (avx512) return run_layer_avx512(layer, in, height, width, sink);
    if (avx2) return run_layer_avx2(layer, in, height, width, sink);
#endif
    run_layer<2>(layer, in, height, width, sink);
}

void check_layer(const ScaleLayer& layer, size_t index, bool last) {
    if (layer.kernel != 1 && layer.kernel != 3) fail(index, "kernel must be 1 or 3");
    const int clip_limit = last ? 255 : ScaleNetwork::kMaxInput;
    if (layer.clip_max < 1 || layer.clip_max > clip_limit)
        fail(index, "clip_max must be in [1, " + std::to_string(clip_limit) + "]");
    const size_t fan_in = layer.weights.size() / static_cast<size_t>(layer.outputs);
    for (size_t o = 0; o < static_cast<size_t>(layer.outputs); ++o) {
        if (layer.shift[o] < 1 || layer.shift[o] > 30)
            fail(index, "shift[" + std::to_string(o) + "] must be in [1, 30]");
        int64_t reach = std::llabs(layer.bias[o]) + (int64_t{1} << (layer.shift[o] - 1));
        for (size_t k = 0; k < fan_in; ++k)
            reach += std::abs(int{layer.weights[o * fan_in + k]}) * ScaleNetwork::kMaxInput;
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
void ScaleNetwork::run(const Input* z, size_t height, size_t width, uint8_t* out) const {
    if (height == 0 || width == 0) return;
    const size_t pixels = height * width;
    Plane plane(height, width, inputs_);
    for (size_t c = 0; c < inputs_; ++c)
        for (size_t y = 0; y < height; ++y)
            for (size_t x = 0; x < width; ++x) {
                const int32_t value = z[c * pixels + y * width + x];
                if (value > kMaxInput || value < -kMaxInput)
                    throw std::invalid_argument("z must be within +-" + std::to_string(kMaxInput));
                plane.at(y + 1, x + 1)[c] = value;
            }

    for (size_t k = 0; k + 1 < layers_.size(); ++k) {
        Plane next(height, width, layers_[k].blocks * kBlock);
        dispatch_layer(layers_[k], plane, height, width, PlaneSink{next});
        plane = std::move(next);
    }

    const auto r = static_cast<size_t>(shuffle_);
    const size_t out_width = width * r;
    std::vector<size_t> offsets(outputs_);
    for (size_t o = 0; o < outputs_; ++o)
        offsets[o] = o / (r * r) * (height * r * out_width) + o % (r * r) / r * out_width + o % r;
    dispatch_layer(layers_.back(), plane, height, width, ShuffleSink{out, offsets, r * out_width, r});
}

template void ScaleNetwork::run(const int8_t*, size_t, size_t, uint8_t*) const;
template void ScaleNetwork::run(const int16_t*, size_t, size_t, uint8_t*) const;
template void ScaleNetwork::run(const int32_t*, size_t, size_t, uint8_t*) const;

}  // namespace rdc
