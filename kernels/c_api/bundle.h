// The coder's side of a bundle: what docs/bundle.md says of manifest.json and tables.npz.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../entropy_coder/scale_context.h"
#include "../entropy_coder/scale_network.h"
#include "../entropy_coder/tables.h"
#include "rdc.h"
#include "sha256.h"

namespace rdc {

constexpr size_t kHyperStride = RDC_STRIDE;
constexpr size_t kLatentSteps = 4;  // latents of a side for each hyper-latent: 64 / 16 pixels

struct Branch {
  size_t latent, hyper;
  long levels;
  size_t widest;  // channels of any layer of the network but the last
  Tables hyper_tables, latent_tables;
  ScaleNetwork network;
  ScaleContext context;
};

struct Bundle {
  std::string name;
  Digest parse_id, picture_id;
  std::unique_ptr<Branch> primary, auxiliary;  // auxiliary: NULL in a model that has none
  std::map<std::string, std::string> graphs;   // name -> file
  std::map<std::string, Digest> files;
  std::vector<double> dial, base_quality, aux_quality;  // rows of the quality map

  uint32_t slices() const { return auxiliary ? RDC_MAX_SLICES : 0; }
};

// Throws Error with RDC_CORRUPT, RDC_UNSUPPORTED or RDC_LIMIT.
Bundle read_bundle(const char* manifest, size_t manifest_size, const uint8_t* tables, size_t tables_size);

// Rounds a quality to the 1/256 that a header holds, ties to even. Throws Error with RDC_INVALID outside 0 to 100.
uint16_t to_fixed(double quality, const char* name);
inline double from_fixed(uint16_t quality) { return quality / 256.0; }

}  // namespace rdc

struct rdc_bundle {
  rdc::Bundle bundle;
};
