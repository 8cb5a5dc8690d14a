#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>

#include "world.hpp"

namespace fake_cuda {

/// What a call works on: whose sticky errors it answers.
struct reach {
  enum class kind : std::uint8_t {
    anything,  ///< may be called before cuInit
    driver,
    current,  ///< the device of the current context
    on_stream,
    on_event,
  };
  kind of = kind::current;
  const void* handle = nullptr;

  static reach anything() { return {kind::anything}; }
  static reach driver() { return {kind::driver}; }
  static reach current() { return {kind::current}; }
  static reach on(CUstream stream) { return {kind::on_stream, stream}; }
  static reach on(CUevent event) { return {kind::on_event, event}; }
};

/// One call while it runs: the world is locked.
struct frame {
  explicit frame(const char* function);

  world& w;
  std::unique_lock<std::mutex> lock;
  const char* function;
  thread_state& me;
  std::uint64_t operation;  ///< its number
};

/// Writes the call down. Has a value when the call ends here: failed or ignored on request, before
/// cuInit, in a forked child, on a device with a sticky error.
std::optional<CUresult> announce(frame& f, int function, reach where);

/// Undefined behaviour or a race: one finding.
void report(world& w, std::string text);

template <std::size_t Size>
struct function_name {
  char text[Size];
  consteval function_name(const char (&name)[Size]) {
    for (std::size_t i = 0; i < Size; ++i) text[i] = name[i];
  }
};

/// Runs the body of a driver function under the rules that hold for all of them. A body ends early
/// by throwing `call_failed`.
template <function_name Name, class Body>
CUresult call(reach where, Body&& body) noexcept {
  static const int function = call_book::find(Name.text);
  frame f(Name.text);
  if (const std::optional<CUresult> answer = announce(f, function, where)) return *answer;
  try {
    return body(f);
  } catch (const call_failed& failed) {
    return failed.code;
  }
}

/// The context that is current to the thread.
/// @throws call_failed CUDA_ERROR_INVALID_CONTEXT without an active one
context& need_context(frame& f);

/// The record behind a handle. A dead handle is a finding, and so is NULL.
/// @throws call_failed CUDA_ERROR_INVALID_HANDLE; CUDA_ERROR_INVALID_CONTEXT for a default stream
/// without a current context
stream& need_stream(frame& f, CUstream handle);
event& need_event(frame& f, CUevent handle);
context& need_context_record(frame& f, CUcontext handle);

/// @throws call_failed CUDA_ERROR_INVALID_VALUE
void need(bool valid);

/// The thread's per-thread stream, or the legacy stream, of a context.
stream& per_thread_stream(frame& f, context& home);
stream& legacy_stream(frame& f, context& home);

/// "the legacy stream of device 0", "stream 12 (non-blocking, device 1)", "the host"
std::string name_of(const world& w, timeline line);

}  // namespace fake_cuda
