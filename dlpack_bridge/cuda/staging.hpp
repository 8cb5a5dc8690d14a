#pragma once

#include <cstddef>
#include <memory>

#include <dlpack_bridge/cuda/block_cache.hpp>
#include <dlpack_bridge/cuda/placement.hpp>

namespace dlpack_bridge::cuda {

/// Pinned memory through which pageable memory passes to and from a device, on loan from the blocks
/// that are kept for this. Goes back when it dies, also while the device still uses it: the next
/// user gets it when that is over.
class staging_chunk {
 public:
  static constexpr std::size_t bytes = std::size_t{4} << 20;

  /// Waits for a chunk to become free rather than take too much memory for them. The context of the
  /// stream is current.
  /// @throws cuda_error
  staging_chunk(const driver_api& api, const placed_stream& stream);
  staging_chunk(staging_chunk&&) noexcept = default;
  staging_chunk& operator=(staging_chunk&& other) noexcept;
  ~staging_chunk() { give_back(); }

  std::byte* data() const noexcept { return static_cast<std::byte*>(block_->data); }

  /// Around the calls that make the device use the chunk, on one stream. When one of those or the
  /// second of these fails, the chunk is marked as it goes back; one of which nobody knows even then
  /// when the device is through is never used again.
  void enter(const placed_stream& stream) noexcept { user_ = stream; }
  /// @throws cuda_error
  void leave(const driver_api& api);

  /// Blocks the host until the device is through. Precondition: `leave`.
  /// @throws cuda_error
  void wait(const driver_api& api);

 private:
  void give_back() noexcept;

  std::unique_ptr<memory_block> block_;
  placed_stream user_;  ///< whose last use is not marked; no handle: nobody's
};

/// Chunks whose users are through become blocks like any other, which can be freed.
void release_staging() noexcept;

}  // namespace dlpack_bridge::cuda
