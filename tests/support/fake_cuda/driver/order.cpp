#include <algorithm>
#include <chrono>

#include "memory.hpp"
#include "order.hpp"

namespace fake_cuda {

const vector_clock& past_of(world& w, stream& s) {
  s.known.join(w.host);
  context& c = *s.home;
  if (s.kind == stream_kind::legacy) {
    for (const stream* other : c.streams) {
      if (other->kind == stream_kind::blocking) s.known.join(other->known);
    }
    for (const auto& [thread, other] : c.per_thread) s.known.join(other->known);
  } else if (s.kind != stream_kind::non_blocking) {
    s.known.join(c.legacy.known);
  }
  return s.known;
}

moment happen(world& w, stream& s) {
  past_of(w, s);
  s.known.set(s.line, ++s.issued);
  return {s.line, s.issued};
}

moment happen_on_host(world& w) {
  w.host.set(host_line, ++w.host_ticks);
  return {host_line, w.host_ticks};
}

bool has_run(const world& w, const vector_clock& work) {
  if (w.always_idle) return true;
  for (std::size_t i = 0; i < work.size(); ++i) {
    const auto line = static_cast<timeline>(i);
    if (work[line] > std::max(w.host[line], w.ran[line])) return false;
  }
  return true;
}

void host_learns(world& w, const vector_clock& work) { w.host.join(work); }

void take_time(frame& f) {
  world& w = f.w;
  if (f.me.quiet) return;
  ++w.held;
  w.let_go.wait_for(f.lock, std::chrono::seconds(10), [&w] { return !w.hold; });
  --w.held;
}

void host_waits_for(frame& f, const vector_clock& work) {
  const vector_clock all = work;  // of now, not of when a held call goes on
  if (!f.me.quiet) ++f.w.host_waits;
  take_time(f);
  host_learns(f.w, all);
  shrink_to_thresholds(f.w);
}

vector_clock work_of(const context& c) {
  vector_clock all = c.retired;
  all.join(c.legacy.known);
  for (const stream* s : c.streams) all.join(s->known);
  for (const auto& [thread, s] : c.per_thread) all.join(s->known);
  return all;
}

}  // namespace fake_cuda
