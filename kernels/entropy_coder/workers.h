// Splits work over threads of its own, which end with it: a pool would not live through fork, and a pass of a picture
// that is worth splitting takes many times as long as a thread takes to start. With RDC_NO_THREADS there are none.
#pragma once

#include <algorithm>
#include <cstddef>
#ifndef RDC_NO_THREADS
#include <system_error>
#include <thread>
#include <vector>
#endif

namespace rdc {

// How many parts to make of `items` for at most `threads` threads, with at least `least` items in each.
inline size_t parts_of(size_t items, size_t least, size_t threads) {
  return std::max<size_t>(1, std::min(threads, items / std::max<size_t>(1, least)));
}

// Calls work(part, first, last) for each part of [0, items), all but the first in threads. work must not throw.
template <class Work>
void in_parts(size_t items, size_t parts, const Work& work) {
  const auto run = [&](size_t part) { work(part, items * part / parts, items * (part + 1) / parts); };
#ifdef RDC_NO_THREADS
  for (size_t part = 0; part < parts; ++part) run(part);
#else
  std::vector<std::thread> threads;
  threads.reserve(parts - 1);
  size_t started = 1;
  try {
    for (; started < parts; ++started) threads.emplace_back([&run, started] { run(started); });
  } catch (const std::system_error&) {  // no more threads to be had: the rest is done here
  }
  run(0);
  for (size_t part = started; part < parts; ++part) run(part);
  for (std::thread& thread : threads) thread.join();
#endif
}

}  // namespace rdc
