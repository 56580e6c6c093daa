#include "bundle.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "json.h"
#include "npz.h"

namespace rdc {
namespace {

constexpr long kFormat = 2;
constexpr uint8_t kPassOrder[4] = {0, 2, 3, 1};
constexpr long kMaxChannels = 65536, kMaxLevels = 65536, kMaxLayers = 16;
constexpr uint32_t kMaxQuality = 100 * 256;

[[noreturn]] void fail(const std::string& message) { throw Error(RDC_CORRUPT, "bundle: " + message); }

Digest digest_of(const std::string& hex) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    fail("a SHA-256 in the manifest is damaged");
  };
  Digest digest;
  if (hex.size() != 2 * digest.size()) fail("a SHA-256 in the manifest is damaged");
  for (size_t k = 0; k < digest.size(); ++k)
    digest[k] = static_cast<uint8_t>(digit(hex[2 * k]) << 4 | digit(hex[2 * k + 1]));
  return digest;
}

Digest identity(const Arrays& arrays, const Json& config) {
  Sha256 hash;
  hash.update(config.sorted_dump());
  for (const auto& [name, array] : arrays) {
    hash.update(name + ':' + array.type + ':' + array.shape_text() + ';');
    hash.update(array.bytes.data(), array.bytes.size());
  }
  return hash.finish();
}

const Array& array_of(const Arrays& arrays, const std::string& name) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) fail("tables.npz has no " + name);
  return found->second;
}

int small(const Array& array) {
  const int64_t value = array.scalar();
  if (value < -kMaxChannels || value > kMaxChannels) fail("a number in tables.npz is out of range");
  return static_cast<int>(value);
}

void expect_shape(const Array& array, const std::vector<size_t>& shape, const std::string& name) {
  if (array.shape != shape) fail("the shape of " + name + " is " + array.shape_text());
}

Tables read_tables(const Arrays& arrays, const std::string& prefix) {
  const auto cdf = array_of(arrays, prefix + "_cdf").values<uint16_t>();
  const auto sizes = array_of(arrays, prefix + "_sizes").values<int32_t>();
  const auto minimum = array_of(arrays, prefix + "_minimum").values<int32_t>();
  if (sizes.size() != minimum.size()) fail(prefix + ": sizes and minimum do not fit");
  const int precision = small(array_of(arrays, prefix + "_precision"));
  return Tables(cdf.data(), cdf.size(), sizes.data(), minimum.data(), sizes.size(), precision);
}

ScaleLayer read_layer(const Arrays& arrays, const std::string& name) {
  const Array& weight = array_of(arrays, name + "_weight");
  const std::vector<size_t>& shape = weight.shape;
  if (shape.size() != 4 || weight.count() == 0 || shape[0] > kMaxChannels || shape[1] > kMaxChannels ||
      shape[2] != shape[3] || shape[2] > 3)
    fail("the shape of " + name + "_weight is " + weight.shape_text());
  const Array &bias = array_of(arrays, name + "_bias"), &shift = array_of(arrays, name + "_shift");
  expect_shape(bias, {shape[0]}, name + "_bias");
  expect_shape(shift, {shape[0]}, name + "_shift");
  ScaleLayer layer{static_cast<int>(shape[1]),
                   static_cast<int>(shape[0]),
                   static_cast<int>(shape[2]),
                   weight.values<int8_t>(),
                   bias.values<int32_t>(),
                   {},
                   small(array_of(arrays, name + "_clip"))};
  if (shift.type == "|u1") {
    const auto values = shift.values<uint8_t>();
    layer.shift.assign(values.begin(), values.end());
  } else {
    layer.shift = shift.values<int32_t>();
  }
  return layer;
}

NeighbourLayer read_neighbours(const Arrays& arrays, const std::string& name) {
  const Array& weight = array_of(arrays, name + "_weight");
  const std::vector<size_t>& shape = weight.shape;
  if (shape.size() != 4 || weight.count() == 0 || shape[0] > kMaxChannels || shape[1] > kMaxChannels || shape[2] != 3 ||
      shape[3] != 3)
    fail("the shape of " + name + "_weight is " + weight.shape_text());
  const Array &bias = array_of(arrays, name + "_bias"), &shift = array_of(arrays, name + "_shift");
  expect_shape(bias, {kPasses, shape[0]}, name + "_bias");
  expect_shape(shift, {shape[0]}, name + "_shift");
  return {static_cast<int>(shape[1]), static_cast<int>(shape[0]), weight.values<int8_t>(),
          bias.values<int32_t>(),     shift.values<int32_t>(),    small(array_of(arrays, name + "_clip"))};
}

HeadLayer read_heads(const Arrays& arrays, const std::string& name, int hidden) {
  const Array& weight = array_of(arrays, name + "_weight");
  const std::vector<size_t>& shape = weight.shape;
  if (shape.size() != 3 || weight.count() == 0 || shape[0] != kPasses || shape[1] > kMaxChannels ||
      shape[2] != static_cast<size_t>(hidden))
    fail("the shape of " + name + "_weight is " + weight.shape_text());
  const Array &bias = array_of(arrays, name + "_bias"), &shift = array_of(arrays, name + "_shift");
  expect_shape(bias, {kPasses, shape[1]}, name + "_bias");
  expect_shape(shift, {kPasses, shape[1]}, name + "_shift");
  return {static_cast<int>(shape[1]), weight.values<int8_t>(), bias.values<int32_t>(), shift.values<int32_t>(),
          small(array_of(arrays, name + "_clip"))};
}

size_t widest_of(const std::vector<ScaleLayer>& layers) {
  int widest = 0;
  for (const ScaleLayer& layer : layers) widest = std::max(widest, layer.inputs);  // the outputs of the layer before
  return static_cast<size_t>(widest);
}

void check_pass_order(const Json& order) {
  const auto& rows = order.items();
  bool right = rows.size() == 2;
  for (size_t k = 0; right && k < 4; ++k)
    right = rows[k / 2].items().size() == 2 && rows[k / 2].items()[k % 2].is_number(kPassOrder[k]);
  if (!right) fail("another order of passes");
}

// primary: the branch that the auxiliary one sees as well; NULL for the primary branch itself.
std::unique_ptr<Branch> read_branch(const Arrays& arrays, const std::string& prefix, const Json& config,
                                    const Branch* primary) {
  std::vector<ScaleLayer> layers;
  const long count = config.at("scale_layers").whole(1, kMaxLayers);
  for (long k = 0; k < count; ++k) layers.push_back(read_layer(arrays, prefix + "_scale" + std::to_string(k)));
  const NeighbourLayer neighbours = read_neighbours(arrays, prefix + "_neighbours");
  const HeadLayer heads = read_heads(arrays, prefix + "_heads", neighbours.hidden);
  check_pass_order(config.at("pass_order"));
  if (config.at("slices").whole(0, kMaxChannels) != (primary ? kPasses : 1))
    fail(prefix + ": another number of slices");
  const int inputs = layers.front().inputs, outputs = layers.back().outputs;
  std::unique_ptr<Branch> branch(new Branch{static_cast<size_t>(config.at("latent").whole(1, kMaxChannels)),
                                            static_cast<size_t>(config.at("hyper").whole(1, kMaxChannels)),
                                            config.at("levels").whole(1, kMaxLevels),
                                            widest_of(layers),
                                            read_tables(arrays, prefix + "_hyper"),
                                            read_tables(arrays, prefix + "_latent"),
                                            {layers, static_cast<int>(kLatentSteps)},
                                            {neighbours, heads, kPassOrder}});
  const size_t seen_hyper = primary ? primary->hyper : 0, seen_latent = primary ? primary->latent : 0;
  const bool fits =
      static_cast<size_t>(branch->hyper_tables.count) == branch->hyper &&
      static_cast<size_t>(inputs) == branch->hyper + seen_hyper &&
      static_cast<size_t>(outputs) == (branch->latent + branch->context.hidden()) * kLatentSteps * kLatentSteps &&
      branch->context.latent() == branch->latent && branch->context.other() == seen_latent;
  if (!fits) fail(prefix + ": tables and networks do not fit its channels");
  if (heads.clip_max >= branch->latent_tables.count) fail(prefix + ": the network names tables that are not there");
  return branch;
}

std::vector<double> column_of(const Json& map, const char* name, bool strictly) {
  std::vector<double> column;
  for (const Json& item : map.at(name).items()) column.push_back(item.number());
  bool rises = column.size() >= 2 && column.front() >= 0 && column.back() <= 100;
  for (size_t k = 1; rises && k < column.size(); ++k)
    rises = strictly ? column[k] > column[k - 1] : column[k] >= column[k - 1];
  if (!rises) fail("the quality map does not rise within 0 to 100");
  return column;
}

Bundle parse(const Json& manifest, const uint8_t* tables, size_t tables_size) {
  const Json* format = manifest.find("format");
  if (!format || !format->is_number(kFormat)) throw Error(RDC_UNSUPPORTED, "bundle: another format than 2");
  Bundle bundle;
  const Json* name = manifest.find("name");
  if (name) bundle.name = name->text();
  bundle.parse_id = digest_of(manifest.at("parse_id").text());
  bundle.picture_id = digest_of(manifest.at("picture_id").text());
  for (const auto& [file, digest] : manifest.at("files").members()) bundle.files[file] = digest_of(digest.text());
  for (const auto& [graph, described] : manifest.at("graphs").members()) {
    bundle.graphs[graph] = described.at("file").text();
    if (!bundle.files.count(bundle.graphs[graph])) fail("the manifest has no SHA-256 of " + bundle.graphs[graph]);
  }
  const auto known = bundle.files.find("tables.npz");
  if (known == bundle.files.end()) fail("the manifest has no SHA-256 of tables.npz");
  if (known->second != sha256(tables, tables_size)) fail("tables.npz is not the one of the manifest");
  const Json& strides = manifest.at("strides");
  if (!strides.at("pixels").is_number(8) || !strides.at("latent").is_number(16) || !strides.at("hyper").is_number(64))
    fail("other strides than 8, 16 and 64");

  const Arrays arrays = read_npz(tables, tables_size, RDC_MAX_TABLES_BYTES);
  const Json& parsing = manifest.at("parsing");
  if (identity(arrays, parsing) != bundle.parse_id) fail("tables.npz is not the one that parse_id names");
  bundle.primary = read_branch(arrays, "primary", parsing.at("primary"), nullptr);
  const Json& auxiliary = parsing.at("auxiliary");
  if (!auxiliary.is_null()) bundle.auxiliary = read_branch(arrays, "auxiliary", auxiliary, bundle.primary.get());
  for (const char* graph : {"encode_base", "decode_base", "encode_full", "decode_full"})
    if (!bundle.graphs.count(graph) && (bundle.auxiliary || std::string(graph).find("base") != std::string::npos))
      fail(std::string("no graph ") + graph);

  const Json& map = manifest.at("quality_map");
  bundle.dial = column_of(map, "quality", true);
  bundle.base_quality = column_of(map, "base_quality", false);
  bundle.aux_quality = column_of(map, "aux_quality", false);
  if (bundle.dial.front() != 0 || bundle.dial.back() != 100 || bundle.base_quality.size() != bundle.dial.size() ||
      bundle.aux_quality.size() != bundle.dial.size())
    fail("the quality map is not one of 0 to 100");
  return bundle;
}

}  // namespace

Bundle read_bundle(const char* manifest, size_t manifest_size, const uint8_t* tables, size_t tables_size) {
  if (manifest_size > RDC_MAX_MANIFEST_BYTES) throw Error(RDC_LIMIT, "bundle: the manifest is over the limit");
  if (tables_size > RDC_MAX_TABLES_BYTES) throw Error(RDC_LIMIT, "bundle: tables.npz is over the limit");
  try {
    return parse(Json::parse(manifest, manifest_size), tables, tables_size);
  } catch (const std::invalid_argument& error) {  // of the coder's own checks
    fail(error.what());
  }
}

uint16_t to_fixed(double quality, const char* name) {
  if (!(quality >= 0 && quality <= 100)) throw Error(RDC_INVALID, std::string(name) + " must be 0 to 100");
  const double scaled = quality * 256, below = std::floor(scaled);
  auto fixed = static_cast<uint32_t>(below);
  const double rest = scaled - below;
  if (rest > 0.5 || (rest == 0.5 && fixed % 2)) ++fixed;
  return static_cast<uint16_t>(fixed > kMaxQuality ? kMaxQuality : fixed);
}

}  // namespace rdc
