#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_world.hpp"
#include <dlpack_bridge/cuda/context.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

static_assert(!std::is_copy_constructible_v<context_guard>);
static_assert(!std::is_copy_assignable_v<context_guard>);
static_assert(!std::is_copy_constructible_v<relaxed_capture>);

TEST_CASE("asking for the context of a sleeping device does not wake it", "[context]") {
  CHECK(run_alone("device 1 sleeps").code == 0);
}
TEST_CASE("device 1 sleeps", "[.alone]") {
  const driver_api& api = need_driver();
  REQUIRE(make_stream(0) != nullptr);
  CHECK(active_context(api, 1) == nullptr);
  CHECK_FALSE(enter_device(cuda_device(1)));
  CHECK(active_context(api, 0) != nullptr);
  CHECK(fake_cuda_live("contexts") == 1);
  CHECK(primary_context(api, 1) != nullptr);
  CHECK(fake_cuda_live("contexts") == 2);
  CHECK(active_context(api, 1) == primary_context(api, 1));
}

TEST_CASE("a context is retained once", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  make_stream(0);
  const CUcontext context = active_context(api, 0);
  fake_cuda_reset_calls();
  CHECK(active_context(api, 0) == context);
  CHECK(primary_context(api, 0) == context);
  CHECK(fake_cuda_calls(nullptr) == 0);
}

TEST_CASE("a device that does not exist is an error of its own", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  for (const int device : {-1, 2, 1000}) {
    try {
      active_context(api, device);
      FAIL("device " << device << " exists");
    } catch (const cuda_error& e) {
      CHECK(e.status() == CUDA_ERROR_INVALID_DEVICE);
      CHECK(std::string(e.what()).find(std::to_string(device)) != std::string::npos);
    }
    CHECK_THROWS_AS(primary_context(api, device), cuda_error);
  }
  CHECK(fake_cuda_calls(nullptr) == 0);
}

TEST_CASE("the device of a context is found", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  CHECK(device_of(api, primary_context(api, 1)) == 1);
  CHECK(device_of(api, primary_context(api, 0)) == 0);
}

TEST_CASE("a guard restores what was current, also nothing", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const CUcontext first = primary_context(api, 0), second = primary_context(api, 1);
  REQUIRE(current_context() == nullptr);
  {
    const context_guard outer(api, first);
    CHECK(current_context() == first);
    {
      const context_guard inner(api, second);
      CHECK(current_context() == second);
      const context_guard none(api, nullptr);
      CHECK(current_context() == second);
    }
    CHECK(current_context() == first);
  }
  CHECK(current_context() == nullptr);
}

TEST_CASE("a guard leaves a context that is current already", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const current_device current(0);
  fake_cuda_reset_calls();
  {
    const context_guard guard(api, primary_context(api, 0));
  }
  CHECK(fake_cuda_calls("cuCtxPushCurrent") == 0);
  CHECK(fake_cuda_calls("cuCtxPopCurrent") == 0);
}

TEST_CASE("a guard that cannot push leaves the stack as it was", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const CUcontext second = primary_context(api, 1);
  const current_device current(0);
  fake_cuda_fail("cuCtxPushCurrent", 1, CUDA_ERROR_INVALID_CONTEXT, 0);
  CHECK_THROWS_AS(context_guard(api, second), cuda_error);
  CHECK(current_context() == context_of(0));
  fake_cuda_fail("cuCtxGetCurrent", 1, CUDA_ERROR_UNKNOWN, 0);
  CHECK_THROWS_AS(context_guard(api, second), cuda_error);
  CHECK(current_context() == context_of(0));
}

TEST_CASE("entering a device lasts as long as its owner", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const CUcontext second = primary_context(api, 1);
  const current_device current(0);
  {
    const owner entered = enter_device(cuda_device(1));
    CHECK(entered);
    CHECK(current_context() == second);
  }
  CHECK(current_context() == context_of(0));
  CHECK_FALSE(enter_device(cuda_device(0)));
}

TEST_CASE("a relaxed thread goes back to the mode it had", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  const auto exchange = [](CUstreamCaptureMode mode) {
    const quiet own;
    cuThreadExchangeStreamCaptureMode(&mode);
    return mode;
  };
  exchange(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  {
    const relaxed_capture relaxed(api);
    CHECK(exchange(CU_STREAM_CAPTURE_MODE_RELAXED) == CU_STREAM_CAPTURE_MODE_RELAXED);
  }
  CHECK(exchange(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  fake_cuda_fail("cuThreadExchangeStreamCaptureMode", 1, CUDA_ERROR_UNKNOWN, 0);
  {
    const relaxed_capture relaxed(api);
  }
  CHECK(exchange(CU_STREAM_CAPTURE_MODE_GLOBAL) == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
}

TEST_CASE("threads that ask at once get one context", "[context]") {
  const fake_world world;
  const driver_api& api = need_driver();
  CUcontext seen[4] = {};
  {
    std::vector<std::jthread> threads;
    for (CUcontext& mine : seen) {
      threads.emplace_back([&] { mine = primary_context(api, 1); });
    }
  }
  for (const CUcontext one : seen) CHECK(one == seen[0]);
}
