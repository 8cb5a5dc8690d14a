#pragma once

#include <utility>

#include <dlpack_bridge/cuda/placement.hpp>

namespace dlpack_bridge::cuda {

/// A new event of a context, timing off: the kind that is fastest to wait for.
/// @throws cuda_error
CUevent create_event(const driver_api& api, CUcontext context, int device);
// To ask for a mark takes no context. To wait for it or to drop it any context of the device will do:
// never the event's own, which may be a green context, current to one thread at a time.

/// Legal while streams still wait for its mark. Never throws: an event that cannot be destroyed
/// stays behind.
void destroy_event(const driver_api& api, int device, CUevent event) noexcept;
/// Marks what is on a stream now. The event must be of the stream's context.
/// @throws cuda_error
void record(const driver_api& api, CUevent event, const placed_stream& stream);
/// Makes later work on a stream, of any context, wait for the mark.
/// @throws cuda_error
void make_wait(const driver_api& api, const placed_stream& stream, CUevent event);
/// Whether the mark was reached. Does not synchronise.
/// @throws cuda_error
bool is_done(const driver_api& api, CUevent event);
/// Blocks the host until the mark is reached.
/// @throws cuda_error
void wait_until_done(const driver_api& api, int device, CUevent event);

/// An event of the hub's own, for a record on one stream. Goes back to the pool of its device when
/// it dies, which is legal while streams still wait for it: a wait keeps the state it saw. Events
/// of contexts that are not the primary one are destroyed instead, since their context may end.
class pooled_event {
 public:
  pooled_event() noexcept = default;
  /// @throws cuda_error
  pooled_event(const driver_api& api, const placed_stream& stream);
  /// One that never goes back: a record inside a capture makes its state part of the graph.
  static pooled_event dedicated(const driver_api& api, const placed_stream& stream);

  pooled_event(pooled_event&& other) noexcept
      : event_(std::exchange(other.event_, nullptr)), device_(other.device_),
        pooled_(other.pooled_) {}
  pooled_event& operator=(pooled_event&& other) noexcept;
  pooled_event(const pooled_event&) = delete;
  pooled_event& operator=(const pooled_event&) = delete;
  ~pooled_event() { reset(); }

  CUevent get() const noexcept { return event_; }
  int device() const noexcept { return device_; }
  explicit operator bool() const noexcept { return event_ != nullptr; }
  void reset() noexcept;
  /// Drops an event that turned out to belong to a capture: it never goes back to the pool.
  void discard() noexcept {
    pooled_ = false;
    reset();
  }

 private:
  CUevent event_ = nullptr;
  int device_ = -1;
  bool pooled_ = false;  ///< goes back to the pool of its device
};

}  // namespace dlpack_bridge::cuda
