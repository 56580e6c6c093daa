// The launchers of kernels.h on the CPU, element by element: the same arithmetic, so that it can be compared with the
// function bodies where there is no GPU. Slow, for tests only. Compile with -ffp-contract=off.
#include "elements.h"
#include "kernels.h"

namespace rdc {
namespace {

constexpr int kInvalid = 1;  // cudaErrorInvalidValue

struct Strides {
  int64_t n, c, h, w;

  Strides(const Shape& s, Layout layout) {
    const int64_t c_ = s.c, h_ = s.h, w_ = s.w;
    n = c_ * h_ * w_;
    if (layout == Layout::kPlanar)
      c = h_ * w_, h = w_, w = 1;
    else
      c = 1, h = w_ * c_, w = c_;
  }

  int64_t operator()(int image, int channel, int row, int column) const {
    return image * n + channel * c + row * h + column * w;
  }
};

template <typename F>
void for_elements(const Shape& s, Layout layout, F&& f) {
  const Strides to(s, layout);
  for (int n = 0; n < s.n; ++n)
    for (int c = 0; c < s.c; ++c)
      for (int row = 0; row < s.h; ++row)
        for (int column = 0; column < s.w; ++column) f(n, c, row, column, to(n, c, row, column));
}

template <typename F>
int with_type(Type type, F&& f) {
  if (type == Type::kFloat) return f(float{});
#if defined(__FLT16_MAX__)
  if (type == Type::kHalf) return f(_Float16{});
#endif
  return kInvalid;
}

int64_t picture_offset(const Shape& s, int n, int channel, int row, int column) {
  const int line = channel / kRun, byte = channel % kRun;
  return ((static_cast<int64_t>(n) * s.h + row) * kStride + line) * s.w * kRun + static_cast<int64_t>(column) * kRun +
         byte;
}

}  // namespace

int gain_quantize(const void* y, const void* mean, const float* gains, const float* level, const void* acc,
                  int32_t* symbols, void* decoded, Shape s, int32_t levels, int32_t pass, Type type, Layout layout,
                  Layout symbol_layout, void*) {
  if (levels < 2) return kInvalid;
  const Strides to_symbol(s, symbol_layout);
  return with_type(type, [&](auto element) {
    using T = decltype(element);
    for_elements(s, layout, [&](int n, int c, int row, int column, int64_t i) {
      const Position at = position_of(level[n], levels);
      const float gain = gain_between(gains[at.low * s.c + c], gains[(at.low + 1) * s.c + c], at.t);
      int32_t& sent = symbols[to_symbol(n, c, row, column)];
      sent = 0;
      static_cast<T*>(decoded)[i] = static_cast<const T*>(acc)[i];
      if (!is_active(pass, c, row, column, s.c)) return;
      const float m = to_float(static_cast<const T*>(mean)[i]);
      const float symbol = symbol_of(to_float(static_cast<const T*>(y)[i]), gain, m);
      sent = static_cast<int32_t>(symbol);
      from_float(accumulate(to_float(static_cast<const T*>(acc)[i]), symbol, m), static_cast<T*>(decoded)[i]);
    });
    return 0;
  });
}

int gain_dequantize(const int32_t* symbols, const void* mean, const void* acc, void* decoded, Shape s, int32_t pass,
                    Type type, Layout layout, Layout symbol_layout, void*) {
  const Strides to_symbol(s, symbol_layout);
  return with_type(type, [&](auto element) {
    using T = decltype(element);
    for_elements(s, layout, [&](int n, int c, int row, int column, int64_t i) {
      const T before = static_cast<const T*>(acc)[i];
      static_cast<T*>(decoded)[i] = before;
      if (!is_active(pass, c, row, column, s.c)) return;
      const float m = to_float(static_cast<const T*>(mean)[i]);
      from_float(accumulate(to_float(before), static_cast<float>(symbols[to_symbol(n, c, row, column)]), m),
                 static_cast<T*>(decoded)[i]);
    });
    return 0;
  });
}

int image_to_tensor(const int8_t* pixels, void* folded, Shape s, Type type, Layout layout, void*) {
  if (s.c != kImageChannels) return kInvalid;
  return with_type(type, [&](auto element) {
    using T = decltype(element);
    for_elements(s, layout, [&](int n, int c, int row, int column, int64_t i) {
      from_float(unit_of(pixels[picture_offset(s, n, c, row, column)]), static_cast<T*>(folded)[i]);
    });
    return 0;
  });
}

int blend_to_image(const void* x1, const void* r, const float* beta, int8_t* pixels, Shape s, Type type, Layout layout,
                   void*) {
  if (s.c != kImageChannels) return kInvalid;
  return with_type(type, [&](auto element) {
    using T = decltype(element);
    for_elements(s, layout, [&](int n, int c, int row, int column, int64_t i) {
      pixels[picture_offset(s, n, c, row, column)] =
          pixel_of(to_float(static_cast<const T*>(x1)[i]), to_float(static_cast<const T*>(r)[i]), 1.0f - beta[n]);
    });
    return 0;
  });
}

}  // namespace rdc
