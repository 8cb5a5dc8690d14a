#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fake_cuda {

/// A sequence of operations that run one after the other: a stream, or the host.
using timeline = std::uint32_t;
/// The number of an operation on its timeline; 0 is before the first.
using tick = std::uint32_t;

/// A point that can be ordered against others: an operation.
struct moment {
  timeline line = 0;
  tick when = 0;
  friend bool operator==(moment, moment) noexcept = default;
};

/// For each timeline, the last operation that is known to have run.
class vector_clock {
 public:
  tick operator[](timeline line) const noexcept { return line < ticks_.size() ? ticks_[line] : 0; }
  void set(timeline line, tick when) {
    if (line >= ticks_.size()) ticks_.resize(line + 1, 0);
    ticks_[line] = when;
  }
  bool covers(moment m) const noexcept { return (*this)[m.line] >= m.when; }

  void join(const vector_clock& other) {
    if (other.ticks_.size() > ticks_.size()) ticks_.resize(other.ticks_.size(), 0);
    for (std::size_t i = 0; i < other.ticks_.size(); ++i) {
      ticks_[i] = std::max(ticks_[i], other.ticks_[i]);
    }
  }
  void clear() noexcept { ticks_.clear(); }
  std::size_t size() const noexcept { return ticks_.size(); }

 private:
  std::vector<tick> ticks_;
};

}  // namespace fake_cuda
