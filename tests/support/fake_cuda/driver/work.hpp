#pragma once

#include <span>

#include "captures.hpp"
#include "memory.hpp"
#include "order.hpp"

namespace fake_cuda {

struct touched {
  byte_range bytes;
  bool writes;
};

/// Puts work on a stream that touches these ranges; true when it runs, which it does at once: the
/// caller then changes the bytes. False when it went into a graph.
/// @throws call_failed as `goes_into_graph`
inline bool put_work(frame& f, stream& s, std::span<const touched> ranges) {
  if (goes_into_graph(f, s)) {
    capture_work(s);
    for (const touched& t : ranges) touch_in_graph(f, s, t.bytes, t.writes);
    return false;
  }
  const moment now = happen(f.w, s);
  for (const touched& t : ranges) touch(f, t.bytes, t.writes, now, s.known);
  return true;
}

}  // namespace fake_cuda
