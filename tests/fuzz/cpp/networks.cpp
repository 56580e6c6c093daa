// The integer networks that say which table a latent has: an input describes layers, a context and symbols.
//
// Must hold: std::invalid_argument is all that is thrown; and what comes out is, by every code path, what the formulas
// of scale_network.h and scale_context.h give, which are computed here once more, one by one and in 64 bits.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "../../../kernels/entropy_coder/scale_context.h"
#include "../../../kernels/entropy_coder/scale_network.h"
#include "../../../kernels/entropy_coder/simd.h"
#include "check.h"

namespace {

using fuzz::Bytes;
using fuzz::Input;

template <class T>
std::vector<T> filled(Input& in, size_t count, size_t bytes) {
  const Bytes pattern = in.pattern();
  std::vector<T> values(count);
  for (size_t k = 0; k < count; ++k) {
    uint32_t value = 0;
    for (size_t b = 0; b < bytes; ++b) value |= uint32_t{pattern[(k * bytes + b) % pattern.size()]} << (8 * b);
    values[k] = static_cast<T>(value);
  }
  return values;
}

std::vector<int32_t> biases(Input& in, size_t count) {
  auto values = filled<int32_t>(in, count, in.seldom() ? 4 : 2);
  if (in.number(1) & 1)
    for (int32_t& value : values) value = -(value & 0x7fffffff);
  return values;
}

std::vector<int32_t> shifts(Input& in, size_t count, int32_t most) {
  auto values = filled<int32_t>(in, count, 1);
  const bool any = in.seldom();
  for (int32_t& value : values) value = any ? value - 100 : 1 + value % most;
  return values;
}

int64_t rounded_shift(int64_t sum, int32_t shift) { return (sum + (int64_t{1} << (shift - 1))) >> shift; }

int64_t clipped(int64_t value, int64_t most) { return std::max<int64_t>(0, std::min(value, most)); }

std::vector<uint8_t> by_the_formula(const std::vector<rdc::ScaleLayer>& layers, size_t shuffle, std::vector<int32_t> in,
                                    size_t height, size_t width) {
  for (const rdc::ScaleLayer& layer : layers) {
    const auto inputs = static_cast<size_t>(layer.inputs), outputs = static_cast<size_t>(layer.outputs);
    const auto kernel = static_cast<ptrdiff_t>(layer.kernel), border = kernel / 2;
    std::vector<int32_t> out(outputs * height * width);
    for (size_t o = 0; o < outputs; ++o)
      for (ptrdiff_t y = 0; y < static_cast<ptrdiff_t>(height); ++y)
        for (ptrdiff_t x = 0; x < static_cast<ptrdiff_t>(width); ++x) {
          int64_t sum = layer.bias[o];
          for (size_t i = 0; i < inputs; ++i)
            for (ptrdiff_t ky = 0; ky < kernel; ++ky)
              for (ptrdiff_t kx = 0; kx < kernel; ++kx) {
                const ptrdiff_t row = y + ky - border, column = x + kx - border;
                if (row < 0 || column < 0 || row >= static_cast<ptrdiff_t>(height) ||
                    column >= static_cast<ptrdiff_t>(width))
                  continue;
                const size_t tap = static_cast<size_t>(ky * kernel + kx);
                const int64_t weight = layer.weights[(o * inputs + i) * static_cast<size_t>(kernel * kernel) + tap];
                sum += weight * in[(i * height + static_cast<size_t>(row)) * width + static_cast<size_t>(column)];
              }
          out[(o * height + static_cast<size_t>(y)) * width + static_cast<size_t>(x)] =
              static_cast<int32_t>(clipped(rounded_shift(sum, layer.shift[o]), layer.clip_max));
        }
    in = std::move(out);
  }
  const size_t channels = in.size() / (height * width) / (shuffle * shuffle);
  std::vector<uint8_t> shuffled(in.size());
  for (size_t c = 0; c < channels; ++c)
    for (size_t y = 0; y < height * shuffle; ++y)
      for (size_t x = 0; x < width * shuffle; ++x) {
        const size_t from = (c * shuffle + y % shuffle) * shuffle + x % shuffle;
        shuffled[(c * height * shuffle + y) * width * shuffle + x] =
            static_cast<uint8_t>(in[(from * height + y / shuffle) * width + x / shuffle]);
      }
  return shuffled;
}

void check_network(Input& in) {
  const size_t count = 1 + in.below(3), shuffle = in.seldom() ? in.below(18) : in.seldom() ? 4 : 1 + in.below(2);
  std::vector<rdc::ScaleLayer> layers(count);
  size_t inputs = 1 + in.below(in.seldom() ? 20 : 4);
  for (size_t k = 0; k < count; ++k) {
    const bool last = k + 1 == count;
    const size_t outputs =
        last ? shuffle * shuffle * (1 + in.below(3)) + (in.seldom() || !shuffle) : 1 + in.below(in.seldom() ? 20 : 4);
    const size_t kernel = in.seldom() ? in.below(6) : 1 + 2 * (in.number(1) & 1);
    rdc::ScaleLayer& layer = layers[k];
    layer.inputs = static_cast<int>(inputs);
    layer.outputs = static_cast<int>(outputs);
    layer.kernel = static_cast<int>(kernel);
    layer.weights = filled<int8_t>(in, outputs * inputs * kernel * kernel, 1);
    layer.bias = biases(in, outputs);
    layer.shift = shifts(in, outputs, 30);
    layer.clip_max = in.seldom() ? static_cast<int>(in.number(2)) - 9 : 1 + static_cast<int>(in.below(127));
    inputs = in.seldom() ? 1 + in.below(4) : outputs;
  }
  const size_t height = in.below(4), width = in.below(in.seldom() ? 10 : 5);
  const auto first = static_cast<size_t>(layers.front().inputs);
  auto z = filled<int32_t>(in, first * height * width, in.seldom() ? 4 : 1);
  if (!in.seldom())
    for (int32_t& value : z) value = value % 255 - 127;
  std::unique_ptr<rdc::ScaleNetwork> network;
  try {
    network = std::make_unique<rdc::ScaleNetwork>(layers, static_cast<int>(shuffle));
  } catch (const std::invalid_argument&) {
    return;
  }
  const bool within = std::all_of(z.begin(), z.end(), [](int32_t v) { return v >= -127 && v <= 127; });
  const size_t samples = network->channels() * shuffle * shuffle * height * width;
  std::vector<uint8_t> expected;
  if (within && samples) expected = by_the_formula(layers, shuffle, z, height, width);
  for (const rdc::Simd path : {rdc::Simd::kScalar, rdc::best_simd()}) {
    rdc::set_simd(path);
    std::vector<uint8_t> out(samples);
    try {
      network->run(z.data(), height, width, out.data(), 4);
    } catch (const std::invalid_argument&) {
      MUST_HOLD(!within);
      return;
    }
    MUST_HOLD(within);
    MUST_HOLD(out == expected);
    if (samples == 0) continue;
    const std::vector<int16_t> narrow(z.begin(), z.end());
    std::vector<uint8_t> again(samples);
    network->run(narrow.data(), height, width, again.data());
    MUST_HOLD(again == out);
  }
}

int64_t bits_of(int64_t symbol) {
  int64_t bits = 0;
  for (int64_t magnitude = std::llabs(symbol); magnitude; magnitude /= 2) ++bits;
  return bits;
}

struct Described {
  rdc::NeighbourLayer neighbours;
  rdc::HeadLayer heads;
  uint8_t order[4];
  size_t height, width;
  std::vector<uint8_t> start;

  size_t latent() const { return static_cast<size_t>(heads.latent); }
  size_t hidden() const { return static_cast<size_t>(neighbours.hidden); }
  size_t inputs() const { return static_cast<size_t>(neighbours.inputs); }
  size_t pass_of(size_t c, size_t y, size_t x) const { return (order[y % 2 * 2 + x % 2] + c / (latent() / 4)) % 4; }
};

// known: of each input that the context sees, the symbol or 0 where it is not known yet.
uint8_t index_by_the_formula(const Described& d, const std::vector<int32_t>& known, size_t pass, size_t c, size_t y,
                             size_t x) {
  const size_t pixels = d.height * d.width, at = y * d.width + x;
  int64_t change = d.heads.bias[pass * d.latent() + c];
  for (size_t k = 0; k < d.hidden(); ++k) {
    const int32_t shift = d.neighbours.shift[k];
    int64_t sum = d.neighbours.bias[pass * d.hidden() + k];
    sum += int64_t{d.start[(d.latent() + k) * pixels + at]} << shift;
    for (size_t i = 0; i < d.inputs(); ++i)
      for (size_t tap = 0; tap < 9; ++tap) {
        const size_t row = y + tap / 3, column = x + tap % 3;  // one more than it is
        if (row < 1 || column < 1 || row > d.height || column > d.width) continue;
        sum += d.neighbours.weights[(k * d.inputs() + i) * 9 + tap] *
               bits_of(known[i * pixels + (row - 1) * d.width + column - 1]);
      }
    change += d.heads.weights[(pass * d.latent() + c) * d.hidden() + k] *
              clipped(rounded_shift(sum, shift), d.neighbours.clip_max);
  }
  change = rounded_shift(change, d.heads.shift[pass * d.latent() + c]);
  return static_cast<uint8_t>(clipped(d.start[c * pixels + at] + change, d.heads.clip_max));
}

// The indexes of all passes. Symbol: int16_t or int32_t.
template <class Symbol>
std::vector<std::vector<uint8_t>> indexes_of(const Described& d, const rdc::ScaleContext& context,
                                             const std::vector<int32_t>& symbols) {
  const size_t pixels = d.height * d.width;
  const std::vector<Symbol> planes(symbols.begin(), symbols.end());
  std::vector<Symbol> made(d.latent() * pixels);
  rdc::ScaleState state(context, d.start.data(), d.height, d.width, 4);
  if (context.other()) state.see(planes.data() + d.latent() * pixels);
  std::vector<std::vector<uint8_t>> found;
  for (int pass = 0; pass < rdc::kPasses; ++pass) {
    found.emplace_back(state.size());
    state.indexes(found.back().data());
    std::vector<Symbol> of_pass(state.size());
    state.gather(planes.data(), of_pass.data());
    state.add(of_pass.data(), made.data());
  }
  MUST_HOLD(std::equal(made.begin(), made.end(), planes.begin()));
  return found;
}

void check_context(Input& in) {
  Described d;
  const size_t latent = in.seldom() ? 1 + in.below(90) : 4 * (1 + in.below(2));
  const size_t hidden = 1 + in.below(in.seldom() ? 12 : 4);
  const size_t other = in.seldom() ? 1 + in.below(20) : in.below(3), inputs = in.seldom() ? other : latent + other;
  if (inputs == 0) return;  // shapes of nothing are refused before they come here
  const uint8_t order = static_cast<uint8_t>(in.number(1));
  for (size_t k = 0; k < 4; ++k) d.order[k] = in.seldom() ? uint8_t{9} : static_cast<uint8_t>(order + k * 3) % 4;
  d.neighbours = {static_cast<int>(inputs), static_cast<int>(hidden), filled<int8_t>(in, hidden * inputs * 9, 1),
                  biases(in, 4 * hidden),   shifts(in, hidden, 20),   0};
  d.neighbours.clip_max = in.seldom() ? static_cast<int>(in.number(1)) : 1 + static_cast<int>(in.below(127));
  d.heads = {static_cast<int>(latent), filled<int8_t>(in, 4 * latent * hidden, 1), biases(in, 4 * latent),
             shifts(in, 4 * latent, 30), 0};
  d.heads.clip_max = in.seldom() ? static_cast<int>(in.number(2)) : 1 + static_cast<int>(in.below(255));
  d.height = 2 * in.below(3);
  d.width = 2 * in.below(in.seldom() ? 6 : 4);
  const size_t pixels = d.height * d.width;
  std::unique_ptr<rdc::ScaleContext> context;
  try {
    context = std::make_unique<rdc::ScaleContext>(d.neighbours, d.heads, d.order);
  } catch (const std::invalid_argument&) {
    return;
  }
  d.start = filled<uint8_t>(in, (latent + hidden) * pixels, 1);
  const bool wide = in.seldom();
  auto symbols = filled<int32_t>(in, inputs * pixels, wide ? 4 : 1);
  if (!wide)
    for (int32_t& symbol : symbols) symbol = static_cast<int8_t>(symbol);

  rdc::set_simd(rdc::Simd::kScalar);
  const auto found = indexes_of<int32_t>(d, *context, symbols);
  rdc::set_simd(rdc::best_simd());
  MUST_HOLD(indexes_of<int32_t>(d, *context, symbols) == found);
  if (!wide) MUST_HOLD(indexes_of<int16_t>(d, *context, symbols) == found);

  std::vector<int32_t> known(symbols.size(), 0);
  std::copy(symbols.begin() + static_cast<ptrdiff_t>(latent * pixels), symbols.end(),
            known.begin() + static_cast<ptrdiff_t>(latent * pixels));
  for (size_t pass = 0; pass < 4; ++pass) {
    size_t n = 0;
    std::vector<size_t> places;
    for (size_t c = 0; c < latent; ++c)
      for (size_t y = 0; y < d.height; ++y)
        for (size_t x = 0; x < d.width; ++x) {
          if (d.pass_of(c, y, x) != pass) continue;
          // Some of them, others for each size: the formula takes much longer than the code.
          if ((n + pixels) % 11 == pass) MUST_HOLD(found[pass][n] == index_by_the_formula(d, known, pass, c, y, x));
          ++n;
          places.push_back(c * pixels + y * d.width + x);
        }
    MUST_HOLD(n == found[pass].size());
    for (const size_t place : places) known[place] = symbols[place];
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::Budget budget;
  Input in(data, size);
  if (in.number(1) & 1)
    check_network(in);
  else
    check_context(in);
  return 0;
}
