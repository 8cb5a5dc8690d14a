#pragma once

#include <stdexcept>
#include <string>

#include "fake_cuda.h"
#include <dlpack_bridge/cuda/backend.hpp>
#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/stream_handle.hpp>

/// The numbers of the default streams, as driver handles.
inline const CUstream legacy = CU_STREAM_LEGACY;
inline const CUstream per_thread = CU_STREAM_PER_THREAD;

inline dlpack_bridge::device cuda_device(int id) { return dlpack_bridge::device(kDLCUDA, id); }
inline dlpack_bridge::stream_handle handle_of(CUstream stream) {
  return dlpack_bridge::stream_handle::from_native(stream);
}

/// Ends the case when the fake refuses what a test asks of it. Unlike Catch2's macros it may be used
/// on any thread.
inline void must(CUresult result) {
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("the fake driver says " + std::to_string(result));
}

/// One test case on the fake driver: what earlier cases of the process did is forgotten.
struct fake_world {
  fake_world() {
    dlpack_bridge::cuda::backend().status();  // opens the driver
    fake_cuda_heal();
    fake_cuda_settle();
    fake_cuda_clear_races();
    fake_cuda_set_idle(0);
    fake_cuda_reset_calls();
  }
  fake_world(const fake_world&) = delete;
  fake_world& operator=(const fake_world&) = delete;
  ~fake_world() {
    fake_cuda_heal();
    fake_cuda_settle();
  }
};

/// Calls of the driver in this scope are the test's own: not counted and never failed.
struct quiet {
  quiet() { fake_cuda_set_quiet(1); }
  quiet(const quiet&) = delete;
  quiet& operator=(const quiet&) = delete;
  ~quiet() { fake_cuda_set_quiet(0); }
};

inline CUstream make_stream(int device = 0, unsigned flags = CU_STREAM_NON_BLOCKING) {
  return fake_cuda_stream(device, flags);
}

/// What is current to the thread.
inline CUcontext current_context() {
  const quiet own;
  CUcontext current = nullptr;
  cuCtxGetCurrent(&current);
  return current;
}

/// The primary context of a device, which is awake from then on.
inline CUcontext context_of(int device) {
  const quiet own;
  CUcontext context = nullptr;
  must(cuDevicePrimaryCtxRetain(&context, device));
  return context;
}

/// A context is current while it lives.
struct current_device {
  explicit current_device(int device) {
    const quiet own;
    cuCtxPushCurrent(context_of(device));
  }
  current_device(const current_device&) = delete;
  current_device& operator=(const current_device&) = delete;
  ~current_device() {
    const quiet own;
    cuCtxPopCurrent(nullptr);
  }
};

inline void destroy_stream(int device, CUstream stream) {
  const current_device current(device);
  const quiet own;
  must(cuStreamDestroy(stream));
}

/// A stream captures while it lives.
struct capture {
  capture(int device, CUstream captured,
          CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
      : device_(device), stream_(captured) {
    const current_device current(device);
    const quiet own;
    must(cuStreamBeginCapture(captured, mode));
  }
  capture(const capture&) = delete;
  capture& operator=(const capture&) = delete;
  ~capture() {
    if (stream_ != nullptr) end();
  }
  /// The driver's answer: anything but success means that somebody broke the capture.
  CUresult end() {
    const current_device current(device_);
    const quiet own;
    CUgraph graph = nullptr;
    const CUresult ended = cuStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cuGraphDestroy(graph);
    stream_ = nullptr;
    return ended;
  }

 private:
  int device_;
  CUstream stream_;
};

/// Device memory of a framework that caches what it frees.
struct block {
  explicit block(int device = 0) : device_(device) {
    must(fake_cuda_adopt(device, bytes, sizeof bytes));
  }
  block(const block&) = delete;
  block& operator=(const block&) = delete;
  ~block() {
    const quiet own;
    fake_cuda_settle();
    fake_cuda_disown(bytes);
  }

  /// Work on a stream of the block's own device, or of another.
  void write(CUstream stream) { touch(device_, stream, 1); }
  void write(int device, CUstream stream) { touch(device, stream, 1); }
  void read(CUstream stream) { touch(device_, stream, 0); }
  /// The framework hands the memory out again, on a stream.
  void reuse(CUstream stream) {
    const quiet own;
    must(fake_cuda_reuse(device_, stream, bytes, sizeof bytes));
  }

  alignas(64) unsigned char bytes[256] = {};

 private:
  void touch(int device, CUstream stream, int writes) {
    const quiet own;
    const fake_cuda_access access{bytes, sizeof bytes, writes};
    must(fake_cuda_work(device, stream, &access, 1));
  }
  int device_;
};

inline std::string first_race() { return fake_cuda_races() == 0 ? "" : fake_cuda_race(0); }
