// Python bindings: check shapes and types, release the GIL, call the C++ below.
//
// Nothing is converted silently: an array of another type, or one that is not contiguous or not aligned, is a
// ValueError that names the argument.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crc32c.h"
#include "rans.h"
#include "scale_context.h"
#include "scale_network.h"
#include "simd.h"
#include "tables.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Array = nb::ndarray<nb::ro, nb::device::cpu>;

bool is_contiguous(const Array& array) {
  if (array.size() == 0) return true;
  int64_t expected = 1;
  for (size_t k = array.ndim(); k--;) {
    if (array.shape(k) != 1 && array.stride(k) != expected) return false;
    expected *= static_cast<int64_t>(array.shape(k));
  }
  return true;
}

// `ndim` < 0 accepts any shape.
template <class T>
const T* require(const Array& array, const char* name, const char* type, int ndim) {
  const std::string prefix = std::string(name) + " must be ";
  if (array.dtype() != nb::dtype<T>()) throw nb::value_error((prefix + "an array of " + type).c_str());
  if (ndim >= 0 && array.ndim() != static_cast<size_t>(ndim))
    throw nb::value_error((prefix + std::to_string(ndim) + "-dimensional").c_str());
  if (!is_contiguous(array)) throw nb::value_error((prefix + "C-contiguous").c_str());
  if (array.size() && reinterpret_cast<uintptr_t>(array.data()) % alignof(T))
    throw nb::value_error((prefix + "aligned").c_str());
  return static_cast<const T*>(array.data());
}

// A new NumPy array that owns its memory. Uninitialised: the callers fill all of it.
template <class T>
nb::object new_array(std::unique_ptr<T[]> values, std::initializer_list<size_t> shape) {
  T* data = values.release();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T>(data, shape, owner));
}

// Any object with the buffer protocol, held for as long as this lives.
class Bytes {
 public:
  explicit Bytes(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~Bytes() { PyBuffer_Release(&view_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  const uint8_t* data() const { return static_cast<const uint8_t*>(view_.buf); }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};

std::unique_ptr<rdc::Tables> make_tables(const Array& cdf, const Array& sizes, const Array& minimum, int precision) {
  const auto* cdf_data = require<uint16_t>(cdf, "cdf", "uint16", 1);
  const auto* sizes_data = require<int32_t>(sizes, "sizes", "int32", 1);
  const auto* minimum_data = require<int32_t>(minimum, "minimum", "int32", 1);
  if (sizes.size() != minimum.size()) throw nb::value_error("sizes and minimum must have the same length");
  return std::make_unique<rdc::Tables>(cdf_data, cdf.size(), sizes_data, minimum_data, sizes.size(), precision);
}

struct PartArguments {
  Array symbols, indexes;
  const rdc::Tables* tables;
  int limit;
};

template <class Symbol>
nb::bytes encode_typed(const std::vector<PartArguments>& arguments, const char* type) {
  std::vector<rdc::Part<Symbol>> parts;
  for (const auto& [symbols, indexes, tables, limit] : arguments) {
    const auto* index_data = require<uint8_t>(indexes, "indexes", "uint8", -1);
    if (symbols.size() != indexes.size()) throw nb::value_error("symbols and indexes must have the same length");
    parts.push_back({require<Symbol>(symbols, "symbols", type, -1), index_data, indexes.size(), tables, limit});
  }
  rdc::Encoded encoded;
  {
    nb::gil_scoped_release unlocked;
    encoded = rdc::encode(parts);
  }
  return nb::bytes(encoded.data, encoded.size);
}

nb::bytes encode_parts(const std::vector<PartArguments>& parts) {
  if (!parts.empty() && parts[0].symbols.dtype() == nb::dtype<int16_t>())
    return encode_typed<int16_t>(parts, parts.size() > 1 ? "int16, as in the first part" : "int16");
  return encode_typed<int32_t>(parts, "int32 or int16, the same in all parts");
}

nb::bytes encode(const Array& symbols, const Array& indexes, const rdc::Tables& tables, int limit) {
  return encode_parts({{symbols, indexes, &tables, limit}});
}

nb::bytes encode_sequence(nb::sequence items) {
  std::vector<PartArguments> parts;
  for (nb::handle item : items) {
    if (nb::len(item) != 4) throw nb::value_error("a part must be (symbols, indexes, tables, limit)");
    parts.push_back({nb::cast<Array>(item[0]), nb::cast<Array>(item[1]), &nb::cast<const rdc::Tables&>(item[2]),
                     nb::cast<int>(item[3])});
  }
  return encode_parts(parts);
}

class Decoder {
 public:
  explicit Decoder(nb::handle data) : bytes_(data), decoder_(bytes_.data(), bytes_.size()) {}

  nb::object read(const Array& indexes, const rdc::Tables& tables, int limit, nb::handle dtype) {
    const auto* index_data = require<uint8_t>(indexes, "indexes", "uint8", -1);
    // Accepts whatever numpy.dtype accepts: "int16", np.int16, np.dtype(np.int16).
    const auto name = nb::cast<std::string>(nb::module_::import_("numpy").attr("dtype")(dtype).attr("name"));
    if (name == "int32") return read_typed<int32_t>(index_data, indexes.size(), tables, limit);
    if (name == "int16") return read_typed<int16_t>(index_data, indexes.size(), tables, limit);
    throw nb::value_error(("dtype must be int32 or int16, not " + name).c_str());
  }

  void finish() {
    use();
    decoder_.finish();
  }

 private:
  template <class Symbol>
  nb::object read_typed(const uint8_t* indexes, size_t n, const rdc::Tables& tables, int limit) {
    use();
    std::unique_ptr<Symbol[]> symbols;
    {
      nb::gil_scoped_release unlocked;
      symbols.reset(new Symbol[n]);
      decoder_.read(indexes, n, tables, limit, symbols.get());
    }
    used_ = false;
    return new_array(std::move(symbols), {n});
  }

  // One thread at a time, and not after an error or finish(): the state means nothing then.
  void use() {
    if (used_) throw nb::value_error("this decoder is in use, finished, or has met an error");
    used_ = true;
  }

  Bytes bytes_;
  rdc::Decoder decoder_;
  bool used_ = false;
};

nb::object decode(nb::handle data, const Array& indexes, const rdc::Tables& tables, int limit, nb::handle dtype) {
  Decoder decoder(data);
  nb::object symbols = decoder.read(indexes, tables, limit, dtype);
  decoder.finish();
  return symbols;
}

rdc::ScaleLayer make_layer(nb::handle item, size_t number) {
  const std::string where = "layer " + std::to_string(number) + ": ";
  if (nb::len(item) != 4) throw nb::value_error((where + "must be (weight, bias, shift, clip_max)").c_str());
  const auto weight = nb::cast<Array>(item[0]);
  const auto bias = nb::cast<Array>(item[1]);
  const auto shift = nb::cast<Array>(item[2]);
  const auto* w = require<int8_t>(weight, (where + "weight").c_str(), "int8", 4);
  const auto* b = require<int32_t>(bias, (where + "bias").c_str(), "int32", 1);
  const size_t outputs = weight.shape(0), inputs = weight.shape(1), kernel = weight.shape(2);
  constexpr size_t kMaxChannels = 1 << 16;
  if (!outputs || !inputs || outputs > kMaxChannels || inputs > kMaxChannels || weight.shape(3) != kernel)
    throw nb::value_error((where + "weight must be [outputs, inputs, k, k]").c_str());
  if (bias.size() != outputs || shift.size() != outputs)
    throw nb::value_error((where + "bias and shift must have one value per output").c_str());
  rdc::ScaleLayer layer;
  layer.inputs = static_cast<int>(inputs);
  layer.outputs = static_cast<int>(outputs);
  layer.kernel = static_cast<int>(std::min<size_t>(kernel, 255));
  layer.weights.assign(w, w + weight.size());
  layer.bias.assign(b, b + outputs);
  if (shift.dtype() == nb::dtype<uint8_t>()) {
    const auto* s = require<uint8_t>(shift, (where + "shift").c_str(), "uint8", 1);
    layer.shift.assign(s, s + outputs);
  } else {
    const auto* s = require<int32_t>(shift, (where + "shift").c_str(), "uint8 or int32", 1);
    layer.shift.assign(s, s + outputs);
  }
  layer.clip_max = nb::cast<int>(item[3]);
  return layer;
}

std::unique_ptr<rdc::ScaleNetwork> make_network(nb::sequence items, int shuffle) {
  std::vector<rdc::ScaleLayer> layers;
  for (nb::handle item : items) layers.push_back(make_layer(item, layers.size()));
  return std::make_unique<rdc::ScaleNetwork>(layers, shuffle);
}

size_t thread_count(int threads) {
  if (threads < 1) throw nb::value_error("threads must be at least 1");
  return static_cast<size_t>(threads);
}

template <class Input>
nb::object run_typed(const rdc::ScaleNetwork& network, const Input* z, size_t height, size_t width, size_t threads) {
  const size_t r = network.shuffle();
  std::unique_ptr<uint8_t[]> out;
  {
    nb::gil_scoped_release unlocked;
    out.reset(new uint8_t[network.channels() * height * r * width * r]);
    network.run(z, height, width, out.get(), threads);
  }
  return new_array(std::move(out), {network.channels(), height * r, width * r});
}

nb::object run_network(const rdc::ScaleNetwork& network, const Array& z, int threads) {
  if (z.ndim() != 3 || z.shape(0) != network.inputs())
    throw nb::value_error(("z must have shape [" + std::to_string(network.inputs()) + ", h, w]").c_str());
  const size_t h = z.shape(1), w = z.shape(2), n = thread_count(threads);
  if (z.dtype() == nb::dtype<int8_t>()) return run_typed(network, require<int8_t>(z, "z", "int8", 3), h, w, n);
  if (z.dtype() == nb::dtype<int16_t>()) return run_typed(network, require<int16_t>(z, "z", "int16", 3), h, w, n);
  return run_typed(network, require<int32_t>(z, "z", "int32, int16 or int8", 3), h, w, n);
}

// (weight, bias, shift, clip_max) of one half of a scale context.
struct ContextLayer {
  Array weight, bias, shift;
  int clip_max;
};

ContextLayer context_layer(nb::handle item, const std::string& name, int ndim) {
  if (nb::len(item) != 4) throw nb::value_error((name + " must be (weight, bias, shift, clip_max)").c_str());
  ContextLayer layer{nb::cast<Array>(item[0]), nb::cast<Array>(item[1]), nb::cast<Array>(item[2]),
                     nb::cast<int>(item[3])};
  require<int8_t>(layer.weight, (name + " weight").c_str(), "int8", ndim);
  require<int32_t>(layer.bias, (name + " bias").c_str(), "int32", 2);
  require<int32_t>(layer.shift, (name + " shift").c_str(), "int32", ndim == 4 ? 1 : 2);
  if (layer.weight.size() == 0 || layer.bias.size() == 0) throw nb::value_error((name + " must not be empty").c_str());
  return layer;
}

template <class T>
std::vector<T> copied(const Array& array) {
  const auto* data = static_cast<const T*>(array.data());
  return {data, data + array.size()};
}

std::unique_ptr<rdc::ScaleContext> make_context(nb::handle neighbours, nb::handle heads, const Array& order) {
  const ContextLayer first = context_layer(neighbours, "neighbours", 4), second = context_layer(heads, "heads", 3);
  const size_t hidden = first.weight.shape(0), latent = second.weight.shape(1);
  const bool first_fits = first.weight.shape(2) == 3 && first.weight.shape(3) == 3 &&
                          first.bias.shape(0) == rdc::kPasses && first.bias.shape(1) == hidden &&
                          first.shift.shape(0) == hidden;
  if (!first_fits) throw nb::value_error("neighbours must be [hidden, inputs, 3, 3], [4, hidden], [hidden]");
  const bool second_fits = second.weight.shape(0) == rdc::kPasses && second.weight.shape(2) == hidden &&
                           second.bias.shape(0) == rdc::kPasses && second.bias.shape(1) == latent &&
                           second.shift.shape(0) == rdc::kPasses && second.shift.shape(1) == latent;
  if (!second_fits) throw nb::value_error("heads must be [4, latent, hidden], [4, latent], [4, latent]");
  const auto* passes = require<uint8_t>(order, "order", "uint8", 2);
  if (order.shape(0) != 2 || order.shape(1) != 2) throw nb::value_error("order must be 2x2");
  return std::make_unique<rdc::ScaleContext>(
      rdc::NeighbourLayer{static_cast<int>(first.weight.shape(1)), static_cast<int>(hidden),
                          copied<int8_t>(first.weight), copied<int32_t>(first.bias), copied<int32_t>(first.shift),
                          first.clip_max},
      rdc::HeadLayer{static_cast<int>(latent), copied<int8_t>(second.weight), copied<int32_t>(second.bias),
                     copied<int32_t>(second.shift), second.clip_max},
      passes);
}

// The state of one picture with the array of its symbols, which are of one type throughout.
class ScaleState {
 public:
  ScaleState(const rdc::ScaleContext& context, const Array& start, const std::optional<Array>& other,
             const std::string& dtype, bool keep, int threads) {
    const auto* first = require<uint8_t>(start, "start", "uint8", 3);
    if (start.shape(0) != context.latent() + context.hidden() || start.shape(1) % 2 || start.shape(2) % 2)
      throw nb::value_error("start must be [latent + hidden, height, width] with even sides");
    if (dtype != "int32" && dtype != "int16") throw nb::value_error("dtype must be int32 or int16");
    narrow_ = dtype == "int16";
    const size_t height = start.shape(1), width = start.shape(2), count = thread_count(threads);
    if ((context.other() != 0) != other.has_value())
      throw nb::value_error("other must be there exactly if the context has one");
    if (other) {
      if (narrow_)
        require<int16_t>(*other, "other", "int16", 3);
      else
        require<int32_t>(*other, "other", "int32", 3);
      if (other->shape(0) != context.other() || other->shape(1) != height || other->shape(2) != width)
        throw nb::value_error("other must be [channels, height, width] as the context and start have them");
    }
    latent_ = context.latent();
    symbols = nb::none();
    if (keep && narrow_) symbols = zeros(narrow_plane_, height, width);
    if (keep && !narrow_) symbols = zeros(plane_, height, width);
    nb::gil_scoped_release unlocked;
    state_ = std::make_unique<rdc::ScaleState>(context, first, height, width, count);
    if (other && narrow_) state_->see(static_cast<const int16_t*>(other->data()));
    if (other && !narrow_) state_->see(static_cast<const int32_t*>(other->data()));
  }

  nb::object indexes() {
    const Use use(*this);
    std::unique_ptr<uint8_t[]> out(new uint8_t[state_->size()]);
    {
      nb::gil_scoped_release unlocked;
      state_->indexes(out.get());
    }
    return new_array(std::move(out), {state_->size()});
  }

  nb::object gather(const Array& plane) {
    return narrow_ ? gather_typed<int16_t>(plane, "int16") : gather_typed<int32_t>(plane, "int32");
  }

  void add(const Array& received) {
    if (narrow_)
      add_typed(received, "int16", narrow_plane_);
    else
      add_typed(received, "int32", plane_);
  }

  nb::object symbols;

 private:
  // One thread at a time, and only while there is a pass left.
  class Use {
   public:
    explicit Use(ScaleState& state) : state_(state) {
      if (state.used_) throw nb::value_error("this state is in use");
      if (state.state_->pass() >= rdc::kPasses) throw nb::value_error("all passes are there already");
      state.used_ = true;
    }
    ~Use() { state_.used_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    ScaleState& state_;
  };

  template <class Symbol>
  nb::object zeros(Symbol*& plane, size_t height, size_t width) {
    std::unique_ptr<Symbol[]> values(new Symbol[latent_ * height * width]());
    plane = values.get();
    return new_array(std::move(values), {latent_, height, width});
  }

  template <class Symbol>
  nb::object gather_typed(const Array& plane, const char* type) {
    const Use use(*this);
    const auto* all = require<Symbol>(plane, "plane", type, 3);
    if (plane.shape(0) != latent_ || plane.shape(1) != state_->height() || plane.shape(2) != state_->width())
      throw nb::value_error("plane must be [latent, height, width]");
    std::unique_ptr<Symbol[]> out(new Symbol[state_->size()]);
    {
      nb::gil_scoped_release unlocked;
      state_->gather(all, out.get());
    }
    return new_array(std::move(out), {state_->size()});
  }

  template <class Symbol>
  void add_typed(const Array& received, const char* type, Symbol* plane) {
    const Use use(*this);
    const auto* values = require<Symbol>(received, "symbols", type, 1);
    if (received.size() != state_->size()) throw nb::value_error("symbols must be those of the next pass");
    nb::gil_scoped_release unlocked;
    state_->add(values, plane);
  }

  bool used_ = false, narrow_ = false;
  size_t latent_;
  int32_t* plane_ = nullptr;
  int16_t* narrow_plane_ = nullptr;
  std::unique_ptr<rdc::ScaleState> state_;
};

uint32_t crc32c(nb::handle buffer, uint32_t value) {
  const Bytes bytes(buffer);
  nb::gil_scoped_release unlocked;
  return rdc::crc32c(bytes.data(), bytes.size(), value);
}

constexpr const char* kSimdNames[] = {"scalar", "avx2", "avx512"};  // in the order of rdc::Simd

void set_simd(const std::string& name) {
  if (name == "auto") return rdc::set_simd(rdc::best_simd());
  for (int k = 0; k < 3; ++k) {
    if (name != kSimdNames[k]) continue;
    const auto path = static_cast<rdc::Simd>(k);
    if (path > rdc::best_simd()) throw nb::value_error(("this processor or build has no " + name).c_str());
    return rdc::set_simd(path);
  }
  throw nb::value_error("simd must be \"auto\", \"scalar\", \"avx2\" or \"avx512\"");
}

const char* simd() { return kSimdNames[static_cast<int>(rdc::simd())]; }

}  // namespace

NB_MODULE(native, m) {
#ifdef NDEBUG
  nb::set_leak_warnings(false);  // a daemon thread may hold a codec at exit, which is no fault of anybody
#endif
  m.doc() = "Entropy coding and checksums of the rdc codec.";
  nb::exception<rdc::CorruptStream>(m, "CorruptStream", PyExc_ValueError);

  nb::class_<rdc::Tables>(m, "Tables")
      .def(nb::new_(&make_tables), "cdf"_a, "sizes"_a, "minimum"_a, "precision"_a = rdc::kMaxPrecision)
      .def("__len__", [](const rdc::Tables& t) { return t.count; })
      .def_ro("precision", &rdc::Tables::precision);

  nb::class_<rdc::ScaleNetwork>(m, "ScaleNetwork")
      .def(nb::new_(&make_network), "layers"_a, "shuffle"_a = 4)
      .def("__call__", &run_network, "z"_a, "threads"_a = 1);

  nb::class_<rdc::ScaleContext>(m, "ScaleContext")
      .def(nb::new_(&make_context), "neighbours"_a, "heads"_a, "order"_a)
      .def_prop_ro("latent", &rdc::ScaleContext::latent)
      .def_prop_ro("hidden", &rdc::ScaleContext::hidden)
      .def_prop_ro("other", &rdc::ScaleContext::other);

  nb::class_<ScaleState>(m, "ScaleState")
      .def(nb::init<const rdc::ScaleContext&, const Array&, const std::optional<Array>&, const std::string&, bool,
                    int>(),
           "context"_a, "start"_a, "other"_a = nb::none(), "dtype"_a = "int32", "keep"_a = true, "threads"_a = 1,
           nb::keep_alive<1, 2>())
      .def("indexes", &ScaleState::indexes)
      .def("gather", &ScaleState::gather, "plane"_a)
      .def("add", &ScaleState::add, "symbols"_a)
      .def_ro("symbols", &ScaleState::symbols);

  nb::class_<Decoder>(m, "Decoder")
      .def(nb::init<nb::handle>(), "data"_a)
      .def("read", &Decoder::read, "indexes"_a, "tables"_a, "limit"_a, "dtype"_a = "int32")
      .def("finish", &Decoder::finish);

  m.def("encode", &encode, "symbols"_a, "indexes"_a, "tables"_a, "limit"_a);
  m.def("encode_parts", &encode_sequence, "parts"_a);
  m.def("decode", &decode, "data"_a, "indexes"_a, "tables"_a, "limit"_a, "dtype"_a = "int32");
  m.def("lanes", &rdc::lanes_for, "n"_a);
  m.def("crc32c", &crc32c, "buffer"_a, "value"_a = 0);
  m.def("set_simd", &set_simd, "name"_a);
  m.def("simd", &simd);
}
