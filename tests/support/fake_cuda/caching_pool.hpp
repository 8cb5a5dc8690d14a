#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "fake_cuda.h"

namespace fake_cuda {

/// A framework's caching allocator. A block belongs to the stream it was allocated on: once it is
/// freed, the next who asks there gets it at once and writes to it. That is what a release without
/// order runs into.
class caching_pool {
 public:
  struct block {
    alignas(64) std::array<float, 16> values{};
    int device = 0;
    CUstream home = nullptr;
  };

  caching_pool() = default;
  caching_pool(const caching_pool&) = delete;
  caching_pool& operator=(const caching_pool&) = delete;
  ~caching_pool() {
    for (const auto& b : blocks_) fake_cuda_disown(b->values.data());
  }

  /// A block for work on `home`. Goes back when its last owner drops it, on any thread.
  std::shared_ptr<block> take(int device, CUstream home) {
    block& b = find(device, home);
    fake_cuda_reuse(device, home, b.values.data(), sizeof b.values);
    return {&b, [this](block* freed) { give_back(*freed); }};
  }

  /// Every block that is free gets a new owner, and is free again.
  void reuse_all() {
    const std::lock_guard lock(mutex_);
    for (block* b : free_) fake_cuda_reuse(b->device, b->home, b->values.data(), sizeof b->values);
  }

  std::size_t taken() const {
    const std::lock_guard lock(mutex_);
    return blocks_.size() - free_.size();
  }

 private:
  block& find(int device, CUstream home) {
    const std::lock_guard lock(mutex_);
    const auto fits = [&](const block* b) { return b->device == device && b->home == home; };
    const auto latest = std::find_if(free_.rbegin(), free_.rend(), fits);
    if (latest != free_.rend()) {
      block& b = **latest;
      free_.erase(std::next(latest).base());
      return b;
    }
    blocks_.push_back(std::make_unique<block>());
    block& b = *blocks_.back();
    b.device = device;
    b.home = home;
    fake_cuda_adopt(device, b.values.data(), sizeof b.values);
    return b;
  }
  void give_back(block& b) {
    const std::lock_guard lock(mutex_);
    free_.push_back(&b);
  }

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<block>> blocks_;
  std::vector<block*> free_;  ///< latest last
};

}  // namespace fake_cuda
