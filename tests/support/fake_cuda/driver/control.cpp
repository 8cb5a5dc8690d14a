#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "../fake_cuda.h"
#include "memory.hpp"
#include "order.hpp"
#include "streams.hpp"
#include "work.hpp"

// What tests ask of the fake; see fake_cuda.h.
#define FAKE_CUDA_CONTROL extern "C" __attribute__((visibility("default")))

using namespace fake_cuda;

namespace {

// The context of a framework that is at work on a device, active from then on.
context& primary_of_framework(frame& f, int device) {
  const bool exists = device >= 0 && static_cast<std::size_t>(device) < f.w.devices.size();
  if (!exists) throw call_failed{CUDA_ERROR_INVALID_DEVICE};
  f.w.initialised = true;
  context& home = *f.w.devices[static_cast<std::size_t>(device)];
  home.retained = std::max(home.retained, 1);
  return home;
}

// A framework at work: in what is current to the thread, or else in the primary context.
context& framework_on(frame& f, int device) {
  context& primary = primary_of_framework(f, device);
  context* const current = f.me.contexts.empty() ? nullptr : f.me.contexts.back();
  return current != nullptr && current->device == device ? *current : primary;
}

stream& stream_of_framework(frame& f, int device, CUstream handle) {
  context& home = framework_on(f, device);
  if (handle == CU_STREAM_LEGACY) return legacy_stream(f, home);
  if (handle == CU_STREAM_PER_THREAD) return per_thread_stream(f, home);
  stream& s = need_stream(f, handle);
  if (s.home->device == device) return s;
  report(f.w, std::string(f.function) + " was given a stream of another device");
  throw call_failed{CUDA_ERROR_INVALID_HANDLE};
}

template <class Body>
CUresult control(const char* name, Body body) {
  frame f(name);
  try {
    return body(f);
  } catch (const call_failed& failed) {
    return failed.code;
  }
}

byte_range range_of(const void* data, std::size_t bytes) {
  const auto begin = reinterpret_cast<address>(data);
  return {begin, begin + bytes};
}

void instruct(const char* function, int nth, call_book::order what) {
  frame f("fake_cuda_fail or fake_cuda_ignore");
  const int found = call_book::find(function);
  if (found >= 0) f.w.calls.instruct(found, nth, what);
  else report(f.w, std::string(f.function) + ": there is no function " + function);
}

long active_contexts(const world& w) {
  return std::ranges::count_if(w.devices, [](const auto& c) { return c->retained > 0; });
}

long alive_blocks(const world& w, std::initializer_list<block_kind> kinds) {
  return std::ranges::count_if(w.blocks, [&](const auto& entry) {
    const block& b = *entry.second;
    return b.freed_by == nullptr && std::ranges::find(kinds, b.kind) != kinds.end();
  });
}

}  // namespace

FAKE_CUDA_CONTROL void fake_cuda_reset(void) {
  frame f(__func__);
  reset(f.w);
}

FAKE_CUDA_CONTROL void fake_cuda_settle(void) {
  frame f(__func__);
  settle(f.w);
}

FAKE_CUDA_CONTROL CUresult fake_cuda_work(int device, CUstream stream,
                                          const fake_cuda_access* accesses, int count) {
  return control("a kernel", [&](frame& f) {
    std::vector<touched> ranges;
    for (int i = 0; i < count; ++i) {
      ranges.push_back({range_of(accesses[i].data, accesses[i].bytes), accesses[i].writes != 0});
    }
    fake_cuda::stream& s = stream_of_framework(f, device, stream);
    for (const touched& t : ranges) {
      // Frameworks see to it that their devices reach what they allocated themselves.
      const block* b = block_at(f.w, t.bytes.begin);
      if (b != nullptr && b->kind == block_kind::pooled && !reaches(*s.home, *b)) {
        fault(f, *s.home, "touches pooled memory of another device without access");
      }
    }
    put_work(f, s, ranges);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_CONTROL void fake_cuda_host_access(const void* data, size_t bytes, int writes) {
  frame f("the program");
  const moment now = happen_on_host(f.w);
  touch(f, range_of(data, bytes), writes != 0, now, f.w.host);
}

FAKE_CUDA_CONTROL CUresult fake_cuda_reuse(int device, CUstream stream, void* data, size_t bytes) {
  return control("the next owner of the block", [&](frame& f) {
    const touched whole{range_of(data, bytes), true};
    if (put_work(f, stream_of_framework(f, device, stream), {&whole, 1})) {
      std::memset(data, 0xCD, bytes);
    }
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_CONTROL CUstream fake_cuda_stream(int device, unsigned flags) {
  CUstream made = nullptr;
  control(__func__, [&](frame& f) {
    made = reinterpret_cast<CUstream>(&make_stream(f.w, framework_on(f, device), flags));
    return CUDA_SUCCESS;
  });
  return made;
}

FAKE_CUDA_CONTROL CUcontext fake_cuda_green_context(int device) {
  CUcontext made = nullptr;
  control(__func__, [&](frame& f) {
    primary_of_framework(f, device);
    context& green = *f.w.greens.emplace_back(std::make_unique<context>());
    green.device = device;
    green.retained = 1;
    green.green = true;
    made = reinterpret_cast<CUcontext>(&green);
    return CUDA_SUCCESS;
  });
  return made;
}

FAKE_CUDA_CONTROL CUresult fake_cuda_adopt(int device, const void* data, size_t bytes) {
  return control(__func__, [&](frame& f) {
    context& home = primary_of_framework(f, device);
    enroll(f, home, block_kind::adopted, reinterpret_cast<address>(data), bytes);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_CONTROL void fake_cuda_disown(const void* data) {
  frame f(__func__);
  block* b = block_at(f.w, reinterpret_cast<address>(data));
  if (b != nullptr && b->kind == block_kind::adopted) strike_off(f.w, *b);
  else report(f.w, "fake_cuda_disown of memory that was not adopted");
}

FAKE_CUDA_CONTROL void fake_cuda_run(int device) {
  frame f(__func__);
  each_context(f.w, [&](const context& c) {
    if (c.device != device) return;
    // What a stream knows of other devices' work has not run by this.
    const auto own = [&](const stream& s) { f.w.ran.set(s.line, s.issued); };
    if (c.legacy.alive) own(c.legacy);
    for (const stream* s : c.streams) own(*s);
    for (const auto& [thread, s] : c.per_thread) own(*s);
    for (std::size_t i = 1; i < f.w.lines.size(); ++i) {
      const auto line = static_cast<timeline>(i);
      if (f.w.lines[i].device == device && c.retired[line] > f.w.ran[line]) {
        f.w.ran.set(line, c.retired[line]);
      }
    }
  });
}

FAKE_CUDA_CONTROL void fake_cuda_set_idle(int always_idle) {
  frame f(__func__);
  f.w.always_idle = always_idle != 0;
}

FAKE_CUDA_CONTROL void fake_cuda_hold(int on) {
  frame f(__func__);
  f.w.hold = on != 0;
  f.w.let_go.notify_all();
}

FAKE_CUDA_CONTROL int fake_cuda_held(void) {
  frame f(__func__);
  return f.w.held;
}

FAKE_CUDA_CONTROL int fake_cuda_races(void) {
  frame f(__func__);
  return f.w.finding_count;
}

FAKE_CUDA_CONTROL const char* fake_cuda_race(int index) {
  thread_local std::string text;
  frame f(__func__);
  const auto at = static_cast<std::size_t>(index);
  if (index < 0 || at >= f.w.findings.size()) return nullptr;
  text = f.w.findings[at];
  return text.c_str();
}

FAKE_CUDA_CONTROL void fake_cuda_clear_races(void) {
  frame f(__func__);
  f.w.findings.clear();
  f.w.finding_count = 0;
}

FAKE_CUDA_CONTROL long fake_cuda_calls(const char* function) {
  frame f(__func__);
  if (function == nullptr) return f.w.calls.count_all();
  const int found = call_book::find(function);
  return found < 0 ? -1 : f.w.calls.count(found);
}

FAKE_CUDA_CONTROL void fake_cuda_reset_calls(void) {
  frame f(__func__);
  f.w.calls.clear_counts();
  f.w.host_waits = 0;
}

FAKE_CUDA_CONTROL const char* fake_cuda_call_log(void) {
  thread_local std::string text;
  frame f(__func__);
  text = f.w.calls.log();
  return text.c_str();
}

FAKE_CUDA_CONTROL long fake_cuda_host_waits(void) {
  frame f(__func__);
  return f.w.host_waits;
}

FAKE_CUDA_CONTROL void fake_cuda_set_quiet(int on) {
  frame f(__func__);
  f.me.quiet = on != 0;
}

FAKE_CUDA_CONTROL long fake_cuda_live(const char* what) {
  frame f(__func__);
  const std::string_view word = what;
  if (word == "events") return f.w.events.alive();
  if (word == "streams") return f.w.streams.alive();
  if (word == "contexts") return active_contexts(f.w);
  if (word == "captures") return f.w.invalidated;
  if (word == "device") return alive_blocks(f.w, {block_kind::device, block_kind::pooled});
  if (word == "pooled") {
    const auto held = [](const auto& e) { return e.second->pool != nullptr; };
    return std::ranges::count_if(f.w.blocks, held);
  }
  if (word == "host") return alive_blocks(f.w, {block_kind::host});
  if (word == "managed") return alive_blocks(f.w, {block_kind::managed});
  return -1;
}

FAKE_CUDA_CONTROL void fake_cuda_fail(const char* function, int nth, CUresult code, int sticky) {
  instruct(function, nth, {code, sticky != 0});
}

FAKE_CUDA_CONTROL void fake_cuda_ignore(const char* function, int nth) {
  instruct(function, nth, {CUDA_SUCCESS, false});
}

FAKE_CUDA_CONTROL long fake_cuda_ignored(void) {
  frame f(__func__);
  return f.w.calls.ignored();
}

FAKE_CUDA_CONTROL void fake_cuda_heal(void) {
  frame f(__func__);
  f.w.calls.clear_orders();
  std::ranges::fill(f.w.sticky, CUDA_SUCCESS);
}
