#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "caching_pool.hpp"

namespace fake_cuda {

/// What the programs of a process use: streams of each kind on two devices and the allocator of a
/// framework. What it asks of the driver does not count as the product's.
class machine {
 public:
  struct lane {
    CUstream stream;
    int device;
    bool may_capture;  ///< non-blocking, so that a capture leaves the legacy stream alone
  };

  machine() {
    fake_cuda_set_quiet(1);
    for (int device : {0, 1}) {
      lanes_.push_back({CU_STREAM_LEGACY, device, false});
      lanes_.push_back({fake_cuda_stream(device, CU_STREAM_DEFAULT), device, false});
      lanes_.push_back({fake_cuda_stream(device, CU_STREAM_NON_BLOCKING), device, true});
      lanes_.push_back({fake_cuda_stream(device, CU_STREAM_NON_BLOCKING), device, true});
      const auto at = static_cast<std::size_t>(device);
      cuDevicePrimaryCtxRetain(&contexts_[at], device);
      cuCtxPushCurrent(contexts_[at]);
      cuEventCreate(&events_[at], CU_EVENT_DISABLE_TIMING);
      cuCtxPopCurrent(nullptr);
    }
    lanes_.push_back({CU_STREAM_PER_THREAD, 0, false});
    fake_cuda_set_quiet(0);
  }
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;

  /// For each device the legacy stream, a blocking one and two others; last the per-thread stream of
  /// device 0.
  std::span<const lane> lanes() const { return lanes_; }

  /// What frameworks do among themselves: one stream waits for an event of the other.
  void order(const lane& consumer, const lane& producer) const {
    fake_cuda_set_quiet(1);
    const auto from = static_cast<std::size_t>(producer.device);
    cuCtxPushCurrent(contexts_[from]);
    cuEventRecord(events_[from], producer.stream);
    cuCtxPopCurrent(nullptr);
    cuCtxPushCurrent(contexts_[static_cast<std::size_t>(consumer.device)]);
    cuStreamWaitEvent(consumer.stream, events_[from], 0);
    cuCtxPopCurrent(nullptr);
    fake_cuda_set_quiet(0);
  }

  CUresult begin_capture(const lane& at, CUstreamCaptureMode mode) const {
    fake_cuda_set_quiet(1);
    const CUresult begun = cuStreamBeginCapture(at.stream, mode);
    fake_cuda_set_quiet(0);
    return begun;
  }

  /// Anything but success means that somebody broke the capture.
  CUresult end_capture(const lane& at) const {
    fake_cuda_set_quiet(1);
    CUgraph graph = nullptr;
    const CUresult ended = cuStreamEndCapture(at.stream, &graph);
    if (graph != nullptr) cuGraphDestroy(graph);
    fake_cuda_set_quiet(0);
    return ended;
  }

  caching_pool pool;

 private:
  std::vector<lane> lanes_;
  std::array<CUcontext, 2> contexts_{};
  std::array<CUevent, 2> events_{};
};

}  // namespace fake_cuda
