#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "clock.hpp"

namespace fake_cuda {

using address = std::uintptr_t;

struct byte_range {
  address begin = 0;
  address end = 0;
  bool empty() const noexcept { return begin >= end; }
};

/// Who touched memory, and when.
struct access {
  moment at;
  const char* by = "";          ///< the function's name
  std::uint64_t operation = 0;  ///< its number, for people
  bool writes = false;
};

/// Remembers for every byte its last write and the reads since, and finds the pairs without order.
class shadow_memory {
 public:
  using conflict = std::function<void(const access& earlier, byte_range where)>;

  /// `now` touches a range; `known` is what is ordered before it. Each earlier access to a common
  /// byte that is not, one of the two a write, is told to `found` once.
  void touch(byte_range range, const access& now, const vector_clock& known, const conflict& found);

  void forget(byte_range range);
  void clear() noexcept { cells_.clear(); }

 private:
  struct cell {
    address end = 0;
    access write;  ///< by nobody while its tick is 0
    std::vector<access> reads;
  };
  using cell_map = std::map<address, cell>;

  cell_map::iterator split_at(address where);

  cell_map cells_;  ///< by begin; disjoint
};

}  // namespace fake_cuda
