#pragma once

#include <atomic>
#include <cstdint>

namespace dlpack_bridge {

/// What the hub counts in a process. All fields are independent; any thread may read them.
struct counters {
  /// Managed tensors of the hub not yet released, less those that were made in turn: see `count_copy`.
  std::atomic<std::int64_t> live{0};
  std::atomic<std::int64_t> made_in_turn{0};  ///< all of these that were ever made
  std::atomic<std::int64_t> live_objects{0};  ///< the same of Python objects: changed with the GIL
  std::atomic<std::int64_t> pending_releases{0};  ///< dropped, waiting for a stream or a GIL holder
  std::atomic<std::int64_t> copies{0};
  std::atomic<std::int64_t> copied_bytes{0};
  std::atomic<std::int64_t> copies_in_turn{0};  ///< the same of those who take turns
  std::atomic<std::int64_t> copied_bytes_in_turn{0};
  std::atomic<std::int64_t> leaked{0};  ///< given up: driver errors, the end of the interpreter

  /// Counts a copy. `in_turn`: nobody else who says so does at the same time, because all of them hold
  /// the GIL; the atomic read-modify-write is the dearest instruction of a small copy.
  void count_copy(std::int64_t nbytes, bool in_turn) noexcept {
    constexpr auto relaxed = std::memory_order_relaxed;
    if (in_turn) {
      copies_in_turn.store(copies_in_turn.load(relaxed) + 1, relaxed);
      copied_bytes_in_turn.store(copied_bytes_in_turn.load(relaxed) + nbytes, relaxed);
    } else {
      copies.fetch_add(1, relaxed);
      copied_bytes.fetch_add(nbytes, relaxed);
    }
  }
};

namespace detail {
extern counters* counters_in_use;
}

/// The counters in use: this binary's own until `use_counters` names others.
inline counters& active_counters() noexcept { return *detail::counters_in_use; }

/// Makes this binary count into `shared`, so that several binaries of a process agree. Call before
/// the first array is made; `shared` must live as long as the process.
void use_counters(counters& shared) noexcept;

/// Managed tensors of the hub not yet released.
inline std::int64_t live_managed_tensors() noexcept {
  const counters& all = active_counters();
  return all.live.load(std::memory_order_relaxed) +
         all.made_in_turn.load(std::memory_order_relaxed) +
         all.live_objects.load(std::memory_order_relaxed);
}

/// Copies made so far, and the bytes written by them.
inline std::int64_t copies_made() noexcept {
  const counters& all = active_counters();
  return all.copies.load(std::memory_order_relaxed) +
         all.copies_in_turn.load(std::memory_order_relaxed);
}
inline std::int64_t bytes_copied() noexcept {
  const counters& all = active_counters();
  return all.copied_bytes.load(std::memory_order_relaxed) +
         all.copied_bytes_in_turn.load(std::memory_order_relaxed);
}

/// Held by each managed tensor of the hub, whatever struct it lives in: counts it while it lives. `in_turn`
/// as for copies; who lets go of it takes no turns.
class live_token {
 public:
  explicit live_token(bool in_turn = false) noexcept {
    std::atomic<std::int64_t>& turns = active_counters().made_in_turn;
    if (in_turn) turns.store(turns.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    else active_counters().live.fetch_add(1, std::memory_order_relaxed);
  }
  live_token(const live_token&) = delete;
  live_token& operator=(const live_token&) = delete;
  ~live_token() { active_counters().live.fetch_sub(1, std::memory_order_relaxed); }
};

}  // namespace dlpack_bridge
