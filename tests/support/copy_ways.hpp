#pragma once

#include <array>

#include <dlpack_bridge/copy_instructions.hpp>

namespace dlpack_bridge::detail {

/// A way that copies go on some processor.
struct copy_way {
  instruction_set set;
  cache_use use;
};

/// All that differ.
inline constexpr std::array copy_ways{
    copy_way{instruction_set::baseline, cache_use::announced},
    copy_way{instruction_set::baseline, cache_use::plain},
    copy_way{instruction_set::avx2, cache_use::announced},
    copy_way{instruction_set::avx512, cache_use::announced},
    copy_way{instruction_set::avx512, cache_use::by_lines},
};

/// Copies of this scope go one way.
class copying {
 public:
  explicit copying(copy_way way) noexcept : before_(caches()) {
    limit_instructions(way.set);
    assume_caches(way.use);
  }
  ~copying() {
    limit_instructions(instruction_set::avx512);
    assume_caches(before_);
  }
  copying(const copying&) = delete;
  copying& operator=(const copying&) = delete;

 private:
  cache_use before_;
};

/// Calls `check` for each way that this processor can go.
template <class Check>
void in_every_way(const Check& check) {
  for (const copy_way way : copy_ways) {
    if (!is_supported(way.set)) continue;
    const copying here(way);
    check();
  }
}

}  // namespace dlpack_bridge::detail
