#include <dlpack_bridge/copy_runs.hpp>

#include <algorithm>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_stream.hpp>
#include <dlpack_bridge/copy_tiles.hpp>

namespace dlpack_bridge::detail {
namespace {

/// Elements from which on it pays to start at a cache line.
constexpr extent worth_aligning = 1024;

/// Where a first-level cache cannot hold what is written, the lines are asked for so far ahead.
constexpr extent worth_announcing = 32768;
constexpr extent bytes_announced = 1024;

/// A store waits for a line that is not at hand, and all stores after it wait too.
void announce_writes(std::byte* to, extent bytes) noexcept {
  for (extent i = 0; i < bytes; i += cache_line) __builtin_prefetch(to + i, 1);
}

}  // namespace

run_converter::run_converter(const road& way, extent from_itemsize, extent to_itemsize) noexcept
    : steps_(way.size), from_size_(from_itemsize), to_size_(to_itemsize) {
  const kernel_table& table = kernels_of(instructions());
  for (int i = 0; i < steps_; ++i) {
    kernels_[i] = table[way.steps[i].operation];
    units_[i] = way.steps[i].units;
  }
}

void run_converter::operator()(const std::byte* from, std::byte* to, extent count) const {
  if (steps_ > 1) return in_steps(from, to, count);
  const auto apply = [&](extent run) {
    kernels_[0](from, to, static_cast<std::size_t>(run * units_[0]));
    from += run * from_size_;
    to += run * to_size_;
    count -= run;
  };
  if (count >= worth_aligning) {
    // Vectors that straddle cache lines take twice as long to store.
    if (const extent head = elements_to_next_line(to, to_size_); head > 0) apply(head);
    const bool announces = caches() == cache_use::announced && to_size_ >= from_size_;
    if (announces && count * to_size_ >= worth_announcing) {
      const extent run = bytes_announced / to_size_;
      announce_writes(to, bytes_announced);
      while (count > 2 * run) {
        announce_writes(to + bytes_announced, bytes_announced);
        apply(run);
      }
    }
  }
  apply(count);
}

void run_converter::in_steps(const std::byte* from, std::byte* to, extent count) const {
  constexpr extent run = buffer_bytes / 16;  // no element on the way is larger
  buffer between[2];
  for (extent done = 0; done < count; done += run) {
    const extent n = std::min(run, count - done);
    const std::byte* in = from + done * from_size_;
    for (int i = 0; i < steps_; ++i) {
      std::byte* out = i == steps_ - 1 ? to + done * to_size_ : between[i % 2].bytes;
      kernels_[i](in, out, static_cast<std::size_t>(n * units_[i]));
      in = out;
    }
  }
}

}  // namespace dlpack_bridge::detail
