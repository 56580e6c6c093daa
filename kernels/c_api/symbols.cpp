#include "symbols.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "../entropy_coder/rans.h"
#include "error.h"

namespace rdc {
namespace {

constexpr int kHyperLimit = RDC_MAX_HYPER_SYMBOL, kSymbolLimit = RDC_MAX_SYMBOL;

// Sides of the planes of one picture, and what one branch has in them.
struct Sides {
  size_t hyper_rows, hyper_columns;

  explicit Sides(const rdc_shapes& shapes) : hyper_rows(shapes.z1[1]), hyper_columns(shapes.z1[2]) {}
  size_t hyper() const { return hyper_rows * hyper_columns; }
  size_t rows() const { return kLatentSteps * hyper_rows; }
  size_t columns() const { return kLatentSteps * hyper_columns; }
};

template <class Symbol>
struct Planes {
  Symbol *z, *y;
};

std::vector<uint8_t> hyper_indexes(const Branch& branch, const Sides& sides) {
  std::vector<uint8_t> indexes(branch.hyper * sides.hyper());
  for (size_t c = 0; c < branch.hyper; ++c)
    std::fill_n(indexes.begin() + static_cast<ptrdiff_t>(c * sides.hyper()), sides.hyper(), static_cast<uint8_t>(c));
  return indexes;
}

// What tells the table of each latent. z: as the branch's network takes it.
template <class Symbol>
ScaleState scale_state(const Branch& branch, const Symbol* z, const Sides& sides) {
  std::vector<uint8_t> start(branch.network.channels() * sides.rows() * sides.columns());
  branch.network.run(z, sides.hyper_rows, sides.hyper_columns, start.data());
  return ScaleState(branch.context, start.data(), sides.rows(), sides.columns());
}

// z of the auxiliary branch, then that of the primary one.
template <class Symbol>
std::vector<Symbol> joined(const Bundle& bundle, const Symbol* z2, const Symbol* z1, const Sides& sides) {
  std::vector<Symbol> z(z2, z2 + bundle.auxiliary->hyper * sides.hyper());
  z.insert(z.end(), z1, z1 + bundle.primary->hyper * sides.hyper());
  return z;
}

template <class Symbol>
void read_hyper(Decoder& decoder, const Branch& branch, const Sides& sides, Symbol* z) {
  const std::vector<uint8_t> indexes = hyper_indexes(branch, sides);
  decoder.read(indexes.data(), indexes.size(), branch.hyper_tables, kHyperLimit, z);
}

template <class Symbol>
std::vector<Symbol> read_pass(Decoder& decoder, const Branch& branch, const ScaleState& state) {
  std::vector<uint8_t> indexes(state.size());
  std::vector<Symbol> symbols(state.size());
  state.indexes(indexes.data());
  decoder.read(indexes.data(), indexes.size(), branch.latent_tables, kSymbolLimit, symbols.data());
  return symbols;
}

template <class Symbol>
void read_primary(const Bundle& bundle, const Stream& stream, const Sides& sides, const Planes<Symbol>& planes) {
  const rdc_chunk& chunk = *stream.find(RDC_PRIMARY, 0);  // a stream without one could not be opened
  if (chunk.state == RDC_CHUNK_DAMAGED) throw Error(RDC_CORRUPT, "primary data: the checksum is wrong");
  if (chunk.state != RDC_CHUNK_OK) throw Error(RDC_TRUNCATED, "primary data: the stream ends before it does");
  try {
    const Branch& branch = *bundle.primary;
    Decoder decoder(content_of(stream.data, chunk), chunk.length);
    read_hyper(decoder, branch, sides, planes.z);
    ScaleState state = scale_state(branch, planes.z, sides);
    for (int pass = 0; pass < kPasses; ++pass) {
      const std::vector<Symbol> symbols = read_pass<Symbol>(decoder, branch, state);
      state.add(symbols.data(), planes.y);
    }
    decoder.finish();
  } catch (const CorruptStream& error) {
    throw Error(RDC_CORRUPT, std::string("primary data: ") + error.what());
  }
}

// Reads slice after slice, at most `most` of them, until one is missing or not whole.
template <class Symbol>
uint32_t read_auxiliary(const Bundle& bundle, const Stream& stream, const Sides& sides, uint32_t most,
                        const Planes<Symbol>& primary, const Planes<Symbol>& planes, std::string& problem) {
  static const char* const kStates[] = {"", "the checksum is wrong", "it is cut off", "it is missing"};
  const Branch& branch = *bundle.auxiliary;
  std::unique_ptr<ScaleState> state;
  for (uint32_t slice = 0; slice < most; ++slice) {
    const rdc_chunk* chunk = stream.find(RDC_AUX_SLICE, slice);
    if (!chunk) return slice;
    const std::string where = "auxiliary slice " + std::to_string(slice) + ": ";
    if (chunk->state != RDC_CHUNK_OK) {
      problem = where + kStates[chunk->state];
      return slice;
    }
    try {
      Decoder decoder(content_of(stream.data, *chunk), chunk->length);
      std::vector<Symbol> z;
      if (!state) {
        z.resize(branch.hyper * sides.hyper());
        read_hyper(decoder, branch, sides, z.data());
        state.reset(new ScaleState(scale_state(branch, joined(bundle, z.data(), primary.z, sides).data(), sides)));
        state->see(primary.y);
      }
      const std::vector<Symbol> symbols = read_pass<Symbol>(decoder, branch, *state);
      decoder.finish();
      // Only now: nothing of a damaged slice may reach the picture.
      state->add(symbols.data(), planes.y);
      std::copy(z.begin(), z.end(), planes.z);
    } catch (const CorruptStream& error) {
      problem = where + error.what();
      return slice;
    }
  }
  return most;
}

// The chunks of one branch, segment by segment. primary: NULL for the primary branch itself.
template <class Symbol>
std::vector<Encoded> write_branch(const Bundle& bundle, const Branch& branch, const Sides& sides, uint32_t segments,
                                  const Planes<Symbol>* primary, const Planes<Symbol>& planes) {
  const std::vector<uint8_t> of_hyper = hyper_indexes(branch, sides);
  ScaleState state =
      scale_state(branch, primary ? joined(bundle, planes.z, primary->z, sides).data() : planes.z, sides);
  if (primary) state.see(primary->y);
  const int passes = primary ? 1 : kPasses;  // in one segment
  std::vector<Encoded> found;
  for (uint32_t segment = 0; segment < segments; ++segment) {
    std::vector<std::vector<uint8_t>> indexes;
    std::vector<std::vector<Symbol>> symbols;
    std::vector<Part<Symbol>> parts;
    if (segment == 0) parts.push_back({planes.z, of_hyper.data(), of_hyper.size(), &branch.hyper_tables, kHyperLimit});
    for (int pass = 0; pass < passes; ++pass) {
      indexes.emplace_back(state.size());
      symbols.emplace_back(state.size());
      state.indexes(indexes.back().data());
      state.gather(static_cast<const Symbol*>(planes.y), symbols.back().data());
      state.add(symbols.back().data(), static_cast<Symbol*>(nullptr));
      parts.push_back(
          {symbols.back().data(), indexes.back().data(), state.size(), &branch.latent_tables, kSymbolLimit});
    }
    Encoded encoded = encode(parts);
    // The encoder's buffer has room for the worst case: kept until all is written, it would be most of the memory.
    Encoded exact;
    exact.buffer.reset(new uint8_t[encoded.size]);
    exact.data = exact.buffer.get();
    exact.size = encoded.size;
    std::copy_n(encoded.data, encoded.size, exact.buffer.get());
    found.push_back(std::move(exact));
  }
  return found;
}

template <class Arrays>
void check_arrays(const rdc_shapes& shapes, const Arrays& arrays, bool auxiliary) {
  require(arrays.z1 && arrays.y1, "z1 and y1 must not be NULL");
  require(!arrays.z2 == !arrays.y2, "z2 and y2 must both be there or both be NULL");
  require(arrays.z2 || !auxiliary, "z2 and y2 must be there for auxiliary slices");
  const bool fits = arrays.z1_room >= shapes.z1_count && arrays.y1_room >= shapes.y1_count &&
                    (!arrays.z2 || (arrays.z2_room >= shapes.z2_count && arrays.y2_room >= shapes.y2_count));
  if (!fits) throw Error(RDC_NO_ROOM, "the arrays are smaller than the picture's symbols");
}

}  // namespace

rdc_shapes shapes_of(const Bundle& bundle, uint32_t width, uint32_t height) {
  for (const uint32_t side : {width, height})
    require(side >= 1 && side <= RDC_MAX_SIDE, "width and height must be 1 to 2^24");
  rdc_shapes shapes{};
  const uint32_t rows = (height - 1) / RDC_STRIDE + 1, columns = (width - 1) / RDC_STRIDE + 1;
  shapes.padded_height = RDC_STRIDE * rows;
  shapes.padded_width = RDC_STRIDE * columns;
  const auto fill = [rows, columns](size_t channels, size_t steps, uint32_t (&shape)[3], uint64_t& count) {
    shape[0] = static_cast<uint32_t>(channels);
    shape[1] = static_cast<uint32_t>(steps) * rows;
    shape[2] = static_cast<uint32_t>(steps) * columns;
    count = uint64_t{shape[1]} * shape[2] * channels;  // below 2^57: 2^18 steps of 16 pixels each way, 2^16 channels
  };
  fill(bundle.primary->hyper, 1, shapes.z1, shapes.z1_count);
  fill(bundle.primary->latent, kLatentSteps, shapes.y1, shapes.y1_count);
  if (bundle.auxiliary) {
    fill(bundle.auxiliary->hyper, 1, shapes.z2, shapes.z2_count);
    fill(bundle.auxiliary->latent, kLatentSteps, shapes.y2, shapes.y2_count);
  }
  // With room to spare for the arithmetic inside the coder, which is done in size_t.
  if (working_memory(bundle, shapes) > PTRDIFF_MAX) throw Error(RDC_LIMIT, "a picture too large for this machine");
  return shapes;
}

uint64_t stream_bound(const Bundle& bundle, const rdc_shapes& shapes) {
  const auto segments = [](uint64_t hyper, uint64_t latents) {
    constexpr uint64_t kParts = 1 + kPasses, kStates = 4 * kMaxLanes;
    return 2 * uint64_t{kMaxWordsPerSymbol} * (hyper + latents) + kParts * kStates;
  };
  constexpr uint64_t kHead = 64, kEntry = 9;
  return kHead + kEntry * (1 + bundle.slices()) + segments(shapes.z1_count, shapes.y1_count) +
         (bundle.auxiliary ? segments(shapes.z2_count, shapes.y2_count) : 0);
}

uint64_t working_memory(const Bundle& bundle, const rdc_shapes& shapes) {
  constexpr uint64_t kSymbolBytes = 4;
  const uint64_t hyper = uint64_t{shapes.z1[1] + 2u} * (shapes.z1[2] + 2u) + 8;  // with the border of a plane
  const uint64_t latents = uint64_t{shapes.y1[1] + 2u} * (shapes.y1[2] + 2u);
  uint64_t most = 0;
  for (const Branch* branch : {bundle.primary.get(), bundle.auxiliary.get()}) {
    if (!branch) continue;
    const uint64_t z = branch->hyper + bundle.primary->hyper;
    // Planes of the first half (two at once), z once more, its tables and the first guess.
    const uint64_t first = hyper * (2 * 2 * (branch->widest + 16) + 2 * kSymbolBytes * z + branch->hyper) +
                           latents * branch->network.channels() + 16 * latents;
    // The second half, and tables and symbols of all passes at once.
    const uint64_t second =
        latents * (branch->latent * (1 + 1 + kSymbolBytes) + kSymbolBytes * branch->context.hidden());
    most = std::max(most, first + second);
  }
  constexpr uint64_t kRest = 1 << 20;
  return kRest + most + 2 * stream_bound(bundle, shapes);
}

void check_model(const Bundle& bundle, const rdc_header& header) {
  if (std::memcmp(header.parse_id, bundle.parse_id.data(), sizeof header.parse_id) != 0 ||
      std::memcmp(header.picture_id, bundle.picture_id.data(), sizeof header.picture_id) != 0)
    throw Error(RDC_WRONG_MODEL, "the stream was written with another model than " + bundle.name);
}

template <class Arrays>
std::string read_symbols(const Bundle& bundle, const Stream& stream, uint32_t layers, Arrays& arrays) {
  using Symbol = std::remove_pointer_t<decltype(arrays.z1)>;
  check_model(bundle, stream.header);
  const rdc_shapes shapes = shapes_of(bundle, stream.header.width, stream.header.height);
  const uint32_t most = std::min(layers, bundle.slices());
  check_arrays(shapes, arrays, most > 0);
  const Sides sides(shapes);
  const Planes<Symbol> primary{arrays.z1, arrays.y1}, auxiliary{arrays.z2, arrays.y2};
  read_primary(bundle, stream, sides, primary);
  if (arrays.z2) {
    std::fill_n(arrays.z2, shapes.z2_count, Symbol{0});
    std::fill_n(arrays.y2, shapes.y2_count, Symbol{0});
  }
  std::string problem;
  arrays.slices = most ? read_auxiliary(bundle, stream, sides, most, primary, auxiliary, problem) : 0;
  return problem;
}

template <class Arrays>
size_t write_stream(const Bundle& bundle, const rdc_header& given, const Arrays& arrays,
                    const std::vector<Content>& contents, uint8_t* out, size_t room) {
  using Symbol = std::remove_pointer_t<decltype(arrays.z1)>;
  const rdc_shapes shapes = shapes_of(bundle, given.width, given.height);
  require(arrays.slices <= bundle.slices(), "there are more slices than the model has");
  check_arrays(shapes, arrays, arrays.slices > 0);
  for (const Content& content : contents) {
    require(content.type > RDC_AUX_SLICE + 1, "contents must have a type above 3");
    require(content.type != RDC_LOSSLESS || arrays.slices == 0, "beside a lossless picture there are no slices");
  }
  rdc_header header = given;
  std::copy_n(bundle.parse_id.begin(), sizeof header.parse_id, header.parse_id);
  std::copy_n(bundle.picture_id.begin(), sizeof header.picture_id, header.picture_id);

  const Sides sides(shapes);
  const Planes<Symbol> primary{arrays.z1, arrays.y1}, auxiliary{arrays.z2, arrays.y2};
  std::vector<Encoded> segments = write_branch<Symbol>(bundle, *bundle.primary, sides, 1, nullptr, primary);
  if (arrays.slices)
    for (Encoded& slice : write_branch<Symbol>(bundle, *bundle.auxiliary, sides, arrays.slices, &primary, auxiliary))
      segments.push_back(std::move(slice));
  std::vector<Content> chunks;
  for (const Encoded& segment : segments)
    chunks.push_back({chunks.empty() ? uint32_t{RDC_PRIMARY} : uint32_t{RDC_AUX_SLICE}, segment.data, segment.size});
  chunks.insert(chunks.end(), contents.begin(), contents.end());

  const std::vector<uint8_t> head = write_head(header, chunks);
  uint64_t size = head.size();
  for (const Content& chunk : chunks) size += chunk.size;
  if (size > PTRDIFF_MAX) throw Error(RDC_LIMIT, "a stream too large for this machine");
  if (size > room) return static_cast<size_t>(size);
  out = std::copy(head.begin(), head.end(), out);
  for (const Content& chunk : chunks) out = std::copy_n(chunk.data, chunk.size, out);
  return static_cast<size_t>(size);
}

template std::string read_symbols(const Bundle&, const Stream&, uint32_t, rdc_symbols&);
template std::string read_symbols(const Bundle&, const Stream&, uint32_t, rdc_symbols16&);
template size_t write_stream(const Bundle&, const rdc_header&, const rdc_symbols&, const std::vector<Content>&,
                             uint8_t*, size_t);
template size_t write_stream(const Bundle&, const rdc_header&, const rdc_symbols16&, const std::vector<Content>&,
                             uint8_t*, size_t);

}  // namespace rdc
