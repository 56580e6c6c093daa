// Chunks to symbols and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bundle.h"
#include "container.h"
#include "rdc.h"

namespace rdc {

// Throws Error with RDC_INVALID, or with RDC_LIMIT where the arrays cannot be addressed here.
rdc_shapes shapes_of(const Bundle& bundle, uint32_t width, uint32_t height);

// Bounds, in bytes, of what read_symbols and write_stream take beside the caller's arrays, and of a stream without
// further contents. For shapes that shapes_of gave.
uint64_t working_memory(const Bundle& bundle, const rdc_shapes& shapes);
uint64_t stream_bound(const Bundle& bundle, const rdc_shapes& shapes);

void check_model(const Bundle& bundle, const rdc_header& header);

// Arrays: rdc_symbols or rdc_symbols16. Returns why auxiliary data ended early; empty where it did not.
template <class Arrays>
std::string read_symbols(const Bundle& bundle, const Stream& stream, uint32_t layers, Arrays& arrays);

// Returns how many bytes there are. They are written where they have room.
template <class Arrays>
size_t write_stream(const Bundle& bundle, const rdc_header& header, const Arrays& arrays,
                    const std::vector<Content>& contents, uint8_t* out, size_t room);

}  // namespace rdc
