#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

struct exchange_report;

/// An object whose last reference was dropped by a thread without the GIL.
struct late_release {
  void* object;
  void (*release)(void*) noexcept;  ///< called with the GIL
  late_release* next;
};

/// What must be one per process. The first binary of the hub that is loaded makes it and hangs it
/// into the interpreter as a capsule with a versioned name; the others find it there.
struct process_state {
  counters counted;
  std::atomic<late_release*> late{nullptr};
  std::atomic<bool> drain_scheduled{false};
  std::atomic<bool> finalizing{false};
  std::atomic<int> active_traces{0};
  const device_backend* cuda = nullptr;  ///< of the first binary that has one
  /// Hand the backend to a binary that came before it.
  std::vector<void (*)(const device_backend&) noexcept> without_cuda;
  /// Makes the record of an exchange (a new reference, null with an error set) and gives it to the
  /// traces that are active here; set by the module that has traces.
  PyObject* (*make_record)(const exchange_report&) = nullptr;
  void (*tell_traces)(PyObject* record) = nullptr;
  PyObject* exchange_error = nullptr;
  PyObject* copy_required_error = nullptr;
  PyObject* not_an_array_error = nullptr;
  PyObject* cuda_error = nullptr;
  PyTypeObject* reason_type = nullptr;
  // Arrays are of one type, whichever binary made them: that of the first.
  PyTypeObject* array_type = nullptr;
  PyTypeObject* dtype_type = nullptr;
  PyTypeObject* device_type = nullptr;
};

/// Finds or makes the state of this process. Call at module initialisation, with the GIL; false
/// with a Python error set when that fails. Until then `state()` must not be used.
bool initialize_process_state() noexcept;

extern process_state* found_state;
inline process_state& state() noexcept { return *found_state; }

/// Held by each Python object that is an array of the hub: counts it while it lives. The GIL makes an
/// atomic read-modify-write, the dearest instruction of an exchange, unnecessary.
class live_object_token {
 public:
  live_object_token() noexcept { add(1); }
  live_object_token(const live_object_token&) = delete;
  live_object_token& operator=(const live_object_token&) = delete;
  ~live_object_token() { add(-1); }

 private:
  static void add(std::int64_t n) noexcept {
    std::atomic<std::int64_t>& count = state().counted.live_objects;
    count.store(count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

/// Whether exchanges are recorded.
inline bool is_traced() noexcept {
  return state().active_traces.load(std::memory_order_relaxed) != 0;
}

}  // namespace dlpack_bridge::python
