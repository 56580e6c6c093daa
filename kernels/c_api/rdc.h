/* rdc: reads and writes `.rdc` streams without Python.
 *
 * Between bytes and pictures stand symbols, whole numbers. This library turns bytes into symbols and back, with the
 * tables and integer networks of a bundle; the bundle's ONNX graphs, which any runtime may run, turn symbols into
 * pictures and back. docs/embedding.md shows the calls in order, docs/bitstream.md says what the bytes mean.
 *
 * Conventions:
 *  - Everything is in memory: the library opens no file, starts no thread, prints nothing and never ends the process.
 *  - Every function that can fail returns an rdc_status, and then writes nothing but what it says it writes. What went
 *    wrong is in rdc_message(). An argument that must not be NULL is checked, too.
 *  - A bundle or a stream is constant once it is open: any number of threads may use it. Closing is for one thread.
 *  - The caller brings the memory of all that grows with a picture, with its size, which is checked. What the library
 *    takes besides is bounded: rdc_working_memory() says by how much.
 *  - Structures have fields of fixed width (pointers and size_t aside), so that other languages can lay them out.
 */
#ifndef RDC_H
#define RDC_H

#include <stddef.h>
#include <stdint.h>

#define RDC_VERSION_MAJOR 1 /* a program needs a library of the same major version */
#define RDC_VERSION_MINOR 0 /* and of this or a later minor one */

#if defined(_WIN32) && defined(RDC_SHARED)
#ifdef RDC_BUILDING
#define RDC_API __declspec(dllexport)
#else
#define RDC_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define RDC_API __attribute__((visibility("default")))
#else
#define RDC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a function says of its call. Negative: an error, nothing was made. */
typedef int32_t rdc_status;
enum {
  RDC_OK = 0,
  RDC_DAMAGED = 1,      /* done, but without a part that is damaged or missing: rdc_message() says which */
  RDC_TRUNCATED = -1,   /* the stream ends before the part that is needed */
  RDC_CORRUPT = -2,     /* the bytes are not a stream or not a bundle, or a needed part is damaged */
  RDC_UNSUPPORTED = -3, /* well formed, but of a version or with a feature that this library cannot read */
  RDC_WRONG_MODEL = -4, /* the stream was written with another model than this bundle's */
  RDC_LIMIT = -5,       /* larger than a limit of the caller, the format or this machine */
  RDC_INVALID = -6,     /* an argument is not one that can be used */
  RDC_NO_ROOM = -7,     /* the memory that the caller brought is too small */
  RDC_NO_MEMORY = -8,   /* the system has no memory left */
  RDC_INTERNAL = -9     /* a defect of the library */
};

/* Returns RDC_VERSION_MAJOR << 16 | RDC_VERSION_MINOR of the library in use. */
RDC_API uint32_t rdc_version(void);

/* Returns what this thread's latest call that did not return RDC_OK had to say, in English, of at most 255 bytes. The
 * text is the library's, and stays until the thread's next such call. Never NULL. */
RDC_API const char* rdc_message(void);

/* Returns the name of a status, such as "RDC_CORRUPT"; "unknown status" for other numbers. */
RDC_API const char* rdc_status_name(rdc_status status);

/* ------------------------------------------------------------------------------------------------- constants */

#define RDC_STRIDE 64                 /* pixels: pictures are padded to multiples of this */
#define RDC_MAX_SIDE 16777216         /* pixels: the widest and highest picture of the format */
#define RDC_MAX_CHUNKS 65536          /* of a stream */
#define RDC_MAX_SLICES 4              /* auxiliary slices */
#define RDC_MAX_SYMBOL 2047           /* y lies within -2047 to 2047 */
#define RDC_MAX_HYPER_SYMBOL 127      /* z lies within -127 to 127 */
#define RDC_MAX_MANIFEST_BYTES 262144 /* a larger manifest.json is RDC_LIMIT */
#define RDC_MAX_TABLES_BYTES 16777216 /* so is a larger tables.npz, or one that holds more */

/* ---------------------------------------------------------------------------------------------------- bundle */

/* The coder's side of a bundle: tables, integer networks, identities and the quality map. */
typedef struct rdc_bundle rdc_bundle;

typedef struct rdc_bundle_info {
  uint32_t latent1, hyper1, levels1; /* primary branch: channels of y1 and of z1, rows of the gain table */
  uint32_t latent2, hyper2, levels2; /* auxiliary branch; 0 in a model that has none */
  uint32_t slices;                   /* auxiliary slices of a whole stream: 4, or 0 */
  uint8_t parse_id[32];              /* SHA-256 of what parsing depends on; a stream has the first 4 bytes */
  uint8_t picture_id[32];            /* SHA-256 of all weights; likewise */
} rdc_bundle_info;

/* Opens a bundle from the bytes of its `manifest.json` and `tables.npz`, which are not needed afterwards. The tables'
 * SHA-256 and the parse identity are computed and compared with the manifest's. Opening takes at most 128 MiB (the
 * shipped bundle: 5 MiB), the open bundle at most 64 MiB.
 * RDC_CORRUPT, RDC_UNSUPPORTED (another bundle format), RDC_LIMIT. */
RDC_API rdc_status rdc_bundle_open(const void* manifest, size_t manifest_size, const void* tables, size_t tables_size,
                                   rdc_bundle** bundle);

/* Closes a bundle. NULL is allowed. */
RDC_API void rdc_bundle_close(rdc_bundle* bundle);

RDC_API rdc_status rdc_bundle_describe(const rdc_bundle* bundle, rdc_bundle_info* info);

/* Returns the bundle's name, for people, in UTF-8; NULL for a NULL bundle. It lives as long as the bundle. */
RDC_API const char* rdc_bundle_name(const rdc_bundle* bundle);

/* Returns the file of a graph, such as "decode_full.onnx" for "decode_full"; NULL where the bundle has no such graph.
 * It lives as long as the bundle. docs/bundle.md lists graphs, inputs and outputs. */
RDC_API const char* rdc_bundle_graph(const rdc_bundle* bundle, const char* graph);

/* Checks that bytes are those of the file `name` of the bundle ("decode_full.onnx", "weights.bin"), by SHA-256.
 * RDC_CORRUPT where they are not, RDC_INVALID where the manifest names no such file. */
RDC_API rdc_status rdc_bundle_check_file(const rdc_bundle* bundle, const char* name, const void* data, size_t size);

/* Gives the qualities of the two branches for a dial of 0 to 100, by the bundle's map. All three are rounded to the
 * 1/256 that a header holds: pass `*dial` and the two others on as they are. RDC_INVALID. */
RDC_API rdc_status rdc_bundle_qualities(const rdc_bundle* bundle, double* dial, double* base_quality,
                                        double* aux_quality);

/* Gives the graphs' inputs base_level (branch 1) and aux_level (branch 2) for a quality, 0 to 100, of that branch. */
RDC_API rdc_status rdc_bundle_level(const rdc_bundle* bundle, uint32_t branch, double quality, float* level);

/* The arrays of one picture. Each is [channels, rows, columns], rows of columns without gaps: the layout of the
 * graphs' inputs and outputs z1, y1, z2, y2 for one picture. A model without auxiliary branch has counts 0 there. */
typedef struct rdc_shapes {
  uint32_t padded_width, padded_height; /* pixels, multiples of RDC_STRIDE */
  uint32_t z1[3], y1[3], z2[3], y2[3];
  uint64_t z1_count, y1_count, z2_count, y2_count; /* elements */
} rdc_shapes;

/* Gives the shapes for a picture of this size. RDC_INVALID for a side of 0 or above RDC_MAX_SIDE; RDC_LIMIT where an
 * array of int32 would not fit this machine's size_t. */
RDC_API rdc_status rdc_bundle_shapes(const rdc_bundle* bundle, uint32_t width, uint32_t height, rdc_shapes* shapes);

/* Gives a bound, in bytes, of what reading or writing the symbols of a picture of this size takes besides the caller's
 * memory. It is freed when the call returns. Errors as of rdc_bundle_shapes. */
RDC_API rdc_status rdc_working_memory(const rdc_bundle* bundle, uint32_t width, uint32_t height, uint64_t* bytes);

/* ---------------------------------------------------------------------------------------------------- stream */

/* A stream whose header and directory are valid. It refers to the caller's bytes. */
typedef struct rdc_stream rdc_stream;

typedef struct rdc_header {
  uint32_t width, height;                    /* pixels */
  double quality, base_quality, aux_quality; /* 0 to 100 in steps of 1/256 */
  uint8_t parse_id[4], picture_id[4];
  uint32_t header_bytes; /* where the first chunk begins */
  uint32_t chunks;       /* entries of the directory */
} rdc_header;

/* Types of chunks that this version knows; others are skipped. */
enum {
  RDC_PRIMARY = 1,
  RDC_AUX_SLICE = 2,
  RDC_ICC = 32,
  RDC_EXIF = 33,
  RDC_XMP = 34,
  RDC_ALPHA = 35,
  RDC_GREY = 36,
  RDC_LOSSLESS = 40
};

/* States of a chunk. */
enum {
  RDC_CHUNK_OK = 0,        /* all there, and the CRC is right */
  RDC_CHUNK_DAMAGED = 1,   /* all there, and the CRC is wrong */
  RDC_CHUNK_TRUNCATED = 2, /* the stream ends within it */
  RDC_CHUNK_MISSING = 3    /* the stream ends before it, and it is not empty */
};

typedef struct rdc_chunk {
  uint64_t offset; /* of its content in the stream, in bytes; may be beyond its end */
  uint32_t length; /* bytes of its content, as the directory says */
  uint32_t type;
  uint32_t state;
  uint32_t crc; /* CRC-32C of the content, as the directory says */
} rdc_chunk;

/* Reads the header and the directory of a stream, and checks every chunk by its CRC. A stream of any model can be
 * opened. The bytes must not change, and must outlive the stream. What it takes is at most 32 bytes for each byte of
 * the directory that is there, and 4 MiB altogether.
 * max_pixels: more than that, width times height, is RDC_LIMIT; 0: no limit.
 * RDC_TRUNCATED, RDC_CORRUPT, RDC_UNSUPPORTED, RDC_LIMIT. */
RDC_API rdc_status rdc_stream_open(const void* data, size_t size, uint64_t max_pixels, rdc_stream** stream);

/* Closes a stream. NULL is allowed. */
RDC_API void rdc_stream_close(rdc_stream* stream);

RDC_API rdc_status rdc_stream_header(const rdc_stream* stream, rdc_header* header);

/* Describes an entry of the directory, in the order of the stream; index from 0 to header.chunks - 1. */
RDC_API rdc_status rdc_stream_chunk(const rdc_stream* stream, uint32_t index, rdc_chunk* chunk);

/* Gives the chunk of a type, for RDC_AUX_SLICE the slice `nth`, else nth = 0. RDC_INVALID where the directory has none.
 */
RDC_API rdc_status rdc_stream_find(const rdc_stream* stream, uint32_t type, uint32_t nth, rdc_chunk* chunk);

/* Returns RDC_DAMAGED where any chunk is not whole; rdc_message() then names the first of them. RDC_OK otherwise. */
RDC_API rdc_status rdc_stream_check(const rdc_stream* stream);

/* Returns RDC_WRONG_MODEL where the stream is of another model than the bundle. rdc_read_symbols checks it, too. */
RDC_API rdc_status rdc_stream_check_model(const rdc_stream* stream, const rdc_bundle* bundle);

/* --------------------------------------------------------------------------------------------------- symbols */

/* The arrays of one picture, in the caller's memory, each with the number of elements that there is room for, at least
 * the counts of rdc_shapes. z2 and y2 may both be NULL where no auxiliary slices are read or written. */
typedef struct rdc_symbols {
  int32_t *z1, *y1, *z2, *y2;
  size_t z1_room, y1_room, z2_room, y2_room;
  uint32_t slices; /* auxiliary slices: to be written, or that were read */
} rdc_symbols;

typedef struct rdc_symbols16 {
  int16_t *z1, *y1, *z2, *y2;
  size_t z1_room, y1_room, z2_room, y2_room;
  uint32_t slices;
} rdc_symbols16;

/* Reads the symbols of a stream into the caller's arrays, with at most `layers` auxiliary slices (RDC_MAX_SLICES: all),
 * and says in symbols->slices how many there were. y2 has zeros where a slice was not read; without any slice, z2 and
 * y2 are zeros.
 * RDC_DAMAGED: auxiliary data is damaged or cut off; slices says how many were read before it. Errors: RDC_WRONG_MODEL;
 * RDC_TRUNCATED or RDC_CORRUPT for the primary chunk; RDC_NO_ROOM, RDC_INVALID, RDC_LIMIT, RDC_NO_MEMORY. After an
 * error the arrays may hold anything. */
RDC_API rdc_status rdc_read_symbols(const rdc_bundle* bundle, const rdc_stream* stream, uint32_t layers,
                                    rdc_symbols* symbols);
RDC_API rdc_status rdc_read_symbols16(const rdc_bundle* bundle, const rdc_stream* stream, uint32_t layers,
                                      rdc_symbols16* symbols);

/* A chunk to be written beside the symbols: of a type above 3, of less than 2^30 bytes. */
typedef struct rdc_content {
  uint32_t type;
  const void* data;
  size_t size;
} rdc_content;

/* Writes a stream, the same bytes as the Python package writes for these symbols.
 * header: width, height and the three qualities are used, the rest comes from the bundle. symbols->slices: auxiliary
 * slices to write, from the first on. contents: other chunks (NULL and 0 for none), written in the order given, in
 * which the known types must ascend; with RDC_LOSSLESS there are no auxiliary slices. out, room: where the stream goes,
 * which must not be where anything else is read from. *size: its bytes; with RDC_NO_ROOM those that it needs, and
 * nothing is written (out may be NULL for room 0). A stream never takes more than rdc_stream_bound() bytes and, for
 * each of the contents, its size and 14. RDC_INVALID: a size, quality, symbol or type out of range. RDC_NO_ROOM,
 * RDC_LIMIT, RDC_NO_MEMORY. */
RDC_API rdc_status rdc_write_stream(const rdc_bundle* bundle, const rdc_header* header, const rdc_symbols* symbols,
                                    const rdc_content* contents, uint32_t contents_count, void* out, size_t room,
                                    size_t* size);
RDC_API rdc_status rdc_write_stream16(const rdc_bundle* bundle, const rdc_header* header, const rdc_symbols16* symbols,
                                      const rdc_content* contents, uint32_t contents_count, void* out, size_t room,
                                      size_t* size);

/* Gives the bytes that a stream of a picture of this size takes at the very most, whatever the symbols are. Real ones
 * take a small part of it. Errors as of rdc_bundle_shapes. */
RDC_API rdc_status rdc_stream_bound(const rdc_bundle* bundle, uint32_t width, uint32_t height, uint64_t* bytes);

/* ---------------------------------------------------------------------------------------- pixels and graphs */

/* Makes the graphs' input `pixels` of a picture of 8-bit RGB: int8 [padded_height, padded_width, 3] of value - 128, the
 * last row and column repeated. size: bytes of `rgb`. row_bytes: from one row of the picture to the next, at least
 * 3 * width. room: elements of `pixels`. RDC_NO_ROOM, RDC_INVALID. */
RDC_API rdc_status rdc_pad_pixels(const uint8_t* rgb, size_t size, size_t row_bytes, uint32_t width, uint32_t height,
                                  int8_t* pixels, size_t room);

/* Makes a picture of 8-bit RGB of the graphs' output `pixels`, int8 [padded_height, padded_width, 3], and leaves out
 * the padding. count: elements of `pixels`. row_bytes: from one row of the picture to the next, at least 3 * width.
 * room: bytes of `rgb`. RDC_NO_ROOM, RDC_INVALID. */
RDC_API rdc_status rdc_crop_pixels(const int8_t* pixels, size_t count, uint32_t width, uint32_t height, uint8_t* rgb,
                                   size_t row_bytes, size_t room);

/* Returns the name of the graph that makes a picture of `slices` auxiliary slices at a beta of 0 to 1: "decode_base" of
 * the inputs z1, y1, base_level; "decode_people", which takes z2, y2, aux_level and slices as well; or "decode_full",
 * which takes beta, too. NULL for a NULL bundle, more slices than it has, or a beta out of range. */
RDC_API const char* rdc_decode_graph(const rdc_bundle* bundle, uint32_t slices, float beta);

#ifdef __cplusplus
}
#endif

#endif
