#pragma once

#include <array>

#include <catch2/catch_test_macros.hpp>

#include "fake_device.hpp"

namespace fake_cuda {

/// A fresh driver with two devices in use, device 0 current to the thread, and memory to touch. For
/// tests of the fake itself: it forgets what a product holds.
class two_devices {
 public:
  two_devices() {
    fake_cuda_reset();
    REQUIRE(cuInit(0) == CUDA_SUCCESS);
    for (int device : {0, 1}) {
      REQUIRE(cuDevicePrimaryCtxRetain(&contexts[static_cast<std::size_t>(device)], device) ==
              CUDA_SUCCESS);
    }
    REQUIRE(cuCtxPushCurrent(contexts[0]) == CUDA_SUCCESS);
    fake_cuda_reset_calls();
  }
  two_devices(const two_devices&) = delete;
  two_devices& operator=(const two_devices&) = delete;
  ~two_devices() { fake_cuda_reset(); }

  CUstream stream(int device = 0) const { return fake_cuda_stream(device, CU_STREAM_NON_BLOCKING); }
  CUstream blocking_stream(int device = 0) const { return fake_cuda_stream(device, 0); }

  /// An event of the current context.
  CUevent event() const {
    CUevent made = nullptr;
    REQUIRE(cuEventCreate(&made, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS);
    return made;
  }

  /// An event of device 0 between the two.
  void order(CUstream consumer, CUstream producer) const {
    const CUevent e = event();
    REQUIRE(cuEventRecord(e, producer) == CUDA_SUCCESS);
    REQUIRE(cuStreamWaitEvent(consumer, e, 0) == CUDA_SUCCESS);
    REQUIRE(cuEventDestroy(e) == CUDA_SUCCESS);
  }

  /// How many findings `f` adds.
  template <class F>
  int found_by(F f) const {
    const int before = fake_cuda_races();
    f();
    return fake_cuda_races() - before;
  }

  /// Whether a read on `second` is ordered after a write on `first`; forgets both.
  bool ordered(CUstream first, CUstream second, int first_device = 0, int second_device = 0) {
    std::byte* byte = &bytes[next_++];
    REQUIRE(write(first, byte, 1, first_device) == CUDA_SUCCESS);
    return found_by([&] { read(second, byte, 1, second_device); }) == 0;
  }

  std::array<CUcontext, 2> contexts{};
  std::array<std::byte, 256> bytes{};

 private:
  std::size_t next_ = 128;
};

}  // namespace fake_cuda
