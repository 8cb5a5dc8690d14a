#include <concepts>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_world.hpp"
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

static_assert(!std::is_copy_constructible_v<stream>);
static_assert(!std::is_copy_assignable_v<stream>);
static_assert(std::is_nothrow_move_constructible_v<stream>);
static_assert(std::is_nothrow_move_assignable_v<stream>);
static_assert(std::is_nothrow_destructible_v<stream>);
static_assert(std::convertible_to<const stream&, stream_ref>);
static_assert(!std::convertible_to<stream, stream_ref>, "a view of a dying owner");
static_assert(!std::constructible_from<stream_ref, device, stream>, "a view of a dying owner");

TEST_CASE("a default stream object is no stream", "[stream]") {
  const cuda::stream none;
  CHECK_FALSE(none);
  CHECK(none.get() == nullptr);
  CHECK_FALSE(none.handle().known());
}

TEST_CASE("a stream is destroyed once, when its owner dies", "[stream]") {
  const fake_world world;
  const long before = fake_cuda_live("streams");
  {
    const cuda::stream one(cuda_device(1));
    CHECK(one);
    CHECK(one.where() == cuda_device(1));
    CHECK(one.handle() == stream_ref(one).handle());
    CHECK(fake_cuda_live("streams") == before + 1);
  }
  CHECK(fake_cuda_live("streams") == before);
  CHECK(fake_cuda_calls("cuStreamDestroy") == 1);
  CHECK(fake_cuda_host_waits() == 0);
}

TEST_CASE("a moved stream is destroyed once and leaves the old one empty", "[stream]") {
  const fake_world world;
  const long before = fake_cuda_live("streams");
  {
    cuda::stream first(cuda_device(1));
    void* const handle = first.get();
    cuda::stream second(std::move(first));
    CHECK_FALSE(first);
    CHECK(second.get() == handle);
    CHECK(second.where() == cuda_device(1));
    cuda::stream third(cuda_device(0));
    third = std::move(second);
    CHECK_FALSE(second);
    CHECK(third.get() == handle);
    CHECK(third.where() == cuda_device(1));
    CHECK(fake_cuda_live("streams") == before + 1);
    cuda::stream& same = third;
    third = std::move(same);
    CHECK(third.get() == handle);
  }
  CHECK(fake_cuda_live("streams") == before);
}

TEST_CASE("a stream may be dropped on a thread without a context", "[stream]") {
  const fake_world world;
  const long before = fake_cuda_live("streams");
  cuda::stream one(cuda_device(0));
  std::jthread([dying = std::move(one)]() mutable { dying.reset(); }).join();
  CHECK(fake_cuda_live("streams") == before);
  CHECK(first_race() == "");
}

TEST_CASE("a stream is not ordered with the legacy stream", "[stream]") {
  const fake_world world;
  const cuda::stream own(cuda_device(0));
  block memory;
  memory.write(static_cast<CUstream>(own.get()));
  memory.read(legacy);
  CHECK(fake_cuda_races() > 0);
}

TEST_CASE("a stream that cannot be made throws and leaves nothing", "[stream]") {
  const fake_world world;
  const long before = fake_cuda_live("streams");
  fake_cuda_fail("cuStreamCreateWithPriority", 1, CUDA_ERROR_OUT_OF_MEMORY, 0);
  CHECK_THROWS_AS(cuda::stream(cuda_device(0)), cuda_error);
  CHECK_THROWS_AS(cuda::stream(cuda_device(5)), cuda_error);
  CHECK(fake_cuda_live("streams") == before);
  CHECK(current_context() == nullptr);
}

TEST_CASE("a stream waits for an event, the host for a stream", "[stream]") {
  const fake_world world;
  const cuda::stream producer(cuda_device(0)), consumer(cuda_device(0));
  block memory;
  memory.write(static_cast<CUstream>(producer.get()));
  event mark(cuda_device(0));
  mark.record(producer);
  consumer.wait_for(mark);
  memory.write(static_cast<CUstream>(consumer.get()));
  CHECK(fake_cuda_host_waits() == 0);
  consumer.synchronize();
  CHECK(fake_cuda_host_waits() == 1);
  fake_cuda_host_access(memory.bytes, sizeof memory.bytes, 1);
  CHECK(first_race() == "");
}

TEST_CASE("the hub has one stream of its own on each device", "[stream]") {
  const fake_world world;
  const stream_ref first = own_stream(cuda_device(0)), second = own_stream(cuda_device(1));
  CHECK(first == own_stream(cuda_device(0)));
  CHECK(first != second);
  CHECK(second.where() == cuda_device(1));
  CHECK(first.kind() == stream_kind::handle);
  CHECK_THROWS_AS(own_stream(cuda_device(2)), cuda_error);
}

TEST_CASE("an own stream that could not be made is made at the next call", "[stream]") {
  CHECK(run_alone("the first own stream fails").code == 0);
}
TEST_CASE("the first own stream fails", "[.alone]") {
  fake_cuda_fail("cuStreamCreateWithPriority", 1, CUDA_ERROR_OUT_OF_MEMORY, 0);
  CHECK_THROWS_AS(own_stream(cuda_device(0)), cuda_error);
  CHECK(own_stream(cuda_device(0)));
}

TEST_CASE("threads that ask for the own stream at once get one", "[stream]") {
  const fake_world world;
  void* seen[4] = {};
  {
    std::vector<std::jthread> threads;
    for (void*& mine : seen) {
      threads.emplace_back([&] { mine = own_stream(cuda_device(1)).get(); });
    }
  }
  for (void* const one : seen) CHECK(one == seen[0]);
}
