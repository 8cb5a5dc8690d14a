#include <dlpack_bridge/copy_instructions.hpp>

#include <algorithm>
#include <atomic>

namespace dlpack_bridge::detail {
namespace {

instruction_set best_set() noexcept {
  for (const instruction_set set : {instruction_set::avx512, instruction_set::avx2}) {
    if (is_supported(set)) return set;
  }
  return instruction_set::baseline;
}

cache_use best_use() noexcept {
#ifdef DLPACK_BRIDGE_X86
  __builtin_cpu_init();
  if (__builtin_cpu_is("amd")) return cache_use::by_lines;
#endif
  return cache_use::announced;
}

/// The baseline until statics are initialised.
std::atomic<instruction_set> chosen{best_set()};
std::atomic<cache_use> chosen_use{best_use()};

}  // namespace

bool is_supported(instruction_set set) noexcept {
  if (set == instruction_set::baseline) return true;
#ifdef DLPACK_BRIDGE_X86
  __builtin_cpu_init();
  if (set == instruction_set::avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  }
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

instruction_set instructions() noexcept { return chosen.load(std::memory_order_relaxed); }

void limit_instructions(instruction_set most) noexcept {
  chosen.store(std::min(best_set(), most), std::memory_order_relaxed);
}

cache_use caches() noexcept {
  const cache_use use = chosen_use.load(std::memory_order_relaxed);
#ifdef DLPACK_BRIDGE_SHUFFLES
  const bool has_lines = instructions() == instruction_set::avx512;
#else
  const bool has_lines = false;
#endif
  return use == cache_use::by_lines && !has_lines ? cache_use::plain : use;
}

void assume_caches(cache_use use) noexcept { chosen_use.store(use, std::memory_order_relaxed); }

}  // namespace dlpack_bridge::detail
