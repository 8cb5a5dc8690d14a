#include <atomic>

#include "frame.hpp"

namespace fake_cuda {
namespace {

thread_state& this_thread(world& w) {
  static std::atomic<std::uint64_t> last{0};
  thread_local thread_state me{.id = ++last};
  if (me.generation != w.generation) {
    me.generation = w.generation;
    me.contexts.clear();
    me.mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  }
  return me;
}

bool is_default(const void* stream) {
  return stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

int device_reached(const frame& f, reach where) {
  if (where.of == reach::kind::on_stream && !is_default(where.handle)) {
    const stream* s = f.w.streams.find(where.handle);
    return s == nullptr ? -1 : s->home->device;
  }
  if (where.of == reach::kind::on_event) {
    const event* e = f.w.events.find(where.handle);
    return e == nullptr ? -1 : e->home->device;
  }
  if (where.of == reach::kind::anything || where.of == reach::kind::driver) return -1;
  return f.me.contexts.empty() || f.me.contexts.back() == nullptr ? -1
                                                                  : f.me.contexts.back()->device;
}

stream& make_default_stream(world& w, stream& s, context& home, stream_kind kind) {
  s.home = &home;
  s.kind = kind;
  s.alive = true;
  s.id = ++w.last_id;
  s.line = static_cast<timeline>(w.lines.size());
  w.lines.push_back({home.device, kind, s.id, home.green});
  return s;
}

std::string dead_handle(const frame& f, const char* what, const void* handle) {
  char text[128];
  std::snprintf(text, sizeof text, "%s was given %s %p, which does not exist", f.function, what,
                handle);
  return text;
}

}  // namespace

frame::frame(const char* name)
    : w(the_world()), lock(w.mutex), function(name), me(this_thread(w)), operation(++w.operations) {
}

std::optional<CUresult> announce(frame& f, int function, reach where) {
  world& w = f.w;
  std::optional<call_book::order> order;
  if (!f.me.quiet) order = w.calls.write(function);
  const int device = device_reached(f, where);
  if (order) {
    const bool sticks = order->sticky && order->answer != CUDA_SUCCESS;
    const auto on = static_cast<std::size_t>(device < 0 ? 0 : device);
    if (sticks && on < w.sticky.size()) w.sticky[on] = order->answer;
    return order->answer;
  }
  if (where.of == reach::kind::anything) return std::nullopt;
  if (!w.initialised || w.forked) return CUDA_ERROR_NOT_INITIALIZED;
  const CUresult sticky = device < 0 ? CUDA_SUCCESS : w.sticky[static_cast<std::size_t>(device)];
  if (sticky != CUDA_SUCCESS) return sticky;
  return std::nullopt;
}

void report(world& w, std::string text) {
  // The count is exact; nobody reads thousands of texts.
  if (++w.finding_count <= 256) w.findings.push_back(std::move(text));
}

void need(bool valid) {
  if (!valid) throw call_failed{CUDA_ERROR_INVALID_VALUE};
}

context& need_context(frame& f) {
  if (f.me.contexts.empty()) throw call_failed{CUDA_ERROR_INVALID_CONTEXT};
  context* current = f.me.contexts.back();
  if (current == nullptr || current->retained == 0) throw call_failed{CUDA_ERROR_INVALID_CONTEXT};
  return *current;
}

stream& legacy_stream(frame& f, context& home) {
  if (home.legacy.alive) return home.legacy;
  return make_default_stream(f.w, home.legacy, home, stream_kind::legacy);
}

stream& per_thread_stream(frame& f, context& home) {
  std::unique_ptr<stream>& mine = home.per_thread[f.me.id];
  if (mine != nullptr) return *mine;
  mine = std::make_unique<stream>();
  return make_default_stream(f.w, *mine, home, stream_kind::per_thread);
}

stream& need_stream(frame& f, CUstream handle) {
  if (handle == nullptr && !f.me.quiet) {
    report(f.w, std::string(f.function) + " was given the NULL stream");
  }
  if (handle == CU_STREAM_PER_THREAD) return per_thread_stream(f, need_context(f));
  if (is_default(handle)) return legacy_stream(f, need_context(f));
  if (stream* found = f.w.streams.find(handle)) return *found;
  report(f.w, dead_handle(f, "the stream", handle));
  throw call_failed{CUDA_ERROR_INVALID_HANDLE};
}

event& need_event(frame& f, CUevent handle) {
  if (event* found = f.w.events.find(handle)) return *found;
  report(f.w, dead_handle(f, "the event", handle));
  throw call_failed{CUDA_ERROR_INVALID_HANDLE};
}

context& need_context_record(frame& f, CUcontext handle) {
  context* found = nullptr;
  each_context(f.w, [&](context& c) {
    const void* address = &c;
    if (address == handle && c.retained > 0) found = &c;
  });
  if (found != nullptr) return *found;
  report(f.w, dead_handle(f, "the context", handle));
  throw call_failed{CUDA_ERROR_INVALID_CONTEXT};
}

std::string name_of(const world& w, timeline line) {
  const timeline_name& name = w.lines[line];
  const std::string device =
      (name.green ? "a green context of device " : "device ") + std::to_string(name.device);
  if (name.device < 0) return "the host";
  switch (name.kind) {
    case stream_kind::legacy: return "the legacy stream of " + device;
    case stream_kind::per_thread:
      return "per-thread stream " + std::to_string(name.id) + " (" + device + ")";
    case stream_kind::blocking:
      return "stream " + std::to_string(name.id) + " (blocking, " + device + ")";
    case stream_kind::non_blocking:
      return "stream " + std::to_string(name.id) + " (non-blocking, " + device + ")";
  }
  return device;
}

}  // namespace fake_cuda
