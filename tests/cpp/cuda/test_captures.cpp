#include <cstddef>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "fake_world.hpp"
#include <dlpack_bridge/cuda/copy.hpp>
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/event.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

// What the hub does beside a capture, its own thread's or another's, leaves it valid: also what it
// does for the first time, since it makes what it needs when it is needed. So each case has a
// process to itself.

using namespace dlpack_bridge;

namespace {

using body = std::function<void()>;

/// Memory of a framework, or pageable memory of the host. Stays to the end of the process.
void* bytes_on(device where, std::size_t bytes) {
  constexpr std::size_t alignment = 64;
  void* const data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (needs_cuda(where.type)) must(fake_cuda_adopt(where.id, data, bytes));
  return data;
}

/// A copy of floats, every `step`th of the source, between new arrays.
body copying(device from, device to, extent count, extent step = 1) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  void* const source = bytes_on(from, bytes * static_cast<std::size_t>(step));
  void* const target = bytes_on(to, bytes);
  const stream_handle stream = handle_of(make_stream(needs_cuda(to.type) ? to.id : from.id));
  return [=] {
    const extent from_step = step * extent{sizeof(float)}, to_step = sizeof(float);
    cuda::copy({.shape = &count,
                .ndim = 1,
                .from = {source, &from_step, float32},
                .to = {target, &to_step, float32},
                .from_device = from,
                .to_device = to,
                .change = {},
                .stream = stream});
  };
}

body allocating(device where) {
  return [=, stream = handle_of(make_stream())] {
    cuda::abandon(cuda::allocate(5000, 64, where, stream).keep);
  };
}

struct action {
  const char* name;
  body (*prepare)();  ///< before the capture; the rest is done beside it
};

const action actions[] = {
    {"own stream", [] { return body([] { cuda::own_stream(cuda_device(0)); }); }},
    {"sleeping device",
     [] {
       return body([] {
         cuda::order_after(cuda_device(1), handle_of(legacy), cuda_device(0),
                           handle_of(make_stream()));
       });
     }},
    {"new stream", [] { return body([] { const cuda::stream made(cuda_device(0)); }); }},
    {"dropped stream",
     [] {
       const auto kept = std::make_shared<cuda::stream>(cuda_device(0));
       return body([=] { kept->reset(); });
     }},
    {"asked event",
     [] {
       const auto mark = std::make_shared<cuda::event>(cuda_device(0));
       mark->record({cuda_device(0), make_stream()});
       return body([=] { mark->is_done(); });
     }},
    {"awaited event",
     [] {
       const auto mark = std::make_shared<cuda::event>(cuda_device(0));
       mark->record({cuda_device(0), make_stream()});
       return body([=] { mark->wait(); });
     }},
    {"awaited stream",
     [] {
       const stream_handle stream = handle_of(make_stream());
       return body([=] { cuda::wait_for(cuda_device(0), stream); });
     }},
    {"device memory", [] { return allocating(cuda_device(0)); }},
    {"pinned memory", [] { return allocating(device(kDLCUDAHost)); }},
    {"managed memory", [] { return allocating(device(kDLCUDAManaged, 0)); }},
    {"dropped memory",
     [] {
       auto memory = cuda::allocate(5000, 64, cuda_device(0), handle_of(make_stream()));
       const auto kept = std::make_shared<owner>(std::move(memory.keep));
       return body([=] { kept->reset(); });
     }},
    {"small copy to a device", [] { return copying(device(), cuda_device(0), 100); }},
    {"large copy to a device", [] { return copying(device(), cuda_device(0), 1 << 19); }},
    {"small copy to the host", [] { return copying(cuda_device(0), device(), 100); }},
    {"large copy to the host", [] { return copying(cuda_device(0), device(), 1 << 19); }},
    {"dense copy", [] { return copying(cuda_device(0), cuda_device(0), 100); }},
    {"gathered copy", [] { return copying(cuda_device(0), cuda_device(0), 100, 2); }},
    {"copy between devices", [] { return copying(cuda_device(0), cuda_device(1), 100); }},
    {"gathered copy between devices",
     [] { return copying(cuda_device(0), cuda_device(1), 100, 2); }},
};

constexpr int broken = 42;

int try_beside_capture(const action& one, bool own_thread, bool relaxes) {
  const body rest = one.prepare();
  const auto mode =
      own_thread ? CU_STREAM_CAPTURE_MODE_THREAD_LOCAL : CU_STREAM_CAPTURE_MODE_GLOBAL;
  capture running(0, make_stream(), mode);
  bool failed = false;
  const auto carry_out = [&] {
    if (!relaxes) fake_cuda_ignore("cuThreadExchangeStreamCaptureMode", 0);
    try {
      rest();
    } catch (const cuda::cuda_error&) {
      failed = true;
    }
  };
  if (own_thread) carry_out();
  else std::thread(carry_out).join();
  return failed || running.end() != CUDA_SUCCESS || fake_cuda_races() != 0 ? broken : 0;
}

int outcome_of(std::size_t number, const char* own_thread, const char* relaxes) {
  return run_alone("one action beside a capture", {{"ACTION", std::to_string(number).c_str()},
                                                   {"OWN_THREAD", own_thread},
                                                   {"RELAXES", relaxes}})
      .code;
}

bool is_set(const char* variable) { return std::atoi(std::getenv(variable)) != 0; }

}  // namespace

TEST_CASE("nothing that the hub does beside a capture ends it", "[capture]") {
  for (std::size_t i = 0; i < std::size(actions); ++i) {
    INFO(actions[i].name);
    CHECK(outcome_of(i, "1", "1") == 0);
    CHECK(outcome_of(i, "0", "1") == 0);
  }
}

TEST_CASE("captures survive because the hub relaxes its thread", "[mutation]") {
  for (std::size_t i = 0; i < std::size(actions); ++i) {
    INFO(actions[i].name);
    CHECK(outcome_of(i, "1", "0") == broken);
    CHECK(outcome_of(i, "0", "0") == broken);
  }
}

TEST_CASE("one action beside a capture", "[.alone]") {
  const action& one = actions[std::atoi(std::getenv("ACTION"))];
  std::_Exit(try_beside_capture(one, is_set("OWN_THREAD"), is_set("RELAXES")));
}
