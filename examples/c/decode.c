/* rdc_decode BUNDLE IN.rdc OUT.ppm [BETA]: decodes a stream. BETA 0 (the default) is the picture for people, 1 the one
 * for machines. */
#include <stdio.h>
#include <stdlib.h>

#include "files.h"
#include "graphs.h"

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: %s BUNDLE IN.rdc OUT.ppm [BETA]\n", argv[0]);
    return 2;
  }
  float beta = argc == 5 ? strtof(argv[4], NULL) : 0;
  rdc_bundle* bundle = open_bundle(argv[1]);
  bytes data = read_file(argv[2]);
  rdc_stream* stream;
  rdc_header header;
  rdc_shapes shapes;
  rdc_chunk chunk;
  check(rdc_stream_open(data.data, data.size, (uint64_t)1 << 27, &stream), argv[2]);
  check(rdc_stream_header(stream, &header), argv[2]);
  if (rdc_stream_find(stream, RDC_LOSSLESS, 0, &chunk) == RDC_OK)
    fprintf(stderr, "note: the stream has the picture itself as a WebP or PNG file of %u bytes at %llu\n",
            (unsigned)chunk.length, (unsigned long long)chunk.offset);

  /* Bytes to symbols. */
  check(rdc_bundle_shapes(bundle, header.width, header.height, &shapes), argv[2]);
  rdc_symbols symbols = allocate_symbols(&shapes);
  check(rdc_read_symbols(bundle, stream, RDC_MAX_SLICES, &symbols), argv[2]);

  /* Symbols to pixels. */
  const char* graph = rdc_decode_graph(bundle, symbols.slices, beta);
  if (!graph) fail("BETA", "must be 0 to 1");
  float base_level, aux_level = 0;
  int32_t slices = (int32_t)symbols.slices;
  check(rdc_bundle_level(bundle, 1, header.base_quality, &base_level), "base_level");
  tensor inputs[8] = {symbols_tensor("z1", symbols.z1, shapes.z1), symbols_tensor("y1", symbols.y1, shapes.y1),
                      level_tensor("base_level", &base_level)};
  size_t count = 3;
  if (slices && beta != 1) { /* as rdc_decode_graph says */
    check(rdc_bundle_level(bundle, 2, header.aux_quality, &aux_level), "aux_level");
    inputs[count++] = symbols_tensor("z2", symbols.z2, shapes.z2);
    inputs[count++] = symbols_tensor("y2", symbols.y2, shapes.y2);
    inputs[count++] = level_tensor("aux_level", &aux_level);
    inputs[count++] = slices_tensor(&slices);
    if (beta != 0 || !rdc_bundle_graph(bundle, "decode_people")) inputs[count++] = level_tensor("beta", &beta);
  }
  size_t padded = (size_t)3 * shapes.padded_width * shapes.padded_height;
  int8_t* pixels = allocate(padded, 1);
  tensor output = pixels_tensor(pixels, &shapes);
  run_graph(bundle, argv[1], graph, inputs, count, &output, 1);

  size_t row = (size_t)3 * header.width, size = row * header.height;
  uint8_t* rgb = allocate(size, 1);
  check(rdc_crop_pixels(pixels, padded, header.width, header.height, rgb, row, size), "pixels");
  char head[64];
  int head_size = snprintf(head, sizeof head, "P6\n%u %u\n255\n", (unsigned)header.width, (unsigned)header.height);
  write_file(argv[3], head, (size_t)head_size, rgb, size);

  free(rgb);
  free(pixels);
  free_symbols(&symbols);
  rdc_stream_close(stream);
  rdc_bundle_close(bundle);
  free(data.data);
  return 0;
}
