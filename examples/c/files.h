/* Files, memory and errors of the examples. Every function ends the program with a message where it fails, which a
 * product would not do. */
#ifndef FILES_H
#define FILES_H

#include <stddef.h>
#include <stdint.h>

#include "rdc.h"

typedef struct bytes {
  uint8_t* data; /* from malloc */
  size_t size;
} bytes;

void fail(const char* what, const char* why);
void check(rdc_status status, const char* what); /* RDC_DAMAGED becomes a warning */
void* allocate(uint64_t count, size_t size);     /* zeroed */

bytes read_file(const char* path);
void write_file(const char* path, const void* head, size_t head_size, const void* data, size_t size);
char* path_in(const char* folder, const char* name); /* from malloc */

rdc_bundle* open_bundle(const char* folder);
rdc_symbols allocate_symbols(const rdc_shapes* shapes);
void free_symbols(rdc_symbols* symbols);

#endif
