#pragma once

#include <cstdint>
#include <type_traits>

namespace dlpack_bridge::detail {

inline constexpr int most_threads = 16;  ///< a few saturate any memory

/// How many threads a large copy may use now: the processors that this thread may run on, as of a
/// millisecond ago at most, or fewer when OpenMP is in the process and would use fewer here
/// (torch.set_num_threads ends there), or without OpenMP when OMP_NUM_THREADS says so.
int copy_threads() noexcept;

/// Work on one of several parts; may be called from any thread, throws nothing.
struct part_function {
  void (*call)(void* context, std::int64_t part);
  void* context;
};

/// Runs parts 0 to `parts` - 1, on this thread and at most `threads` - 1 others, and returns when
/// all have ended. The others sleep in a pool between calls; they are started when first needed, and
/// again in a process that was forked. Where threads cannot be had, this one does the work.
void run_parts(std::int64_t parts, int threads, part_function function);

template <class Function>
void parallel_for(std::int64_t parts, int threads, Function&& function) {
  using plain = std::remove_reference_t<Function>;
  const auto call = [](void* context, std::int64_t part) { (*static_cast<plain*>(context))(part); };
  run_parts(parts, threads, {call, &function});
}

}  // namespace dlpack_bridge::detail
