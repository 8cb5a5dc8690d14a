#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_world.hpp"
#include "lending.hpp"
#include <dlpack_bridge/cuda/handshake.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

// Where a runner puts what it is given: a Python interpreter's queue, say.
std::mutex handed_mutex;
std::vector<owner> handed_over;

void take(owner due) noexcept {
  const std::lock_guard lock(handed_mutex);
  handed_over.push_back(std::move(due));
}

std::size_t handed() {
  const std::lock_guard lock(handed_mutex);
  return handed_over.size();
}

// One that is slow to put things down.
std::atomic<bool> taking{false};

void take_slowly(owner due) noexcept {
  taking = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  take(std::move(due));
}

// Memory that a busy stream of an unknown home holds up.
struct held_up {
  explicit held_up(block& memory)
      : writer(make_stream()), reader(make_stream()), from(memory, writer) {
    lent = from.lend(reader);
    memory.write(writer);
    order_after(cuda_device(0), handle_of(reader), cuda_device(0), handle_of(writer));
    memory.read(reader);
  }
  CUstream writer, reader;
  producer from;
  owner lent;
};

}  // namespace

TEST_CASE("collecting lets go of what is due, and of nothing else", "[release_queue]") {
  const fake_world world;
  block first, second;
  held_up one(first), two(second);
  one.lent.reset();
  CHECK(collect() == 0);
  CHECK(one.from.returned == 0);
  fake_cuda_run(0);
  collect();
  CHECK(eventually([&] { return one.from.returned == 1; }));
  CHECK(two.from.returned == 0);
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("collecting can wait for the streams", "[release_queue]") {
  const fake_world world;
  block first, second;
  held_up one(first), two(second);
  one.lent.reset();
  two.lent.reset();
  CHECK(collect(true) == 2);
  CHECK(one.from.returned == 1);
  CHECK(two.from.returned == 1);
  CHECK(one.from.thread == std::this_thread::get_id());
  CHECK(pending() == 0);
  CHECK(fake_cuda_host_waits() >= 1);
  CHECK(collect(true) == 0);
  CHECK(first_race() == "");
  CHECK(current_context() == nullptr);
}

TEST_CASE("a driver that refuses to wait does not hang the collector", "[release_queue]") {
  const fake_world world;
  block memory;
  held_up one(memory);
  one.lent.reset();
  fake_cuda_fail("cuEventSynchronize", 0, CUDA_ERROR_UNKNOWN, 0);
  CHECK(collect(true) == 0);
  fake_cuda_heal();
  CHECK(one.from.returned == 0);
  CHECK(collect(true) == 1);
}

TEST_CASE("a runner gets what falls due by itself, and only that", "[release_queue]") {
  const fake_world world;
  set_release_runner(take);
  block first, second, third;
  held_up one(first), two(second), three(third);
  stream_keeper kept;
  record_use(cuda_device(0), first.bytes, handle_of(one.reader), kept.give());
  one.lent.reset();
  fake_cuda_run(0);
  CHECK(eventually([&] { return handed() == 1; }));
  CHECK(one.from.returned == 0);
  CHECK(kept.dropped == 0);
  CHECK(pending() == 0);  // the runner counts what it holds
  two.lent.reset();       // idle by now: on this thread
  CHECK(two.from.returned == 1);
  set_release_runner(nullptr);
  handed_over.clear();
  CHECK(one.from.returned == 1);
  CHECK(one.from.thread == std::this_thread::get_id());
  CHECK(kept.dropped == 1);
  CHECK(first_race() == "");
}

TEST_CASE("collecting leaves nothing that is due in the hands of the queue's thread",
          "[release_queue]") {
  const fake_world world;
  set_release_runner(take_slowly);
  taking = false;
  block memory;
  held_up one(memory);
  one.lent.reset();
  fake_cuda_run(0);
  REQUIRE(eventually([] { return taking.load(); }));
  CHECK(collect() == 0);
  CHECK(handed() == 1);
  set_release_runner(nullptr);
  handed_over.clear();
  CHECK(one.from.returned == 1);
}

TEST_CASE("a release may lend, drop and collect", "[release_queue]") {
  const fake_world world;
  block first, second;
  held_up one(first);
  auto inner = std::make_unique<held_up>(second);
  struct nested {
    owner inner;
    std::int64_t went = -1;
  } state{std::move(inner->lent)};
  owner outer = lend(owner(&state,
                           [](void* object) noexcept {
                             auto& s = *static_cast<nested*>(object);
                             s.inner.reset();
                             s.went = collect(true);
                           }),
                     one.from.terms(one.reader));
  outer.reset();
  one.lent.reset();
  collect(true);
  CHECK(eventually([&] { return inner->from.returned == 1 && one.from.returned == 1; }));
  CHECK(state.went >= 0);
  CHECK(eventually([] { return pending() == 0; }));
}

TEST_CASE("many threads lend, declare, drop and collect at once", "[release_queue]") {
  const fake_world world;
  std::atomic<int> returned{0};
  constexpr int threads = 4, turns = 150;
  {
    std::vector<std::jthread> running;
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([&, i] {
        const CUstream home = make_stream(), reader = make_stream();
        block memory;
        for (int turn = 0; turn < turns; ++turn) {
          stream_keeper kept;
          loan terms{.where = cuda_device(0),
                     .begin = memory.bytes,
                     .nbytes = sizeof memory.bytes,
                     .user = handle_of(turn % 3 == 0 ? per_thread : reader),
                     .home = turn % 2 == 0 ? handle_of(home) : stream_handle()};
          owner lent = lend(owner(&returned,
                                  [](void* count) noexcept {
                                    static_cast<std::atomic<int>*>(count)->fetch_add(1);
                                  }),
                            std::move(terms));
          record_use(cuda_device(0), memory.bytes, handle_of(home), kept.give());
          memory.read(reader);
          if (turn % 5 == 0) std::jthread([&] { lent.reset(); }).join();
          else lent.reset();
          if (turn % 10 == i) fake_cuda_run(0);
          if (turn % 25 == 0) collect(i % 2 == 0);
          collect(true);  // `kept` lives on this stack
          eventually([&] { return kept.dropped == 1; });
        }
      });
    }
  }
  collect(true);
  CHECK(returned == threads * turns);
  CHECK(pending() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("a program that ends with pending releases ends well", "[release_queue]") {
  const outcome ended = run_alone("releases are pending at the end");
  CHECK(ended.code == 0);
  CHECK(ended.errors == "");
}
TEST_CASE("releases are pending at the end", "[.alone]") {
  // Made before the driver is opened: these two come after everything of the hub.
  static owner dropped_last;
  std::atexit([] {
    const long calls = fake_cuda_calls(nullptr);
    let_it_look();
    if (fake_cuda_calls(nullptr) != calls) std::fputs("a call after the end", stderr);
  });
  // Never destroyed, as the memory of a framework is not while it may be used.
  static auto& first = *new held_up(*new block);
  static auto& second = *new held_up(*new block);
  first.lent.reset();
  dropped_last = std::move(second.lent);
  CHECK(pending() == 1);
}
