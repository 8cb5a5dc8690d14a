#pragma once

#include <atomic>
#include <cstdint>

namespace dlpack_bridge {

/// What the hub counts in a process. All fields are independent; any thread may read them.
struct counters {
  std::atomic<std::int64_t> live{0};          ///< managed tensors of the hub not yet released
  std::atomic<std::int64_t> live_objects{0};  ///< the same of Python objects: changed with the GIL
  std::atomic<std::int64_t> pending_releases{0};  ///< dropped, waiting for a stream or a GIL holder
  std::atomic<std::int64_t> copies{0};
  std::atomic<std::int64_t> copied_bytes{0};
  std::atomic<std::int64_t> leaked{0};  ///< given up: driver errors, the end of the interpreter
};

/// The counters in use: this binary's own until `use_counters` names others.
counters& active_counters() noexcept;

/// Makes this binary count into `shared`, so that several binaries of a process agree. Call before
/// the first array is made; `shared` must live as long as the process.
void use_counters(counters& shared) noexcept;

/// Managed tensors of the hub not yet released.
inline std::int64_t live_managed_tensors() noexcept {
  const counters& all = active_counters();
  return all.live.load(std::memory_order_relaxed) +
         all.live_objects.load(std::memory_order_relaxed);
}

/// Held by each managed tensor of the hub, whatever struct it lives in: counts it while it lives.
class live_token {
 public:
  live_token() noexcept { active_counters().live.fetch_add(1, std::memory_order_relaxed); }
  live_token(const live_token&) = delete;
  live_token& operator=(const live_token&) = delete;
  ~live_token() { active_counters().live.fetch_sub(1, std::memory_order_relaxed); }
};

}  // namespace dlpack_bridge
