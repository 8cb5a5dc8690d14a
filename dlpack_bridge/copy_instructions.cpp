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

/// The baseline until statics are initialised.
std::atomic<instruction_set> chosen{best_set()};

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

}  // namespace dlpack_bridge::detail
