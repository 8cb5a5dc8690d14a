#pragma once

#include <dlpack_bridge/cuda/driver.hpp>
#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/owner.hpp>

namespace dlpack_bridge::cuda {

/// The primary context of a device, which every library of the process shares, when somebody uses
/// the device; null otherwise. Never wakes a device. Retained once and kept to the end.
/// @throws cuda_error CUDA_ERROR_INVALID_DEVICE when there is no such device
CUcontext active_context(const driver_api& api, int device);

/// The same, waking the device when it sleeps: seconds, and hundreds of MB of its memory.
CUcontext primary_context(const driver_api& api, int device);

/// The primary context of a device on which something of ours was made; null when nothing was.
CUcontext known_context(const driver_api& api, int device) noexcept;

/// The device of a context; found without a call when it is one of the primary contexts above.
int device_of(const driver_api& api, CUcontext context);

/// The context whose default streams the calling thread means when it names a device: what is
/// current to it, if that is of the device (a green context, or one that a program made), else the
/// primary one. Null: the device sleeps.
CUcontext context_here(const driver_api& api, int device);

/// @throws cuda_error CUDA_ERROR_INVALID_DEVICE when the driver has no device of this number
void check_device(const driver_api& api, int device);

/// A sticky error was seen: the device answers nothing but this error until the process ends.
void mark_lost(int device) noexcept;
bool is_lost(int device) noexcept;

/// Makes a context current while it lives; what was current before is restored exactly, also when
/// nothing was. No call but the question when the context is current already, none for null.
class context_guard {
 public:
  /// @throws cuda_error
  context_guard(const driver_api& api, CUcontext context);
  context_guard(const context_guard&) = delete;
  context_guard& operator=(const context_guard&) = delete;
  ~context_guard();

 private:
  const driver_api* pushed_on_ = nullptr;
};

/// Makes a device current for as long as an owner lives, which must be dropped on the thread that
/// made it. Empty when there is nothing to do: the device sleeps, or a context of it is current.
/// @throws cuda_error
owner enter_device(device where);

/// Lets this thread do what a capture, its own or another thread's, forbids while it lives: whatever
/// makes, frees, copies, asks or waits may end captures that it has nothing to do with. Needed once
/// around what a user asks for, not around each call. The calls must not touch what is captured.
class relaxed_capture {
 public:
  explicit relaxed_capture(const driver_api& api) noexcept;
  relaxed_capture(const relaxed_capture&) = delete;
  relaxed_capture& operator=(const relaxed_capture&) = delete;
  ~relaxed_capture();

 private:
  const driver_api& api_;
  CUstreamCaptureMode before_ = CU_STREAM_CAPTURE_MODE_RELAXED;
  bool exchanged_;
};

}  // namespace dlpack_bridge::cuda
