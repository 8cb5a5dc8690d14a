#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "fake_world.hpp"
#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/event.hpp>
#include <dlpack_bridge/cuda/event_pool.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

static_assert(!std::is_copy_constructible_v<event>);
static_assert(!std::is_copy_assignable_v<event>);
static_assert(std::is_nothrow_move_constructible_v<event>);
static_assert(std::is_nothrow_move_assignable_v<event>);
static_assert(std::is_nothrow_destructible_v<event>);
static_assert(!std::is_copy_constructible_v<pooled_event>);
static_assert(std::is_nothrow_move_constructible_v<pooled_event>);

TEST_CASE("a default event is none", "[event]") {
  const event none;
  CHECK_FALSE(none);
  CHECK(none.get() == nullptr);
}

TEST_CASE("an event is destroyed once, when its owner dies", "[event]") {
  const fake_world world;
  const long before = fake_cuda_live("events");
  {
    const event one(cuda_device(0));
    CHECK(one);
    CHECK(one.where() == cuda_device(0));
    CHECK(fake_cuda_live("events") == before + 1);
  }
  CHECK(fake_cuda_live("events") == before);
  CHECK(fake_cuda_calls("cuEventDestroy") == 1);
}

TEST_CASE("a moved event is destroyed once and leaves the old one empty", "[event]") {
  const fake_world world;
  const long before = fake_cuda_live("events");
  {
    event first(cuda_device(1));
    void* const handle = first.get();
    const event second(std::move(first));
    CHECK_FALSE(first);
    CHECK(second.get() == handle);
    CHECK(second.where() == cuda_device(1));
  }
  CHECK(fake_cuda_live("events") == before);
  CHECK(fake_cuda_calls("cuEventDestroy") == 1);
}

TEST_CASE("an assigned event releases the old one first", "[event]") {
  const fake_world world;
  const long before = fake_cuda_live("events");
  event first(cuda_device(0)), second(cuda_device(1));
  void* const handle = second.get();
  first = std::move(second);
  CHECK(first.get() == handle);
  CHECK(first.where() == cuda_device(1));
  CHECK_FALSE(second);
  CHECK(fake_cuda_live("events") == before + 1);
  event& same = first;
  first = std::move(same);
  CHECK(first.get() == handle);
  first.reset();
  first.reset();
  CHECK_FALSE(first);
  CHECK(fake_cuda_live("events") == before);
}

TEST_CASE("an event may be dropped on a thread without a context", "[event]") {
  const fake_world world;
  const long before = fake_cuda_live("events");
  event one(cuda_device(0));
  std::jthread([dying = std::move(one)]() mutable { dying.reset(); }).join();
  CHECK(fake_cuda_live("events") == before);
}

TEST_CASE("an event that cannot be made throws and leaves nothing", "[event]") {
  const fake_world world;
  const long before = fake_cuda_live("events");
  fake_cuda_fail("cuEventCreate", 1, CUDA_ERROR_OUT_OF_MEMORY, 0);
  CHECK_THROWS_AS(event(cuda_device(0)), cuda_error);
  CHECK_THROWS_AS(event(cuda_device(7)), cuda_error);
  CHECK(fake_cuda_live("events") == before);
  CHECK(current_context() == nullptr);
}

TEST_CASE("an event orders a consumer after the work it marks", "[event]") {
  const fake_world world;
  block memory;
  const CUstream producer = make_stream(), consumer = make_stream();
  event mark(cuda_device(0));
  memory.write(producer);
  mark.record({cuda_device(0), producer});
  mark.order_before({cuda_device(0), consumer});
  memory.read(consumer);
  CHECK(first_race() == "");
  memory.write(producer);  // after the mark: not ordered
  memory.read(consumer);
  CHECK(fake_cuda_races() > 0);
  CHECK(fake_cuda_host_waits() == 0);
}

TEST_CASE("an event tells the host when it was reached, and lets it wait", "[event]") {
  const fake_world world;
  block memory;
  const CUstream stream = make_stream();
  event mark(cuda_device(0));
  memory.write(stream);
  mark.record({cuda_device(0), stream});
  CHECK_FALSE(mark.is_done());
  fake_cuda_run(0);
  CHECK(mark.is_done());
  memory.write(stream);
  mark.record({cuda_device(0), stream});
  mark.wait();
  CHECK(mark.is_done());
  CHECK(fake_cuda_host_waits() == 1);
  fake_cuda_host_access(memory.bytes, sizeof memory.bytes, 0);
  CHECK(first_race() == "");
}

TEST_CASE("an event refuses a stream of another device", "[event]") {
  const fake_world world;
  event mark(cuda_device(0));
  const CUstream other = make_stream(1);
  CHECK_THROWS_AS(mark.record({cuda_device(1), other}), cuda_error);
  CHECK(current_context() == nullptr);
}

TEST_CASE("what an event is asked in vain is an error", "[event]") {
  const fake_world world;
  event mark(cuda_device(0));
  fake_cuda_fail("cuEventQuery", 1, CUDA_ERROR_UNKNOWN, 0);
  CHECK_THROWS_AS(mark.is_done(), cuda_error);
  fake_cuda_fail("cuEventSynchronize", 1, CUDA_ERROR_UNKNOWN, 0);
  CHECK_THROWS_AS(mark.wait(), cuda_error);
  fake_cuda_fail("cuStreamWaitEvent", 1, CUDA_ERROR_UNKNOWN, 0);
  const stream_ref consumer(cuda_device(0), make_stream());
  CHECK_THROWS_AS(mark.order_before(consumer), cuda_error);
  CHECK(current_context() == nullptr);
}

TEST_CASE("pooled events are used again, by one at a time", "[event]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const placed_stream at = place(api, 0, handle_of(make_stream()));
  {
    const pooled_event warm(api, at), both(api, at);
  }
  const long before = fake_cuda_live("events");
  fake_cuda_reset_calls();
  CUevent seen = nullptr;
  {
    const pooled_event first(api, at), second(api, at);
    CHECK(first.get() != second.get());
    seen = second.get();
  }
  {
    pooled_event first(api, at);
    const pooled_event moved(std::move(first));
    CHECK_FALSE(first);
    pooled_event second(api, at);
    CHECK((moved.get() == seen || second.get() == seen));
    second = pooled_event();
    CHECK_FALSE(second);
  }
  CHECK(fake_cuda_calls("cuEventCreate") == 0);
  CHECK(fake_cuda_calls("cuEventDestroy") == 0);
  CHECK(fake_cuda_live("events") == before);
}

TEST_CASE("each device has a pool of its own", "[event]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const placed_stream here = place(api, 0, handle_of(make_stream(0)));
  const placed_stream there = place(api, 1, handle_of(make_stream(1)));
  for (int turn = 0; turn < 3; ++turn) {
    const pooled_event first(api, here), second(api, there);
    record(api, first.get(), here);
    record(api, second.get(), there);
  }
  CHECK(first_race() == "");
}

TEST_CASE("a dedicated event never goes into the pool", "[event]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const placed_stream at = place(api, 0, handle_of(make_stream()));
  const long before = fake_cuda_live("events");
  {
    const pooled_event own = pooled_event::dedicated(api, at);
  }
  CHECK(fake_cuda_live("events") == before);
}

TEST_CASE("threads share a pool", "[event]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const placed_stream at = place(api, 0, handle_of(make_stream()));
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int turn = 0; turn < 200; ++turn) {
          const pooled_event mark(api, at);
          record(api, mark.get(), at);
        }
      });
    }
  }
  CHECK(fake_cuda_calls("cuEventCreate") <= 4);
}
