// Pictures as applications hold them <-> the padded, signed pixels at the borders of the graphs. Compiled by NVRTC for
// the GPU at hand (src/rdc_codec/backends/cuda.py); one thread for each pixel of the output, offsets in bytes.

// uint8 [height, width, 3] with any strides -> int8 [rows, columns, 3] of value - 128, edges repeated.
extern "C" __global__ void pad_pixels(const unsigned char* image, long long row_step, long long pixel_step,
                                      long long colour_step, int height, int width, signed char* padded, int rows,
                                      int columns) {
  const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= static_cast<long long>(rows) * columns) return;
  const int row = static_cast<int>(i / columns), column = static_cast<int>(i % columns);
  const unsigned char* from =
      image + (row < height ? row : height - 1) * row_step + (column < width ? column : width - 1) * pixel_step;
  for (int colour = 0; colour < 3; ++colour)
    padded[3 * i + colour] = static_cast<signed char>(from[colour * colour_step] ^ 0x80);
}

// The upper left part of int8 [?, columns, 3] -> uint8 [height, width, 3] with any strides.
extern "C" __global__ void crop_pixels(const signed char* padded, int columns, unsigned char* image, long long row_step,
                                       long long pixel_step, long long colour_step, int height, int width) {
  const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= static_cast<long long>(height) * width) return;
  const int row = static_cast<int>(i / width), column = static_cast<int>(i % width);
  const signed char* from = padded + 3 * (static_cast<long long>(row) * columns + column);
  unsigned char* to = image + row * row_step + column * pixel_step;
  for (int colour = 0; colour < 3; ++colour) to[colour * colour_step] = static_cast<unsigned char>(from[colour]) ^ 0x80;
}
