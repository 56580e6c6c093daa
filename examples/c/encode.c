/* rdc_encode BUNDLE IN.ppm OUT.rdc [QUALITY]: encodes a picture, P6 with 255 as the largest value. QUALITY is 0 to 100
 * (50 if left out). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "graphs.h"

/* Returns the samples, and says how large the picture is. No comments in the head. */
static const uint8_t* parse_ppm(const bytes* file, const char* path, uint32_t* width, uint32_t* height) {
  char head[64] = "";
  unsigned w, h, most;
  int used = 0;
  memcpy(head, file->data, file->size < sizeof head - 1 ? file->size : sizeof head - 1);
  if (sscanf(head, "P6 %9u %9u %3u%n", &w, &h, &most, &used) != 3 || most != 255 || used == 0)
    fail(path, "is not a PPM file of 8 bits");
  if (w == 0 || h == 0 || file->size <= (size_t)used || (file->size - (size_t)used - 1) / 3 / w < h)
    fail(path, "ends early");
  *width = w;
  *height = h;
  return file->data + used + 1;
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: %s BUNDLE IN.ppm OUT.rdc [QUALITY]\n", argv[0]);
    return 2;
  }
  rdc_bundle* bundle = open_bundle(argv[1]);
  bytes file = read_file(argv[2]);
  rdc_header header = {0};
  rdc_bundle_info info;
  rdc_shapes shapes;
  const uint8_t* rgb = parse_ppm(&file, argv[2], &header.width, &header.height);
  header.quality = argc == 5 ? strtod(argv[4], NULL) : 50;
  check(rdc_bundle_describe(bundle, &info), argv[1]);
  check(rdc_bundle_qualities(bundle, &header.quality, &header.base_quality, &header.aux_quality), "QUALITY");
  check(rdc_bundle_shapes(bundle, header.width, header.height, &shapes), argv[2]);

  /* Pixels to symbols. */
  size_t row = (size_t)3 * header.width, padded = (size_t)3 * shapes.padded_width * shapes.padded_height;
  int8_t* pixels = allocate(padded, 1);
  check(rdc_pad_pixels(rgb, row * header.height, row, header.width, header.height, pixels, padded), argv[2]);
  rdc_symbols symbols = allocate_symbols(&shapes);
  symbols.slices = info.slices;
  float base_level, aux_level;
  check(rdc_bundle_level(bundle, 1, header.base_quality, &base_level), "base_level");
  tensor inputs[3] = {pixels_tensor(pixels, &shapes), level_tensor("base_level", &base_level)};
  tensor outputs[4] = {symbols_tensor("z1", symbols.z1, shapes.z1), symbols_tensor("y1", symbols.y1, shapes.y1)};
  if (info.slices) {
    check(rdc_bundle_level(bundle, 2, header.aux_quality, &aux_level), "aux_level");
    inputs[2] = level_tensor("aux_level", &aux_level);
    outputs[2] = symbols_tensor("z2", symbols.z2, shapes.z2);
    outputs[3] = symbols_tensor("y2", symbols.y2, shapes.y2);
    run_graph(bundle, argv[1], "encode_full", inputs, 3, outputs, 4);
  } else {
    run_graph(bundle, argv[1], "encode_base", inputs, 2, outputs, 2);
  }

  /* Symbols to bytes. */
  uint64_t bound;
  size_t size;
  check(rdc_stream_bound(bundle, header.width, header.height, &bound), argv[2]);
  uint8_t* stream = allocate(bound, 1);
  check(rdc_write_stream(bundle, &header, &symbols, NULL, 0, stream, (size_t)bound, &size), argv[2]);
  write_file(argv[3], stream, size, "", 0);

  free(stream);
  free(pixels);
  free_symbols(&symbols);
  rdc_bundle_close(bundle);
  free(file.data);
  return 0;
}
