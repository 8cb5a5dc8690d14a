#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <pthread.h>

#include "memory.hpp"
#include "order.hpp"
#include "world.hpp"

namespace fake_cuda {
namespace {

int number_from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == 0 ? otherwise : std::atoi(text);
}

// The primary contexts stay where they are: a dead context is never the address of a live one.
void reset_devices(world& w) {
  const auto count =
      static_cast<std::size_t>(std::clamp(number_from_environment("FAKE_CUDA_DEVICES", 2), 0, 16));
  while (w.devices.size() < count) w.devices.push_back(std::make_unique<context>());
  w.devices.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    *w.devices[i] = context{};
    w.devices[i]->device = w.devices[i]->default_pool.device = static_cast<int>(i);
  }
  for (const auto& green : w.greens) *green = context{};
  w.sticky.assign(count, CUDA_SUCCESS);
  w.peers = number_from_environment("FAKE_CUDA_PEERS", 1) != 0;
}

// A stream that begins again as if nothing had ever run on it.
void renew(world& w, stream& s) {
  s.known.clear();
  s.issued = 0;
  s.line = static_cast<timeline>(w.lines.size());
  w.lines.push_back({s.home->device, s.kind, s.id, s.home->green});
}

world& make_world() {
  world& w = *new world;
  reset_devices(w);
  // The child gets a mutex that nobody holds, and a driver that does not answer.
  pthread_atfork([] { the_world().mutex.lock(); }, [] { the_world().mutex.unlock(); },
                 [] {
                   the_world().forked = the_world().initialised;
                   the_world().mutex.unlock();
                 });
  return w;
}

}  // namespace

world& the_world() {
  static world& w = make_world();
  return w;
}

void reset(world& w) {
  ++w.generation;
  reset_devices(w);
  w.streams.reset();
  w.events.reset();
  w.graphs.reset();
  w.libraries.reset();
  w.kernels.reset();
  w.pools.reset();
  w.captures.clear();
  forget_memory(w);
  w.host.clear();
  w.host_ticks = 0;
  w.ran.clear();
  w.always_idle = false;
  w.lines.assign(1, timeline_name{});
  w.calls = call_book{};
  w.host_waits = 0;
  w.invalidated = 0;
  w.hold = false;
  w.let_go.notify_all();
  w.findings.clear();
  w.finding_count = 0;
}

void settle(world& w) {
  w.lines.resize(1);
  w.host.clear();
  w.host_ticks = 0;
  w.ran.clear();
  each_context(w, [&w](context& c) {
    c.retired.clear();
    if (c.legacy.alive) renew(w, c.legacy);
    for (const auto& [thread, s] : c.per_thread) renew(w, *s);
  });
  w.streams.each([&w](stream& s) { renew(w, s); });
  w.events.each([](event& e) { e.state.clear(); });
  for (const auto& [begin, b] : w.blocks) b->freed_at = moment{};
  w.shadow.clear();
}

}  // namespace fake_cuda
