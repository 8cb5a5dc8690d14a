#include <dlpack_bridge/cuda/staging.hpp>

#include <deque>
#include <exception>
#include <mutex>
#include <utility>

#include <dlpack_bridge/cuda/context.hpp>

namespace dlpack_bridge::cuda {
namespace {

/// Chunks that the devices may be busy with before the host waits for the oldest.
constexpr std::size_t most_busy = 8;

/// Chunks in the order in which they came back.
struct returned_chunks {
  std::mutex mutex;
  std::deque<std::unique_ptr<memory_block>> chunks;
};

returned_chunks& returned() {
  static returned_chunks* const all = new returned_chunks;
  return *all;
}

void wait_for(const driver_api& api, memory_block& block) {
  wait_until_done(api, block.last_use.device(), block.last_use.get());
  block.last_use.reset();
}

/// The oldest chunk when it is free, or when there are enough of them to wait; it may be busy
/// still.
std::unique_ptr<memory_block> take_returned(const driver_api& api) {
  const std::lock_guard lock(returned().mutex);
  auto& chunks = returned().chunks;
  while (!chunks.empty()) {
    bool lost = false, busy = false;
    try {
      busy = !is_idle(api, *chunks.front());
    } catch (const cuda_error&) {  // of a device that is lost; others go on
      lost = true;
    }
    if (busy && chunks.size() < most_busy) return nullptr;
    std::unique_ptr<memory_block> oldest = std::move(chunks.front());
    chunks.pop_front();
    if (lost) {
      abandon_block(std::move(oldest));
    } else {
      if (!busy) oldest->last_use.reset();
      return oldest;
    }
  }
  return nullptr;
}

}  // namespace

staging_chunk::staging_chunk(const driver_api& api, const placed_stream& stream)
    : block_(take_returned(api)) {
  if (!block_) {
    block_ = take_block(api, block_kind::pinned, stream.device, stream.context, bytes, true);
  } else if (block_->last_use) {
    try {
      wait(api);
    } catch (const cuda_error&) {
      abandon_block(std::move(block_));
      throw;
    }
  }
}

staging_chunk& staging_chunk::operator=(staging_chunk&& other) noexcept {
  if (this != &other) {
    give_back();
    block_ = std::move(other.block_);
    user_ = other.user_;
  }
  return *this;
}

void staging_chunk::leave(const driver_api& api) {
  pooled_event mark(api, user_);
  record(api, mark.get(), user_);
  block_->last_use = std::move(mark);
  user_ = {};
}

void staging_chunk::wait(const driver_api& api) { wait_for(api, *block_); }

void staging_chunk::give_back() noexcept {
  if (!block_) return;
  try {
    if (user_.handle != nullptr) leave(need_driver());
  } catch (const std::exception&) {
    return abandon_block(std::move(block_));
  }
  const std::lock_guard lock(returned().mutex);
  try {
    returned().chunks.push_back(nullptr);
    returned().chunks.back() = std::move(block_);
  } catch (const std::bad_alloc&) {
    keep_block(std::move(block_));
  }
}

void release_staging() noexcept {
  const std::lock_guard lock(returned().mutex);
  for (auto& chunk : returned().chunks) keep_block(std::move(chunk));
  returned().chunks.clear();
}

}  // namespace dlpack_bridge::cuda
