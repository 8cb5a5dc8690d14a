#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <dlpack_bridge/cuda/event_pool.hpp>

namespace dlpack_bridge::cuda {

enum class block_kind : std::uint8_t {
  device,   ///< of cuMemAlloc
  pinned,   ///< of the host, reachable from every device at the same address
  managed,  ///< reachable from the host and the devices
};

/// Memory that is dear to make, and whose freeing waits for the device and ends captures: it goes
/// from one user to the next and to the driver in `free_kept_blocks` only. Addresses are multiples
/// of 256.
struct memory_block {
  block_kind kind;
  int device;  ///< where it was made
  CUcontext context;
  void* data;
  std::size_t bytes;
  pooled_event last_use;  ///< reached when nobody uses it any more; none: nobody does
  memory_block* next = nullptr;
};

/// A kept block of at least `bytes` bytes, or a new one. Its last use may not be over; with
/// `idle` it is. The context is that of `device` and current. Does not synchronise.
/// @throws cuda_error CUDA_ERROR_OUT_OF_MEMORY also after what is due was let go
/// @throws std::bad_alloc
std::unique_ptr<memory_block> take_block(const driver_api& api, block_kind kind, int device,
                                         CUcontext context, std::size_t bytes, bool idle);

/// Whether nobody uses a block any more. Does not synchronise.
/// @throws cuda_error
bool is_idle(const driver_api& api, const memory_block& block);

/// Keeps a block for the next user. Does not synchronise.
void keep_block(std::unique_ptr<memory_block> block) noexcept;

/// Never uses a block again, since nobody knows who still does. Counts as leaked.
void abandon_block(std::unique_ptr<memory_block> block) noexcept;

/// Gives kept blocks that nobody uses back to the driver. May synchronise, and may end a capture.
void free_kept_blocks() noexcept;

/// Lets go of dropped arrays whose readers are through and of what lies unused in the pools, because
/// memory is short.
void make_room();
/// @throws cuda_error that tells how much was asked for
[[noreturn]] void throw_allocation_error(CUresult result, const char* call, int device,
                                         std::size_t bytes);

/// Runs an allocation; when there is no memory left, lets go of what is due and tries once more.
/// @throws cuda_error
template <class Allocate>
void allocate_or_throw(int device, std::size_t bytes, const char* call, const Allocate& allocate) {
  CUresult result = allocate();
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    make_room();
    result = allocate();
  }
  if (result != CUDA_SUCCESS) throw_allocation_error(result, call, device, bytes);
}

}  // namespace dlpack_bridge::cuda
