// Runs a target where there is no libFuzzer, and without its guidance by coverage: over files and folders, then over
// random changes of them for some seconds. The options have the names that libFuzzer's have.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "check.h"

extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

std::minstd_rand g_random(1);

void read_into(std::vector<fuzz::Bytes>& corpus, const std::filesystem::path& path, size_t most) {
  std::ifstream in(path, std::ios::binary);
  fuzz::Bytes bytes(std::istreambuf_iterator<char>(in), {});
  bytes.resize(std::min(bytes.size(), most));
  corpus.push_back(std::move(bytes));
}

void run(const fuzz::Bytes& input) {
  const fuzz::Bytes exact(input);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most) {
  const auto any = [](size_t below) { return g_random() % std::max<size_t>(1, below); };
  switch (g_random() % 4) {
    case 0:
      if (size < most) {
        const size_t at = any(size + 1);
        std::memmove(data + at + 1, data + at, size - at);
        data[at] = static_cast<uint8_t>(g_random());
        return size + 1;
      }
      break;
    case 1:
      if (size > 1) {
        const size_t at = any(size), count = 1 + any(std::min<size_t>(size - at, 16));
        std::memmove(data + at, data + at + count, size - at - count);
        return size - count;
      }
      break;
    case 2:
      if (size > 1) {
        const size_t count = 1 + any(std::min<size_t>(size / 2, 32)), from = any(size - count), to = any(size - count);
        std::memmove(data + to, data + from, count);
        return size;
      }
      break;
    default:
      break;
  }
  if (size) data[any(size)] ^= static_cast<uint8_t>(1u << g_random() % 8);
  return size;
}

int main(int argc, char** argv) {
  long seconds = 0, runs = -1;
  size_t most = 4096;
  std::vector<fuzz::Bytes> corpus;
  const std::string time = "-max_total_time=", count = "-runs=", length = "-max_len=";
  for (int k = 1; k < argc; ++k) {
    const std::string argument = argv[k];
    if (argument.compare(0, time.size(), time) == 0) seconds = std::stol(argument.substr(time.size()));
    if (argument.compare(0, count.size(), count) == 0) runs = std::stol(argument.substr(count.size()));
    if (argument.compare(0, length.size(), length) == 0) most = std::stoul(argument.substr(length.size()));
  }
  for (int k = 1; k < argc; ++k) {
    if (argv[k][0] == '-') continue;
    if (!std::filesystem::is_directory(argv[k])) {
      read_into(corpus, argv[k], most);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[k]))
      if (entry.is_regular_file()) read_into(corpus, entry.path(), most);
  }
  for (const fuzz::Bytes& input : corpus) run(input);
  std::fprintf(stderr, "%zu files were run\n", corpus.size());
  if (corpus.empty()) corpus.emplace_back();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  long done = 0;
  const auto in_time = [&] { return seconds > 0 ? std::chrono::steady_clock::now() < end : runs >= 0; };
  while (done != runs && in_time()) {
    fuzz::Bytes input = corpus[g_random() % corpus.size()];
    for (uint32_t left = 1 + g_random() % 4; left; --left) {
      const size_t size = input.size();
      input.resize(most);
      const size_t changed = LLVMFuzzerCustomMutator
                                 ? LLVMFuzzerCustomMutator(input.data(), size, most, static_cast<unsigned>(g_random()))
                                 : LLVMFuzzerMutate(input.data(), size, most);
      input.resize(changed);
    }
    run(input);
    ++done;
  }
  std::fprintf(stderr, "stat::number_of_executed_units: %ld\n", done);
  return 0;
}
