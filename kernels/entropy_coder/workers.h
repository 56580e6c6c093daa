// Splits work over threads of its own, which end with it: a pool would not live through fork, and a pass of a picture
// that is worth splitting takes a hundred times as long as a thread takes to start.
#pragma once

#include <algorithm>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace rdc {

// How many parts to make of `items` for at most `threads` threads, with at least `least` items in each.
inline size_t parts_of(size_t items, size_t least, size_t threads) {
  return std::max<size_t>(1, std::min(threads, items / std::max<size_t>(1, least)));
}

// Calls work(part, first, last) for each part of [0, items), all but the first in threads. work must not throw.
template <class Work>
void in_parts(size_t items, size_t parts, const Work& work) {
  const auto start = [&](size_t part) { return items * part / parts; };
  std::vector<std::thread> threads;
  threads.reserve(parts - 1);
  size_t part = 1;
  try {
    for (; part < parts; ++part)
      threads.emplace_back([&work, part, first = start(part), last = start(part + 1)] { work(part, first, last); });
  } catch (const std::system_error&) {  // no more threads to be had: the rest is done here
  }
  const size_t started = part;
  work(0, 0, start(1));
  for (; part < parts; ++part) work(part, start(part), start(part + 1));
  for (size_t k = 0; k + 1 < started; ++k) threads[k].join();
}

}  // namespace rdc
