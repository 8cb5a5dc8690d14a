#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch_test_macros.hpp>
#include <cuda.h>

#include "lab.h"
#include <dlpack_bridge/cuda/backend.hpp>
#include <dlpack_bridge/cuda/release.hpp>
#include <dlpack_bridge/cuda/stream_ref.hpp>
#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/managed_tensor.hpp>

// The C++ half of the GPU tests. Producers are held up by a latch while their work is enqueued, so
// that who does not wait for them reads poison; each promise is also tried without the call that
// keeps it, and must then be seen to break.
namespace gpu {

using dlpack_bridge::stream_handle;
namespace cuda = dlpack_bridge::cuda;

inline constexpr std::uint32_t poison = 0xffffffff, good = 42;
/// A latch opens by itself after this, and no wait of a test is longer.
inline constexpr double patience = 8;
inline constexpr dlpack_bridge::device gpu0{kDLCUDA, 0};

/// A call of the lab that must not fail.
inline void must(int code, const char* call) {
  if (code != 0) FAIL(call << " failed: " << lab_error_name(code) << " (" << code << ")");
}
#define MUST(call) ::gpu::must((call), #call)

inline void note(const std::string& key, const std::string& finding) {
  lab_note(key.c_str(), finding.c_str());
  WARN(key << ": " << finding);
}

inline bool on_fake() { return lab_on_fake() != 0; }

enum class kind { legacy, per_thread, blocking, non_blocking };
inline constexpr kind kinds[] = {kind::legacy, kind::per_thread, kind::blocking,
                                 kind::non_blocking};

inline std::string_view to_string(kind k) {
  constexpr std::string_view names[] = {"legacy", "per-thread", "blocking", "non-blocking"};
  return names[static_cast<int>(k)];
}

/// A stream of device 0; one that was made for the test dies with it.
class stream {
 public:
  explicit stream(kind k) : kind_(k) {
    if (k == kind::legacy || k == kind::per_thread) {
      handle_ = reinterpret_cast<void*>(k == kind::legacy ? 1 : 2);
    } else {
      MUST(lab_stream_make(0, k == kind::blocking, &handle_));
    }
  }
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  ~stream() {
    if (kind_ == kind::blocking || kind_ == kind::non_blocking) lab_stream_drop(0, handle_);
  }

  void* get() const { return handle_; }
  stream_handle handle() const { return stream_handle::from_native(handle_); }
  cuda::stream_ref ref() const { return {gpu0, handle_}; }
  /// The driver orders the two by its own rule for the legacy stream, or they are one.
  bool is_ordered_with(const stream& other) const {
    if (handle_ == other.handle_) return true;
    const bool legacy = kind_ == kind::legacy || other.kind_ == kind::legacy;
    return legacy && kind_ != kind::non_blocking && other.kind_ != kind::non_blocking;
  }

  void wait() const { MUST(lab_wait(0, handle_, patience)); }
  /// Never on the fake driver, where nothing takes time.
  bool is_busy() const { return lab_is_done(0, handle_) == CUDA_ERROR_NOT_READY; }

 private:
  kind kind_;
  void* handle_ = nullptr;
};

/// Holds streams up until it is opened, at the latest when it dies.
class latch {
 public:
  latch() = default;
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;
  ~latch() { open(); }

  void hold(const stream& s) const { MUST(lab_latch_hold(number_, 0, s.get(), patience)); }
  void open() const { lab_latch_open(number_); }
  /// False when something waited for what was held up.
  bool held() const { return lab_latch_timed_out(number_) == 0; }

 private:
  int number_ = lab_latch_make();
};

/// Device memory of some 32-bit words, and pinned memory to read them into: allocations may wait for
/// the device, so none is made while a latch is closed.
class words {
 public:
  explicit words(std::size_t count, std::uint32_t value = poison) : count_(count) {
    MUST(lab_alloc(0, LAB_DEVICE, 4 * count, nullptr, &memory_));
    MUST(lab_alloc(0, LAB_PINNED, 4 * count, nullptr, &pinned_));
    MUST(lab_fill(0, CU_STREAM_LEGACY, memory_, count, value));
    MUST(lab_wait(0, CU_STREAM_LEGACY, patience));
  }
  words(const words&) = delete;
  words& operator=(const words&) = delete;
  ~words() {
    lab_free(0, LAB_DEVICE, memory_, nullptr);
    lab_free(0, LAB_PINNED, pinned_, nullptr);
  }

  void* get() const { return memory_; }
  std::size_t count() const { return count_; }
  /// The words on the host, as they are after the work of `s`.
  std::vector<std::uint32_t> read(const stream& s) const {
    MUST(lab_move(0, s.get(), pinned_, memory_, 4 * count_));
    s.wait();
    const auto* values = static_cast<const std::uint32_t*>(pinned_);
    return {values, values + count_};
  }

 private:
  std::size_t count_;
  void* memory_ = nullptr;
  void* pinned_ = nullptr;
};

inline void fill(const stream& s, void* memory, std::size_t count, std::uint32_t value) {
  MUST(lab_fill(0, s.get(), memory, count, value));
}
inline void fill(const stream& s, const words& w, std::uint32_t value) {
  fill(s, w.get(), w.count(), value);
}
inline void copy(const stream& s, const words& to, const void* from) {
  MUST(lab_copy(0, s.get(), to.get(), from, to.count()));
}

inline std::vector<std::uint32_t> read(const stream& s, const words& w) { return w.read(s); }

inline bool all(const std::vector<std::uint32_t>& values, std::uint32_t value) {
  return std::ranges::all_of(values, [&](std::uint32_t v) { return v == value; });
}

/// What a reader that did not wait has seen: poison, or on the fake driver a race.
inline bool saw_a_race(const std::vector<std::uint32_t>& values) {
  if (on_fake()) return lab_take_races() > 0;
  return std::ranges::find(values, poison) != values.end();
}

/// Memory of some producer as the hub takes it in, written on `home`.
template <class Owner>
dlpack_bridge::managed_tensor tensor_of(void* memory, std::size_t count, const stream& home,
                                        Owner&& keep) {
  dlpack_bridge::managed_tensor made = dlpack_bridge::share(
      memory, {count}, {}, dlpack_bridge::uint32, std::forward<Owner>(keep), gpu0);
  made.set_stream(home.handle());
  return made;
}

inline dlpack_bridge::managed_tensor tensor_of(const words& w, const stream& home) {
  return tensor_of(w.get(), w.count(), home, [] {});
}

/// What every case stands on: a GPU, the hub's backend, and nothing left behind.
class gpu_case {
 public:
  gpu_case() {
    if (const char* why = lab_open()) SKIP("needs a GPU: " << why);
    static const bool used = (cuda::use(), true);
    (void)used;
    lab_take_races();
  }
  gpu_case(const gpu_case&) = delete;
  gpu_case& operator=(const gpu_case&) = delete;
  ~gpu_case() {
    cuda::collect(true);
    if (on_fake() && lab_take_races() > 0) FAIL_CHECK("a race was left behind");
  }
};

}  // namespace gpu
