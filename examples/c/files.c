#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

void check(rdc_status status, const char* what) {
  if (status == RDC_DAMAGED) {
    fprintf(stderr, "warning: %s: %s\n", what, rdc_message());
  } else if (status != RDC_OK) {
    fprintf(stderr, "%s: ", rdc_status_name(status));
    fail(what, rdc_message());
  }
}

void* allocate(uint64_t count, size_t size) {
  void* memory = count <= SIZE_MAX / size ? calloc(count ? (size_t)count : 1, size) : NULL;
  if (!memory) fail("memory", "there is not enough");
  return memory;
}

bytes read_file(const char* path) {
  bytes file = {NULL, 0};
  size_t room = 0, got;
  FILE* in = fopen(path, "rb");
  if (!in) fail(path, "cannot be opened");
  do {
    if (file.size == room) {
      room = room ? 2 * room : 65536;
      file.data = realloc(file.data, room);
      if (!file.data) fail(path, "there is not enough memory");
    }
    got = fread(file.data + file.size, 1, room - file.size, in);
    file.size += got;
  } while (got);
  if (ferror(in)) fail(path, "cannot be read");
  fclose(in);
  return file;
}

void write_file(const char* path, const void* head, size_t head_size, const void* data, size_t size) {
  FILE* out = fopen(path, "wb");
  if (!out) fail(path, "cannot be written");
  int whole = fwrite(head, 1, head_size, out) == head_size && fwrite(data, 1, size, out) == size;
  if (fclose(out) != 0 || !whole) {
    remove(path); /* a part of a file helps nobody */
    fail(path, "cannot be written");
  }
}

char* path_in(const char* folder, const char* name) {
  size_t size = strlen(folder) + strlen(name) + 2;
  char* path = allocate(size, 1);
  snprintf(path, size, "%s/%s", folder, name);
  return path;
}

rdc_bundle* open_bundle(const char* folder) {
  char *manifest_path = path_in(folder, "manifest.json"), *tables_path = path_in(folder, "tables.npz");
  bytes manifest = read_file(manifest_path), tables = read_file(tables_path);
  rdc_bundle* bundle;
  check(rdc_bundle_open(manifest.data, manifest.size, tables.data, tables.size, &bundle), folder);
  free(manifest.data);
  free(tables.data);
  free(manifest_path);
  free(tables_path);
  return bundle;
}

rdc_symbols allocate_symbols(const rdc_shapes* shapes) {
  rdc_symbols symbols = {0};
  symbols.z1 = allocate(shapes->z1_count, sizeof(int32_t));
  symbols.y1 = allocate(shapes->y1_count, sizeof(int32_t));
  symbols.z1_room = (size_t)shapes->z1_count;
  symbols.y1_room = (size_t)shapes->y1_count;
  if (shapes->y2_count) {
    symbols.z2 = allocate(shapes->z2_count, sizeof(int32_t));
    symbols.y2 = allocate(shapes->y2_count, sizeof(int32_t));
    symbols.z2_room = (size_t)shapes->z2_count;
    symbols.y2_room = (size_t)shapes->y2_count;
  }
  return symbols;
}

void free_symbols(rdc_symbols* symbols) {
  free(symbols->z1);
  free(symbols->y1);
  free(symbols->z2);
  free(symbols->y2);
}
