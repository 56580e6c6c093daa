// Most symbols are zero and add nothing, so symbols are spread into the sums around them, one by one, instead
// of being gathered: the work follows the number of nonzero ones.
#include "scale_context.h"

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

constexpr int kMaxBits = 32;                 // of a symbol's magnitude
constexpr size_t kPositionsOfThread = 3072;  // fewer are not worth a thread: about 1 ms

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument("scale context: " + message); }

int32_t bit_length(int32_t symbol) {
  uint32_t magnitude = symbol < 0 ? 0u - static_cast<uint32_t>(symbol) : static_cast<uint32_t>(symbol);
  int32_t bits = 0;
  for (; magnitude; magnitude >>= 1) ++bits;
  return bits;
}

// The indexes of one group of channels along one row.
struct Row {
  const int32_t* sums;  // of the first position, [hidden]; the next position is sums_step further
  size_t sums_step, hidden, pairs;
  const int32_t *bias, *shift;  // [hidden], the bias with the rounding term
  int32_t clip;
  const int16_t* weights;  // [block][pair][kBlock][2]
  size_t outputs;
  const int32_t *head_bias, *head_shift;  // [blocks * kBlock]
  int32_t head_clip;
  const uint8_t* guess;  // [outputs], then guess_step further
  size_t guess_step;
  uint8_t* out;  // outputs are out_step apart, positions 1
  size_t out_step, count;
};

#ifdef RDC_X86
namespace avx2 {
using namespace rdc::avx2;
#define RDC_TARGET RDC_TARGET_AVX2
#include "context_kernel.inc"
#undef RDC_TARGET
}  // namespace avx2
#endif

namespace portable {
using namespace rdc::portable;
#define RDC_TARGET
#include "context_kernel.inc"
#undef RDC_TARGET
}  // namespace portable

using AddTaps = void (*)(int32_t*, size_t, const int16_t*, size_t, int32_t);
using RunRow = void (*)(const Row&, int16_t*);

AddTaps best_add_taps() {
#ifdef RDC_X86
  if (simd() != Simd::kScalar) return avx2::add_taps;
#endif
  return portable::add_taps;
}

RunRow best_run_row() {
#ifdef RDC_X86
  if (simd() != Simd::kScalar) return avx2::run_row;
#endif
  return portable::run_row;
}

// Adds a symbol to the 3x3 sums around it; `sums` is the one above and to the left of its own.
void spread(AddTaps add, int32_t* sums, size_t row_step, const int16_t* taps, size_t hidden, int32_t symbol) {
  if (symbol) add(sums, row_step, taps, 3 * hidden, bit_length(symbol));
}

// Whatever the inputs are, |bias| + reach of the weights + rounding stays within 32 bits.
void check_reach(const int8_t* weights, size_t count, int64_t largest_input, int64_t others, int shift,
                 const std::string& where) {
  int64_t reach = others + (int64_t{1} << (shift - 1));
  for (size_t k = 0; k < count; ++k) reach += std::abs(int{weights[k]}) * largest_input;
  if (reach > INT32_MAX) fail("the sum of " + where + " can overflow 32 bits");
}

}  // namespace

ScaleContext::ScaleContext(const NeighbourLayer& neighbours, const HeadLayer& heads, const uint8_t order[4])
    : inputs_(static_cast<size_t>(neighbours.inputs)),
      hidden_(static_cast<size_t>(neighbours.hidden)),
      latent_(static_cast<size_t>(heads.latent)),
      bias_(neighbours.bias),
      shift_(neighbours.shift),
      clip_(neighbours.clip_max),
      head_clip_(heads.clip_max) {
  if (latent_ % kPasses) fail("latent channels must be a multiple of 4");
  if (inputs_ < latent_) fail("it must see at least the latent channels");
  if (clip_ < 1 || clip_ > 127) fail("clip_max of neighbours must be in [1, 127]");
  if (head_clip_ < 1 || head_clip_ > 255) fail("clip_max of heads must be in [1, 255]");
  bool seen[kPasses] = {};
  for (size_t corner = 0; corner < kPasses; ++corner) {
    if (order[corner] >= kPasses || seen[order[corner]]) fail("order must have each pass once");
    seen[order[corner]] = true;
    for (size_t group = 0; group < kPasses; ++group) corner_[(order[corner] + group) % kPasses][group] = corner;
  }
  for (size_t k = 0; k < hidden_; ++k) {
    const std::string where = "hidden channel " + std::to_string(k);
    if (shift_[k] < 1 || shift_[k] > 20) fail("shift of " + where + " must be in [1, 20]");
    for (size_t pass = 0; pass < kPasses; ++pass) {
      check_reach(&neighbours.weights[k * inputs_ * 9], inputs_ * 9, kMaxBits,
                  std::llabs(bias_[pass * hidden_ + k]) + (int64_t{255} << shift_[k]), shift_[k], where);
      bias_[pass * hidden_ + k] += 1 << (shift_[k] - 1);
    }
  }
  taps_.resize(inputs_ * 9 * hidden_);
  for (size_t k = 0; k < hidden_; ++k)
    for (size_t i = 0; i < inputs_; ++i)
      for (size_t tap = 0; tap < 9; ++tap)  // turned round: the input above adds to the sum below it
        taps_[(i * 9 + 8 - tap) * hidden_ + k] = neighbours.weights[(k * inputs_ + i) * 9 + tap];
  const size_t quarter = latent_ / kPasses;
  pairs_ = (hidden_ + 1) / 2;
  blocks_ = (quarter + kBlock - 1) / kBlock;
  head_weights_.assign(kPasses * kPasses * blocks_ * pairs_ * 2 * kBlock, 0);
  head_bias_.assign(kPasses * kPasses * blocks_ * kBlock, 0);
  head_shift_.assign(head_bias_.size(), 1);
  for (size_t row = 0; row < kPasses * latent_; ++row) {
    const std::string where = "head " + std::to_string(row);
    const int32_t shift = heads.shift[row], bias = heads.bias[row];
    if (shift < 1 || shift > 30) fail("shift of " + where + " must be in [1, 30]");
    check_reach(&heads.weights[row * hidden_], hidden_, 127, std::llabs(bias), shift, where);
    const size_t output = row % quarter, block = row / quarter * blocks_ + output / kBlock;
    const size_t place = block * kBlock + output % kBlock;
    head_bias_[place] = bias + (1 << (shift - 1));
    head_shift_[place] = shift;
    for (size_t k = 0; k < hidden_; ++k)
      head_weights_[((block * pairs_ + k / 2) * kBlock + output % kBlock) * 2 + k % 2] =
          heads.weights[row * hidden_ + k];
  }
}

ScaleState::ScaleState(const ScaleContext& context, const uint8_t* start, size_t height, size_t width, size_t threads)
    : context_(context),
      height_(height),
      width_(width),
      quarter_(height / 2 * (width / 2)),
      threads_(threads),
      start_(context.latent_ * height * width),
      sums_((height + 2) * (width + 2) * context.hidden_, 0) {
  const size_t pixels = height * width, latent = context.latent_;
  const uint8_t* features = start + latent * pixels;
  in_parts(height, parts(), [&](size_t, size_t first, size_t last) {
    for (size_t row = first; row < last; ++row) {  // by rows, whose channels fit into the cache together
      uint8_t* guesses = start_.data() + row * width * latent;
      for (size_t c = 0; c < latent; ++c)
        for (size_t column = 0; column < width; ++column)
          guesses[column * latent + c] = start[c * pixels + row * width + column];
      for (size_t k = 0; k < context.hidden_; ++k)
        for (size_t column = 0; column < width; ++column)
          sums_at(row + 1, column + 1)[k] = int32_t{features[k * pixels + row * width + column]} << context.shift_[k];
    }
  });
}

size_t ScaleState::parts() const {
  return std::max<size_t>(1, std::min(height_ / 2, parts_of(height_ * width_, kPositionsOfThread, threads_)));
}

template <class Work>
void ScaleState::over_rows(const Work& work) const {
  const size_t count = parts(), pairs = height_ / 2;  // of rows
  // A symbol adds to the row before its own and to the one after it: the last two rows of a part wait for the others.
  const auto own = [&](size_t last) { return last == pairs ? 2 * last : 2 * last - 2; };
  in_parts(pairs, count, [&](size_t, size_t first, size_t last) { work(2 * first, own(last)); });
  for (size_t part = 1; part < count; ++part) {
    const size_t border = 2 * (pairs * part / count);
    work(border - 2, border);
  }
}

template <class Symbol>
void ScaleState::see(const Symbol* other) {
  const AddTaps add = best_add_taps();
  const size_t hidden = context_.hidden_;
  over_rows([&](size_t first, size_t last) {
    for (size_t row = first; row < last; ++row)
      for (size_t input = context_.latent_; input < context_.inputs_; ++input) {
        const Symbol* symbols = other + ((input - context_.latent_) * height_ + row) * width_;
        for (size_t column = 0; column < width_; ++column)
          spread(add, sums_at(row, column), (width_ + 2) * hidden, taps_of(input), hidden, *symbols++);
      }
  });
}

void ScaleState::indexes(uint8_t* out) const {
  if (size() == 0) return;
  const ScaleContext& c = context_;
  const auto pass = static_cast<size_t>(pass_);
  const size_t outputs = c.latent_ / kPasses, padded = c.blocks_ * kBlock;
  const RunRow run = best_run_row();
  const size_t count = parts();
  const size_t room = 2 * c.pairs_ + 64;  // so that no two threads write to one line of the cache
  std::vector<int16_t> activations(count * room, 0);
  in_parts(height_ / 2, count, [&](size_t part, size_t first, size_t last) {
    for (size_t group = 0; group < kPasses; ++group) {
      const size_t corner = c.corner_[pass][group], column = corner % 2, head = pass * kPasses + group;
      uint8_t* result = out + group * outputs * quarter_ + first * (width_ / 2);
      for (size_t row = 2 * first + corner / 2; row < 2 * last; row += 2, result += width_ / 2)
        run({sums_at(row + 1, column + 1), 2 * c.hidden_, c.hidden_, c.pairs_, &c.bias_[pass * c.hidden_],
             c.shift_.data(), c.clip_, &c.head_weights_[head * padded * 2 * c.pairs_], outputs,
             &c.head_bias_[head * padded], &c.head_shift_[head * padded], c.head_clip_,
             &start_[(row * width_ + column) * c.latent_ + group * outputs], 2 * c.latent_, result, quarter_,
             width_ / 2},
            &activations[part * room]);
    }
  });
}

template <class Symbol>
void ScaleState::gather(const Symbol* plane, Symbol* symbols) const {
  const size_t outputs = context_.latent_ / kPasses;
  for (size_t c = 0; c < context_.latent_; ++c, plane += height_ * width_) {
    const size_t corner = context_.corner_[pass_][c / outputs];
    for (size_t row = corner / 2; row < height_; row += 2)
      for (size_t column = corner % 2; column < width_; column += 2) *symbols++ = plane[row * width_ + column];
  }
}

template <class Symbol>
void ScaleState::add(const Symbol* symbols, Symbol* plane) {
  const size_t outputs = context_.latent_ / kPasses, hidden = context_.hidden_;
  const AddTaps add = best_add_taps();
  const bool last = pass_ + 1 == kPasses;  // nothing follows it that could use its sums
  over_rows([&](size_t start, size_t end) {
    for (size_t pair = start / 2; pair < end / 2; ++pair)  // by rows, whose sums fit into the cache together
      for (size_t c = 0; c < context_.latent_; ++c) {
        const size_t corner = context_.corner_[pass_][c / outputs], row = 2 * pair + corner / 2;
        const Symbol* symbol = symbols + c * quarter_ + pair * (width_ / 2);
        for (size_t column = corner % 2; column < width_; column += 2, ++symbol) {
          if (plane) plane[(c * height_ + row) * width_ + column] = *symbol;
          if (!last) spread(add, sums_at(row, column), (width_ + 2) * hidden, taps_of(c), hidden, *symbol);
        }
      }
  });
  ++pass_;
}

template void ScaleState::see(const int16_t*);
template void ScaleState::see(const int32_t*);
template void ScaleState::gather(const int16_t*, int16_t*) const;
template void ScaleState::gather(const int32_t*, int32_t*) const;
template void ScaleState::add(const int16_t*, int16_t*);
template void ScaleState::add(const int32_t*, int32_t*);

}  // namespace rdc
