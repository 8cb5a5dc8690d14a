#pragma once

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "fake_world.hpp"
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/release.hpp>

/// What a producer does when its memory comes back: it hands it out again at once, on the stream its
/// allocator goes by. Every use that is not ordered before is a race then.
struct producer {
  explicit producer(block& its_memory, CUstream allocates_on)
      : memory(&its_memory), stream(allocates_on) {}
  producer(const producer&) = delete;
  producer& operator=(const producer&) = delete;

  dlpack_bridge::owner give() {
    return dlpack_bridge::owner(this, [](void* object) noexcept {
      auto& self = *static_cast<producer*>(object);
      self.memory->reuse(self.stream);
      self.thread = std::this_thread::get_id();
      self.returned.fetch_add(1);
    });
  }
  /// The memory as the hub lends it to a user on a stream.
  dlpack_bridge::owner lend(CUstream user, dlpack_bridge::stream_handle home = {},
                            dlpack_bridge::use_listener listener = {}) {
    return dlpack_bridge::cuda::lend(give(), terms(user, home, listener));
  }
  dlpack_bridge::loan terms(CUstream user, dlpack_bridge::stream_handle home = {},
                            dlpack_bridge::use_listener listener = {}) const {
    return {.where = cuda_device(0),
            .begin = memory->bytes,
            .nbytes = sizeof memory->bytes,
            .user = user == nullptr ? dlpack_bridge::stream_handle() : handle_of(user),
            .user_object = {},
            .home = home,
            .listener = listener};
  }

  block* memory;
  CUstream stream;
  std::atomic<int> returned{0};
  std::thread::id thread;
};

/// What keeps a stream alive: tells when it is let go.
struct stream_keeper {
  dlpack_bridge::owner give() {
    return dlpack_bridge::owner(this, [](void* object) noexcept {
      static_cast<stream_keeper*>(object)->dropped.fetch_add(1);
    });
  }
  std::atomic<int> dropped{0};
};

/// Waits for what another thread does; long only when it fails.
template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

/// Long enough for the queue's thread to have looked several times.
inline void let_it_look() { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }

inline std::int64_t pending() { return dlpack_bridge::active_counters().pending_releases.load(); }
inline std::int64_t leaked() { return dlpack_bridge::active_counters().leaked.load(); }
