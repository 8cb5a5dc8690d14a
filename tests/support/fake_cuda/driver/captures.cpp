#include <algorithm>

#include "captures.hpp"

namespace fake_cuda {
namespace {

void invalidate(world& w, capture& c) {
  if (!c.valid) return;
  c.valid = false;
  ++w.invalidated;
}

// The captures that the legacy stream of a context would depend on.
std::vector<capture*> implicit_captures(const stream& legacy) {
  std::vector<capture*> found;
  if (legacy.kind != stream_kind::legacy) return found;
  const context& c = *legacy.home;
  for (const stream* s : c.streams) {
    if (s->kind == stream_kind::blocking && s->capturing != nullptr) found.push_back(s->capturing);
  }
  for (const auto& [thread, s] : c.per_thread) {
    if (s->capturing != nullptr) found.push_back(s->capturing);
  }
  return found;
}

void forbid_implicit(frame& f, const stream& s) {
  const std::vector<capture*> touched = implicit_captures(s);
  for (capture* c : touched) invalidate(f.w, *c);
  if (!touched.empty()) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_IMPLICIT};
}

capture* find_capture(world& w, std::uint64_t id) {
  const auto found = std::ranges::find(w.captures, id, [](const auto& c) { return c->id; });
  return found == w.captures.end() ? nullptr : found->get();
}

void join_capture(capture& c, stream& s) {
  s.capturing = &c;
  s.captured.clear();
  s.capture_line = static_cast<timeline>(c.members.size());
  c.members.push_back(&s);
  c.issued.push_back(0);
  // A fork is a node: it has to be joined again even when no work follows.
  capture_work(s);
}

void leave_capture(world& w, capture& c) {
  for (stream* s : c.members) s->capturing = nullptr;
  std::erase_if(w.captures, [&c](const auto& other) { return other.get() == &c; });
}

bool all_joined(const capture& c) {
  for (std::size_t i = 0; i < c.members.size(); ++i) {
    if (!c.origin->captured.covers({static_cast<timeline>(i), c.issued[i]})) return false;
  }
  return true;
}

}  // namespace

bool goes_into_graph(frame& f, stream& s) {
  if (s.capturing == nullptr) {
    forbid_implicit(f, s);
    return false;
  }
  if (!s.capturing->valid) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_INVALIDATED};
  return true;
}

void capture_work(stream& s) {
  s.captured.set(s.capture_line, ++s.capturing->issued[s.capture_line]);
}

void forbid_unsafe(frame& f) {
  const CUstreamCaptureMode mine = f.me.mode;
  if (mine == CU_STREAM_CAPTURE_MODE_RELAXED) return;
  bool forbidden = false;
  for (const auto& c : f.w.captures) {
    const bool own = c->thread == f.me.id && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    const bool global =
        mine == CU_STREAM_CAPTURE_MODE_GLOBAL && c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!c->valid || !(own || global)) continue;
    invalidate(f.w, *c);
    forbidden = true;
  }
  if (forbidden) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
}

void forbid_while_capturing(frame& f, int device) {
  bool forbidden = false;
  for (const auto& c : f.w.captures) {
    const bool here = std::ranges::any_of(
        c->members, [device](const stream* s) { return s->home->device == device; });
    if (!here) continue;
    invalidate(f.w, *c);
    forbidden = true;
  }
  if (forbidden) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
}

void forbid_asking(frame& f, stream& s) {
  if (goes_into_graph(f, s)) {
    invalidate(f.w, *s.capturing);
    throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
  }
  forbid_unsafe(f);
}

void forbid_asking(frame& f, event& e) {
  if (e.captured_in != 0) {
    if (capture* c = find_capture(f.w, e.captured_in)) invalidate(f.w, *c);
    throw call_failed{CUDA_ERROR_CAPTURED_EVENT};
  }
  forbid_unsafe(f);
}

void record_captured(event& e, stream& s) {
  e.captured_in = s.capturing->id;
  e.captured = s.captured;
}

void wait_captured(frame& f, stream& s, event& e, bool external) {
  if (external && s.capturing != nullptr) {
    capture_work(s);
    return;
  }
  capture* from = find_capture(f.w, e.captured_in);
  if (e.captured_in == 0) {
    invalidate(f.w, *s.capturing);
    throw call_failed{CUDA_ERROR_STREAM_CAPTURE_ISOLATION};
  }
  if (from == nullptr) {  // its capture has ended
    if (s.capturing != nullptr) invalidate(f.w, *s.capturing);
    throw call_failed{CUDA_ERROR_CAPTURED_EVENT};
  }
  if (!from->valid) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_INVALIDATED};
  if (s.capturing != nullptr && s.capturing != from) {
    invalidate(f.w, *from);
    invalidate(f.w, *s.capturing);
    throw call_failed{CUDA_ERROR_STREAM_CAPTURE_MERGE};
  }
  if (s.kind == stream_kind::legacy) {
    invalidate(f.w, *from);
    throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
  }
  if (s.capturing == nullptr) join_capture(*from, s);
  s.captured.join(e.captured);
}

CUstreamCaptureStatus capture_status(const stream& s) {
  if (!implicit_captures(s).empty()) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_IMPLICIT};
  if (s.capturing == nullptr) return CU_STREAM_CAPTURE_STATUS_NONE;
  return s.capturing->valid ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                            : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
}

void begin_capture(frame& f, stream& s, CUstreamCaptureMode mode) {
  need(mode == CU_STREAM_CAPTURE_MODE_GLOBAL || mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ||
       mode == CU_STREAM_CAPTURE_MODE_RELAXED);
  if (s.kind == stream_kind::legacy) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED};
  if (s.capturing != nullptr) throw call_failed{CUDA_ERROR_ILLEGAL_STATE};
  auto begun = std::make_unique<capture>();
  begun->id = ++f.w.last_id;
  begun->origin = &s;
  begun->mode = mode;
  begun->thread = f.me.id;
  join_capture(*begun, s);
  f.w.captures.push_back(std::move(begun));
}

CUgraph end_capture(frame& f, stream& s) {
  if (s.capturing == nullptr) throw call_failed{CUDA_ERROR_ILLEGAL_STATE};
  capture& c = *s.capturing;
  if (c.origin != &s) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNMATCHED};
  if (c.mode != CU_STREAM_CAPTURE_MODE_RELAXED && c.thread != f.me.id) {
    throw call_failed{CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD};
  }
  const bool valid = c.valid;
  const bool joined = all_joined(c);
  leave_capture(f.w, c);
  if (!valid) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_INVALIDATED};
  if (!joined) throw call_failed{CUDA_ERROR_STREAM_CAPTURE_UNJOINED};
  return reinterpret_cast<CUgraph>(&f.w.graphs.make());
}

void abandon_capture(world& w, stream& s) {
  if (s.capturing == nullptr) return;
  capture& c = *s.capturing;
  invalidate(w, c);
  if (c.origin == &s) leave_capture(w, c);
  else std::ranges::replace(c.members, &s, c.origin);  // keeps the places of the others
}

}  // namespace fake_cuda
