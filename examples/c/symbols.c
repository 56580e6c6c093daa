/* rdc_symbols BUNDLE IN.rdc OUT.bin: says what is in a stream, and writes its symbols, int32 in the machine's order of
 * bytes: z1, y1 and, where the model has them, z2, y2. Then it writes the stream anew and compares. No networks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

static void print_chunks(const rdc_stream* stream, uint32_t count) {
  static const char* const states[] = {"ok", "damaged", "truncated", "missing"};
  for (uint32_t k = 0; k < count; ++k) {
    rdc_chunk chunk;
    check(rdc_stream_chunk(stream, k, &chunk), "chunk");
    printf("type %" PRIu32 ", offset %" PRIu64 ", %" PRIu32 " bytes, %s\n", chunk.type, chunk.offset, chunk.length,
           states[chunk.state]);
  }
}

/* Of a stream without other chunks: it is written to the same bytes. */
static void compare(const rdc_bundle* bundle, const rdc_header* header, const rdc_symbols* symbols, const bytes* data) {
  uint64_t bound;
  size_t size;
  check(rdc_stream_bound(bundle, header->width, header->height, &bound), "bound");
  uint8_t* out = allocate(bound, 1);
  check(rdc_write_stream(bundle, header, symbols, NULL, 0, out, (size_t)bound, &size), "writing");
  int same = size == data->size && memcmp(out, data->data, size) == 0;
  printf("written anew: %zu bytes, %s\n", size, same ? "the same" : "others");
  free(out);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s BUNDLE IN.rdc OUT.bin\n", argv[0]);
    return 2;
  }
  rdc_bundle* bundle = open_bundle(argv[1]);
  bytes data = read_file(argv[2]);
  rdc_stream* stream;
  rdc_header header;
  rdc_shapes shapes;
  check(rdc_stream_open(data.data, data.size, (uint64_t)1 << 27, &stream), argv[2]);
  check(rdc_stream_header(stream, &header), argv[2]);
  printf("%" PRIu32 "x%" PRIu32 ", quality %g (%g, %g)\n", header.width, header.height, header.quality,
         header.base_quality, header.aux_quality);
  print_chunks(stream, header.chunks);

  check(rdc_bundle_shapes(bundle, header.width, header.height, &shapes), argv[2]);
  rdc_symbols symbols = allocate_symbols(&shapes);
  check(rdc_read_symbols(bundle, stream, RDC_MAX_SLICES, &symbols), argv[2]);
  printf("%" PRIu32 " auxiliary slices\n", symbols.slices);
  compare(bundle, &header, &symbols, &data);

  size_t first = (size_t)(shapes.z1_count + shapes.y1_count), second = (size_t)(shapes.z2_count + shapes.y2_count);
  int32_t* all = allocate(first + second, sizeof *all);
  memcpy(all, symbols.z1, (size_t)shapes.z1_count * sizeof *all);
  memcpy(all + shapes.z1_count, symbols.y1, (size_t)shapes.y1_count * sizeof *all);
  if (second) {
    memcpy(all + first, symbols.z2, (size_t)shapes.z2_count * sizeof *all);
    memcpy(all + first + shapes.z2_count, symbols.y2, (size_t)shapes.y2_count * sizeof *all);
  }
  write_file(argv[3], all, (first + second) * sizeof *all, "", 0);
  free(all);
  free_symbols(&symbols);
  rdc_stream_close(stream);
  rdc_bundle_close(bundle);
  free(data.data);
  return 0;
}
