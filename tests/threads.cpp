// threads BUNDLE: does at once what several threads may do at once, for ThreadSanitizer to watch. Tables, networks and
// contexts are shared; each thread codes a picture with threads of its own; some leave between two passes, as work that
// is cancelled does; the code path is changed all the while; and one stream is read by many through the C API.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../kernels/c_api/bundle.h"
#include "../kernels/c_api/rdc.h"
#include "../kernels/entropy_coder/rans.h"
#include "../kernels/entropy_coder/simd.h"

namespace {

constexpr size_t kRows = 32, kColumns = 30;  // of z: enough for several threads in each step
constexpr size_t kThreads = 4, kCallers = 4, kRounds = 3;

using Plane = std::vector<int16_t>;

#define EXPECT(condition)                                          \
  do {                                                             \
    if (!(condition)) {                                            \
      std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      std::exit(1);                                                \
    }                                                              \
  } while (0)

std::vector<uint8_t> file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

Plane noise(size_t count, int reach) {
  std::minstd_rand random(static_cast<unsigned>(count));
  Plane plane(count);
  for (int16_t& symbol : plane)
    symbol = random() % 3 ? int16_t{0} : static_cast<int16_t>(static_cast<int>(random() % (2 * reach + 1)) - reach);
  return plane;
}

struct Picture {
  Plane z1, y1, z2, y2;
};

// The segments of the auxiliary branch, pass by pass; fewer where `cancelled` is set in between.
std::vector<std::vector<uint8_t>> coded(const rdc::Bundle& bundle, const Picture& picture, size_t threads,
                                        const std::atomic<bool>* cancelled) {
  const rdc::Branch& branch = *bundle.auxiliary;
  Plane z(picture.z2);
  z.insert(z.end(), picture.z1.begin(), picture.z1.end());
  const size_t rows = 4 * kRows, columns = 4 * kColumns;
  std::vector<uint8_t> start(branch.network.channels() * rows * columns);
  branch.network.run(z.data(), kRows, kColumns, start.data(), threads);
  rdc::ScaleState state(branch.context, start.data(), rows, columns, threads);
  state.see(picture.y1.data());
  std::vector<std::vector<uint8_t>> found;
  Plane made(picture.y2.size());
  for (int pass = 0; pass < rdc::kPasses; ++pass) {
    if (cancelled && *cancelled) return found;
    std::vector<uint8_t> indexes(state.size());
    Plane symbols(state.size());
    state.indexes(indexes.data());
    state.gather(picture.y2.data(), symbols.data());
    const rdc::Encoded segment =
        rdc::encode<int16_t>({{symbols.data(), indexes.data(), symbols.size(), &branch.latent_tables, RDC_MAX_SYMBOL}});
    found.emplace_back(segment.data, segment.data + segment.size);
    Plane again(symbols.size());
    rdc::Decoder decoder(segment.data, segment.size);
    decoder.read(indexes.data(), indexes.size(), branch.latent_tables, RDC_MAX_SYMBOL, again.data());
    decoder.finish();
    EXPECT(again == symbols);
    state.add(again.data(), made.data());
  }
  EXPECT(made == picture.y2);
  return found;
}

void code_at_once(const rdc::Bundle& bundle, const Picture& picture) {
  const auto expected = coded(bundle, picture, 1, nullptr);
  std::atomic<bool> cancelled{false}, done{false};
  std::thread switching([&done] {
    for (int k = 0; !done; ++k) {
      rdc::set_simd(k % 2 ? rdc::Simd::kScalar : rdc::best_simd());
      std::this_thread::yield();
    }
    rdc::set_simd(rdc::best_simd());
  });
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < kCallers; ++caller)
    callers.emplace_back([&, caller] {
      for (size_t round = 0; round < kRounds; ++round) {
        const bool stops = caller % 2;
        const auto found = coded(bundle, picture, kThreads, stops ? &cancelled : nullptr);
        EXPECT(stops || found.size() == expected.size());
        for (size_t k = 0; k < found.size(); ++k) EXPECT(found[k] == expected[k]);
        if (round == 1) cancelled = true;
      }
    });
  for (std::thread& caller : callers) caller.join();
  done = true;
  switching.join();
}

void read_at_once(const std::string& folder, const Picture& picture) {
  const auto manifest = file(folder + "/manifest.json"), tables = file(folder + "/tables.npz");
  rdc_bundle* bundle = nullptr;
  EXPECT(rdc_bundle_open(manifest.data(), manifest.size(), tables.data(), tables.size(), &bundle) == RDC_OK);
  rdc_header header{64 * kColumns, 64 * kRows, 50, 50, 50, {}, {}, 0, 0};
  Picture copy(picture);
  const rdc_symbols16 given{copy.z1.data(), copy.y1.data(), copy.z2.data(), copy.y2.data(), copy.z1.size(),
                            copy.y1.size(), copy.z2.size(), copy.y2.size(), RDC_MAX_SLICES};
  uint64_t bound = 0;
  size_t size = 0;
  EXPECT(rdc_stream_bound(bundle, header.width, header.height, &bound) == RDC_OK);
  std::vector<uint8_t> data(bound);
  EXPECT(rdc_write_stream16(bundle, &header, &given, nullptr, 0, data.data(), data.size(), &size) == RDC_OK);
  rdc_stream* stream = nullptr;
  EXPECT(rdc_stream_open(data.data(), size, 0, &stream) == RDC_OK);
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < kCallers; ++caller)
    callers.emplace_back([&, caller] {
      Picture read(picture);
      rdc_symbols16 fields{read.z1.data(), read.y1.data(), read.z2.data(),
                           read.y2.data(), read.z1.size(), read.y1.size(),
                           read.z2.size(), read.y2.size(), 0};
      std::fill(read.y2.begin(), read.y2.end(), int16_t{9999});
      EXPECT(rdc_read_symbols16(bundle, stream, RDC_MAX_SLICES, &fields) == RDC_OK);
      EXPECT(fields.slices == RDC_MAX_SLICES && read.y1 == picture.y1 && read.y2 == picture.y2);
      // Each thread has a message of its own.
      fields.y1_room = caller % 2 ? 0 : fields.y1_room;
      fields.z2 = caller % 2 ? fields.z2 : nullptr;
      EXPECT(rdc_read_symbols16(bundle, stream, RDC_MAX_SLICES, &fields) < 0);
      EXPECT(std::strstr(rdc_message(), caller % 2 ? "smaller" : "NULL"));
    });
  for (std::thread& caller : callers) caller.join();
  rdc_stream_close(stream);
  rdc_bundle_close(bundle);
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  const std::string folder = argv[1];
  const auto manifest = file(folder + "/manifest.json"), tables = file(folder + "/tables.npz");
  const rdc::Bundle bundle =
      rdc::read_bundle(reinterpret_cast<const char*>(manifest.data()), manifest.size(), tables.data(), tables.size());
  EXPECT(bundle.auxiliary);
  const size_t hyper = kRows * kColumns, latents = 16 * hyper;
  const Picture picture{noise(bundle.primary->hyper * hyper, 20), noise(bundle.primary->latent * latents, 2),
                        noise(bundle.auxiliary->hyper * hyper, 20), noise(bundle.auxiliary->latent * latents, 2)};
  code_at_once(bundle, picture);
  read_at_once(folder, picture);
  std::puts("ok");
  return 0;
}
