// The second half of the scale network: latents come in four passes, and the table of a latent follows from what the
// hyper-latents say of it (the first half, scale_network.h) and from the symbols of the passes before its own, and of
// another branch, in its neighbourhood. Normative, integers only: docs/entropy_coding.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rdc {

constexpr int kPasses = 4;

// With m(s) the bit length of |s|, of the known symbols: sum[k] = bias[pass][k] + sum(weight[k] * m) over 3x3
// neighbours + (feature[k] << shift[k]); hidden[k] = clip((sum[k] + (1 << (shift[k] - 1))) >> shift[k], 0, clip).
struct NeighbourLayer {
  int inputs, hidden;
  std::vector<int8_t> weights;  // [hidden][inputs][3][3]
  std::vector<int32_t> bias;    // [kPasses][hidden]
  std::vector<int32_t> shift;   // [hidden], 1 to 20
  int clip_max;                 // 1 to 127
};

// index = clip(start + ((bias + sum(weight * hidden) + (1 << (shift - 1))) >> shift), 0, clip)
struct HeadLayer {
  int latent;
  std::vector<int8_t> weights;  // [kPasses][latent][hidden]
  std::vector<int32_t> bias;    // [kPasses][latent]
  std::vector<int32_t> shift;   // [kPasses][latent], 1 to 30
  int clip_max;                 // 1 to 255
};

class ScaleContext {
 public:
  // order[i % 2][j % 2] is the pass of the first quarter of the channels; each further quarter is a pass later.
  // Throws std::invalid_argument naming what is wrong. The sizes of the vectors are the caller's promise.
  ScaleContext(const NeighbourLayer& neighbours, const HeadLayer& heads, const uint8_t order[4]);

  size_t latent() const { return latent_; }
  size_t hidden() const { return hidden_; }
  size_t other() const { return inputs_ - latent_; }

 private:
  friend class ScaleState;
  size_t inputs_, hidden_, latent_;
  size_t corner_[kPasses][kPasses];    // [pass][channel group] -> 2 * (row % 2) + column % 2
  std::vector<int16_t> taps_;          // [input][3 rows][3 columns][hidden], as an input adds to the sums around it
  std::vector<int32_t> bias_, shift_;  // [pass][hidden], with the rounding term; [hidden]
  int32_t clip_;
  size_t pairs_, blocks_;                        // of hidden channels; of outputs of one group
  std::vector<int16_t> head_weights_;            // [pass][group][block][pair][outputs of a block][2]
  std::vector<int32_t> head_bias_, head_shift_;  // [pass][group][block][outputs of a block], with the rounding term
  int32_t head_clip_;
};

// The latents of one picture, pass by pass: indexes() of the next pass, then add() its symbols.
class ScaleState {
 public:
  // start: [latent + hidden, height, width], what the first half gives: first guess of each index, then features.
  // height and width are even. Works on at most so many threads, the caller's among them.
  ScaleState(const ScaleContext& context, const uint8_t* start, size_t height, size_t width, size_t threads = 1);

  // Takes the symbols of the other branch, [other(), height, width]: once, before the first pass. Symbols are int16_t
  // or int32_t here and below, and may be anything that fits.
  template <class Symbol>
  void see(const Symbol* other);

  int pass() const { return pass_; }  // the next one; kPasses when there is none left
  size_t size() const { return quarter_ * context_.latent_; }
  size_t height() const { return height_; }
  size_t width() const { return width_; }

  // Of the latents of the next pass, in (channel, row, column) order: size() values each.
  void indexes(uint8_t* out) const;
  template <class Symbol>
  void gather(const Symbol* plane, Symbol* symbols) const;  // plane: [latent, height, width]
  template <class Symbol>
  void add(const Symbol* symbols, Symbol* plane);  // also puts them into the plane, if there is one

 private:
  int32_t* sums_at(size_t row, size_t column) {
    return sums_.data() + (row * (width_ + 2) + column) * context_.hidden_;
  }
  const int32_t* sums_at(size_t row, size_t column) const {
    return sums_.data() + (row * (width_ + 2) + column) * context_.hidden_;
  }
  const int16_t* taps_of(size_t input) const { return context_.taps_.data() + input * 9 * context_.hidden_; }
  // Calls work(first, last) for ranges of rows, several at once, whose symbols add to no sums of each other.
  template <class Work>
  void over_rows(const Work& work) const;
  size_t parts() const;  // of all rows

  const ScaleContext& context_;
  size_t height_, width_, quarter_;  // quarter_: latents of one channel in one pass
  size_t threads_;
  int pass_ = 0;
  std::vector<uint8_t> start_;  // [height][width][latent]
  std::vector<int32_t> sums_;   // [height + 2][width + 2][hidden]
};

}  // namespace rdc
