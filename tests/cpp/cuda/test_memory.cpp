#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "calls.hpp"
#include "fake_world.hpp"
#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/memory.hpp>
#include <dlpack_bridge/cuda/release.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

using namespace dlpack_bridge;
using cuda::cuda_error;

namespace {

const device pinned(kDLCUDAHost), managed(kDLCUDAManaged, 0);

bool is_aligned(const void* data, std::int64_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) == 0;
}

/// A kernel of somebody on a stream.
void use(CUstream stream, const backend_memory& memory, std::size_t bytes, int writes = 1,
         int device = 0) {
  const quiet own;
  const fake_cuda_access access{memory.data, bytes, writes};
  REQUIRE(fake_cuda_work(device, stream, &access, 1) == CUDA_SUCCESS);
}

long leaked() { return static_cast<long>(active_counters().leaked.load()); }

std::string message_of_failed_allocation(std::int64_t bytes, device where, stream_handle stream) {
  try {
    cuda::allocate(bytes, 64, where, stream);
  } catch (const cuda_error& e) {
    CHECK(e.status() == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(e.name() == "CUDA_ERROR_OUT_OF_MEMORY");
    return e.what();
  }
  return {};
}

}  // namespace

// ---- device memory ------------------------------------------------------------------------------

TEST_CASE("device memory comes and goes in the order of its stream", "[memory]") {
  const fake_world world;
  const CUstream stream = make_stream();
  const long before = fake_cuda_live("device");
  for (int i = 0; i < 5; ++i) {
    backend_memory memory = cuda::allocate(1000, 64, cuda_device(0), handle_of(stream));
    CHECK(memory.home == handle_of(stream));
    CHECK(is_aligned(memory.data, 256));
    use(stream, memory, 1000);
    memory.keep.reset();
    CHECK(fake_cuda_live("device") == before);
  }
  CHECK(fake_cuda_calls("cuMemAllocFromPoolAsync") == 5);
  CHECK(fake_cuda_calls("cuMemFreeAsync") == 5);
  CHECK(fake_cuda_calls("cuEventRecord") == 0);
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(first_race() == "");
}

TEST_CASE("the legacy stream can be home", "[memory]") {
  const fake_world world;
  backend_memory memory = cuda::allocate(10, 64, cuda_device(0), handle_of(legacy));
  CHECK(memory.home == handle_of(legacy));
  use(legacy, memory, 10);
  memory.keep.reset();
  CHECK(first_race() == "");
}

TEST_CASE("memory for a stream that cannot be named later is at home on the hub's own",
          "[memory]") {
  const fake_world world;
  const stream_handle own = cuda::own_stream(cuda_device(0)).handle();
  const CUstream of_another_device = make_stream(1);
  for (const CUstream stream : {per_thread, of_another_device}) {
    fake_cuda_reset_calls();
    backend_memory memory = cuda::allocate(10, 64, cuda_device(0), handle_of(stream));
    CHECK(memory.home == own);
    CHECK(fake_cuda_calls("cuEventRecord") == 1);
    CHECK(fake_cuda_calls("cuStreamWaitEvent") == 1);
    use(stream, memory, 10, 1, stream == of_another_device ? 1 : 0);
    cuda::order_after(cuda_device(0), own, cuda_device(stream == of_another_device ? 1 : 0),
                      handle_of(stream));
  }
  const stream_handle nobody, no_sync = *stream_handle::from_protocol(kDLCUDA, -1);
  for (const stream_handle stream : {nobody, no_sync}) {
    CHECK(cuda::allocate(10, 64, cuda_device(0), stream).home == own);
  }
  CHECK(first_race() == "");
  CHECK(fake_cuda_host_waits() == 0);
}

TEST_CASE("reuse by another stream is ordered after the first user", "[memory]") {
  const fake_world world;
  const CUstream first = make_stream(), second = make_stream();
  backend_memory memory = cuda::allocate(1 << 20, 64, cuda_device(0), handle_of(first));
  use(first, memory, 1 << 20);
  memory.keep.reset();
  memory = cuda::allocate(1 << 20, 64, cuda_device(0), handle_of(second));
  use(second, memory, 1 << 20);
  CHECK(first_race() == "");
}

TEST_CASE("every alignment is met", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  for (const device where : {cuda_device(0), pinned, managed}) {
    for (std::int64_t alignment = 1; alignment <= 1 << 16; alignment *= 2) {
      for (const std::int64_t bytes : {0, 1, 1000, 5000}) {
        const backend_memory memory = cuda::allocate(bytes, alignment, where, stream);
        CHECK(memory.data != nullptr);
        CHECK(is_aligned(memory.data, alignment));
        // All of it is ours.
        use(reinterpret_cast<CUstream>(stream.protocol()), memory,
            static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)));
        fake_cuda_settle();
      }
    }
  }
  CHECK(first_race() == "");
}

TEST_CASE("memory is released by any thread, whatever is current there", "[memory]") {
  const fake_world world;
  const CUstream stream = make_stream(1);
  const long before = fake_cuda_live("device");
  backend_memory memory = cuda::allocate(10, 64, cuda_device(1), handle_of(stream));
  std::thread([&] {
    const current_device other(0);
    memory.keep.reset();
    CHECK(current_context() == context_of(0));
  }).join();
  CHECK(fake_cuda_live("device") == before);
  CHECK(first_race() == "");
}

TEST_CASE("a device without pools gets its blocks again, in order", "[memory]") {
  CHECK(run_alone("a device without pools").code == 0);
}
TEST_CASE("a device without pools", "[.alone]") {
  fake_cuda_ignore("cuDeviceGetAttribute", 0);  // answers 0
  const CUstream first = make_stream(), second = make_stream();
  backend_memory memory = cuda::allocate(10000, 64, cuda_device(0), handle_of(first));
  void* const data = memory.data;
  use(first, memory, 10000);
  memory.keep.reset();
  for (const CUstream stream : {second, first, second}) {
    memory = cuda::allocate(10000, 64, cuda_device(0), handle_of(stream));
    CHECK(memory.data == data);
    CHECK(memory.home == handle_of(stream));
    use(stream, memory, 10000);
    memory.keep.reset();
  }
  CHECK(first_race() == "");
  CHECK(fake_cuda_calls("cuMemAlloc") == 1);
  CHECK(fake_cuda_calls("cuMemAllocFromPoolAsync") == 0);
  CHECK(fake_cuda_calls("cuMemFree") == 0);
  CHECK(fake_cuda_host_waits() == 0);
  cuda::trim();
  CHECK(fake_cuda_live("device") == 0);
  CHECK(first_race() == "");
}

TEST_CASE("what is freed stays mapped for the next copy, until it is trimmed", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  const long before = fake_cuda_live("pooled");
  const auto use_and_wait = [&] {
    cuda::allocate(1 << 20, 64, cuda_device(0), stream).keep.reset();
    cuda::wait_for(cuda_device(0), stream);
  };
  use_and_wait();
  CHECK(fake_cuda_live("pooled") == before + 1);
  use_and_wait();
  CHECK(fake_cuda_live("pooled") == before + 1);
  cuda::trim();
  CHECK(fake_cuda_live("pooled") == 0);
  CHECK(first_race() == "");
}

TEST_CASE("the pools give up what they keep when memory is short", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  cuda::allocate(1 << 20, 64, cuda_device(0), stream).keep.reset();
  cuda::wait_for(cuda_device(0), stream);
  REQUIRE(fake_cuda_live("pooled") == 1);
  fake_cuda_fail("cuMemAllocManaged", 1, CUDA_ERROR_OUT_OF_MEMORY, 0);
  CHECK(cuda::allocate(1 << 20, 64, managed, stream).data != nullptr);
  CHECK(fake_cuda_live("pooled") == 0);
}

TEST_CASE("kernels of other devices reach the hub's memory", "[memory]") {
  const fake_world world;
  for (const int device : {0, 1}) {
    const CUstream home = make_stream(device), far = make_stream(1 - device);
    const backend_memory memory = cuda::allocate(1000, 64, cuda_device(device), handle_of(home));
    cuda::order_after(cuda_device(1 - device), handle_of(far), cuda_device(device),
                      handle_of(home));
    use(far, memory, 1000, 1, 1 - device);
    cuda::order_after(cuda_device(device), handle_of(home), cuda_device(1 - device),
                      handle_of(far));
  }
  CHECK(first_race() == "");
}

TEST_CASE("devices that cannot reach each other have pools all the same", "[memory]") {
  CHECK(run_alone("pools without peers", {{"FAKE_CUDA_PEERS", "0"}}).code == 0);
}
TEST_CASE("pools without peers", "[.alone]") {
  const stream_handle stream = handle_of(make_stream());
  for (int i = 0; i < 2; ++i) {
    CHECK(cuda::allocate(1000, 64, cuda_device(0), stream).data != nullptr);
  }
  CHECK(fake_cuda_calls("cuMemAllocFromPoolAsync") == 2);
  CHECK(fake_cuda_calls("cuMemPoolSetAccess") == 0);
}

TEST_CASE("a pool is not made while nobody asks for device memory, and once", "[memory]") {
  CHECK(run_alone("pools that are made").code == 0);
}
TEST_CASE("pools that are made", "[.alone]") {
  const stream_handle stream = handle_of(make_stream());
  cuda::allocate(1000, 64, pinned, stream);
  cuda::trim();
  CHECK(fake_cuda_calls("cuMemPoolCreate") == 0);
  CHECK(fake_cuda_calls("cuMemPoolTrimTo") == 0);
  for (int i = 0; i < 3; ++i) cuda::allocate(1000, 64, cuda_device(0), stream);
  CHECK(fake_cuda_calls("cuMemPoolCreate") == 1);
  CHECK(fake_cuda_live("contexts") == 1);
}

TEST_CASE("a driver that makes no pool, or half of one, is no reason to fail", "[memory]") {
  for (const char* function : {"cuMemPoolCreate", "cuMemPoolSetAttribute", "cuMemPoolSetAccess",
                               "cuDeviceCanAccessPeer"}) {
    INFO(function);
    CHECK(run_alone("a pool that is refused", {{"FUNCTION", function}}).code == 0);
  }
}
TEST_CASE("a pool that is refused", "[.alone]") {
  const std::string function = std::getenv("FUNCTION");
  fake_cuda_fail(function.c_str(), 0, CUDA_ERROR_NOT_SUPPORTED, 0);
  const CUstream stream = make_stream();
  const backend_memory memory = cuda::allocate(1000, 64, cuda_device(0), handle_of(stream));
  use(stream, memory, 1000);
  CHECK(fake_cuda_calls("cuMemAllocFromPoolAsync") == (function == "cuMemPoolCreate" ? 0 : 1));
}

// ---- captures -----------------------------------------------------------------------------------

TEST_CASE("an allocation in a capture is not part of its graph", "[memory]") {
  const fake_world world;
  const CUstream stream = make_stream();
  backend_memory memory;
  {
    capture c(0, stream);
    memory = cuda::allocate(1000, 64, cuda_device(0), handle_of(stream));
    CHECK(memory.home == cuda::own_stream(cuda_device(0)).handle());
    CHECK(fake_cuda_calls("cuMemAllocFromPoolAsync") == 0);
    CHECK(c.end() == CUDA_SUCCESS);
  }
  memory.keep.reset();
  CHECK(fake_cuda_live("captures") == 0);
  cuda::trim();
}

TEST_CASE("an allocation disturbs no capture of another thread", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  capture c(0, make_stream(), CU_STREAM_CAPTURE_MODE_GLOBAL);
  std::thread([&] {
    for (const device where : {cuda_device(0), pinned, managed}) {
      cuda::allocate(123456, 64, where, stream);
      cuda::allocate(123456, 64, where, stream);
    }
  }).join();
  CHECK(c.end() == CUDA_SUCCESS);
}

TEST_CASE("memory whose home captures goes back after the capture", "[memory]") {
  const fake_world world;
  const CUstream stream = make_stream();
  const long before = fake_cuda_live("device");
  const long lost = leaked();
  backend_memory memory = cuda::allocate(1000, 64, cuda_device(0), handle_of(stream));
  {
    capture c(0, stream);
    memory.keep.reset();
    CHECK(fake_cuda_live("device") == before + 1);
    CHECK(c.end() == CUDA_SUCCESS);
  }
  // The next allocation looks after it.
  cuda::allocate(1000, 64, cuda_device(0), handle_of(stream)).keep.reset();
  CHECK(fake_cuda_live("device") == before);
  CHECK(leaked() == lost);
  CHECK(first_race() == "");
}

TEST_CASE("memory at home on the legacy stream survives a capture on a blocking one", "[memory]") {
  const fake_world world;
  const CUstream blocking = make_stream(0, CU_STREAM_DEFAULT);
  const long before = fake_cuda_live("device");
  backend_memory memory = cuda::allocate(1000, 64, cuda_device(0), handle_of(legacy));
  {
    capture c(0, blocking);
    memory.keep.reset();
    CHECK(c.end() == CUDA_SUCCESS);
  }
  cuda::trim();
  CHECK(fake_cuda_live("device") == before);
}

// ---- host and managed memory --------------------------------------------------------------------

TEST_CASE("pinned and managed memory have no home and are used again", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  cuda::trim();
  const long host = fake_cuda_live("host"), shared = fake_cuda_live("managed");
  for (const device where : {pinned, managed}) {
    backend_memory memory = cuda::allocate(100000, 64, where, stream);
    CHECK_FALSE(memory.home.known());
    void* const data = memory.data;
    memory.keep.reset();
    memory = cuda::allocate(99999, 64, where, stream);
    CHECK(memory.data == data);
    const backend_memory other = cuda::allocate(99999, 64, where, stream);
    CHECK(other.data != data);
  }
  CHECK(fake_cuda_live("host") == host + 2);
  CHECK(fake_cuda_live("managed") == shared + 2);
  CHECK(fake_cuda_calls("cuMemFreeHost") == 0);
  CHECK(fake_cuda_calls("cuMemFree") == 0);
  cuda::trim();
  CHECK(fake_cuda_live("host") == host);
  CHECK(fake_cuda_live("managed") == shared);
}

TEST_CASE("a kept block wastes an eighth at most", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  cuda::trim();
  // What the next larger class needs is not served by this one.
  backend_memory memory = cuda::allocate(1 << 20, 64, pinned, stream);
  void* const data = memory.data;
  memory.keep.reset();
  CHECK(cuda::allocate((1 << 20) - (1 << 16), 64, pinned, stream).data != data);
  CHECK(cuda::allocate((1 << 20) + 1, 64, pinned, stream).data != data);
  CHECK(cuda::allocate((1 << 20) - 1, 64, pinned, stream).data == data);
}

TEST_CASE("pinned memory wakes no device while another is awake", "[memory]") {
  CHECK(run_alone("pinned memory for whoever is awake").code == 0);
}
TEST_CASE("pinned memory for whoever is awake", "[.alone]") {
  make_stream(1);
  REQUIRE(fake_cuda_live("contexts") == 1);
  CHECK(cuda::allocate(10, 64, pinned, {}).data != nullptr);
  CHECK(cuda::allocate(10, 64, pinned, handle_of(make_stream(1))).data != nullptr);
  CHECK(fake_cuda_live("contexts") == 1);
}

// ---- trouble ------------------------------------------------------------------------------------

TEST_CASE("running out of memory names what was asked for, after everything due went", "[memory]") {
  const fake_world world;
  const CUstream stream = make_stream(), reader = make_stream();
  for (const auto& [where, call] : {std::pair{cuda_device(0), "cuMemAllocFromPoolAsync"},
                                    {pinned, "cuMemHostAlloc"},
                                    {managed, "cuMemAllocManaged"}}) {
    const std::int64_t bytes = 54321987;
    fake_cuda_reset_calls();
    fake_cuda_fail(call, 0, CUDA_ERROR_OUT_OF_MEMORY, 0);
    const std::string message = message_of_failed_allocation(bytes, where, handle_of(stream));
    fake_cuda_heal();
    CHECK(message.find("54321987 bytes") != std::string::npos);
    CHECK(message.find("device 0") != std::string::npos);
    CHECK(fake_cuda_calls(call) == 2);
    CHECK(current_context() == nullptr);
    // A second try is enough.
    fake_cuda_fail(call, 1, CUDA_ERROR_OUT_OF_MEMORY, 0);
    CHECK(cuda::allocate(bytes, 64, where, handle_of(stream)).data != nullptr);
    fake_cuda_heal();
  }
  // What is due is let go of when memory is short: here what a capture held up, since nobody but the
  // threads of the program goes back to that.
  int released = 0;
  block array;
  array.read(reader);
  capture running(0, reader);
  cuda::lend(owner(&released, [](void* n) noexcept { ++*static_cast<int*>(n); }),
             loan{.where = cuda_device(0),
                  .begin = array.bytes,
                  .nbytes = sizeof array.bytes,
                  .user = handle_of(reader),
                  .user_object = {},
                  .home = {},
                  .listener = {}});
  CHECK(running.end() == CUDA_SUCCESS);
  fake_cuda_run(0);
  CHECK(released == 0);
  fake_cuda_fail("cuMemAllocFromPoolAsync", 1, CUDA_ERROR_OUT_OF_MEMORY, 0);
  CHECK(cuda::allocate(10, 64, cuda_device(0), handle_of(stream)).data != nullptr);
  CHECK(released == 1);
}

TEST_CASE("sizes that no memory has are out of memory", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  for (const device where : {cuda_device(0), pinned, managed}) {
    CHECK(message_of_failed_allocation(std::int64_t{1} << 60, where, stream) != "");
    CHECK(message_of_failed_allocation(INT64_MAX, where, stream) != "");
  }
}

TEST_CASE("memory of a device that does not exist is refused", "[memory]") {
  const fake_world world;
  for (const int id : {-1, 7}) {
    for (const DLDeviceType type : {kDLCUDA, kDLCUDAHost, kDLCUDAManaged}) {
      CHECK_THROWS_AS(cuda::allocate(10, 64, device(type, id), {}), cuda_error);
    }
  }
}

TEST_CASE("an allocation that fails leaves nothing behind and the context as it was", "[memory]") {
  const fake_world world;
  const CUstream stream = make_stream();
  const auto blocks = [] {
    return fake_cuda_live("device") + fake_cuda_live("host") + fake_cuda_live("managed");
  };
  for (const device where : {cuda_device(0), pinned, managed}) {
    for (const CUstream user : {stream, per_thread}) {
      cuda::trim();
      const long before = blocks() - leaked();
      with_each_call_failing(
          CUDA_ERROR_UNKNOWN,
          [&] {
            try {
              cuda::allocate(10, 64, where, handle_of(user));
            } catch (const cuda_error& e) {
              CHECK(e.status() == CUDA_ERROR_UNKNOWN);
            }
            cuda::trim();
          },
          [&](const std::string& call) {
            INFO(where.name() << " " << call);
            if (call.starts_with("cuCtxPopCurrent")) {
              const quiet own;
              while (cuCtxPopCurrent(nullptr) == CUDA_SUCCESS) continue;
            }
            CHECK(current_context() == nullptr);
            fake_cuda_settle();
            cuda::trim();
            CHECK(blocks() - leaked() == before);
          });
    }
  }
}

TEST_CASE("memory of a lost device is counted as leaked and never freed", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream());
  backend_memory memory = cuda::allocate(10, 64, cuda_device(0), stream);
  const long lost = leaked();
  fake_cuda_fail("cuMemFreeAsync", 0, CUDA_ERROR_ILLEGAL_ADDRESS, 1);
  memory.keep.reset();
  CHECK(leaked() == lost + 1);
}

// ---- addresses ----------------------------------------------------------------------------------

TEST_CASE("memory is told by its address", "[memory]") {
  const fake_world world;
  const stream_handle stream = handle_of(make_stream()), other = handle_of(make_stream(1));
  CHECK(cuda::locate(cuda::allocate(10, 64, cuda_device(0), stream).data) == cuda_device(0));
  const backend_memory on_1 = cuda::allocate(10, 64, cuda_device(1), other);
  CHECK(cuda::locate(on_1.data) == cuda_device(1));
  CHECK(cuda::locate(static_cast<std::byte*>(on_1.data) + 9) == cuda_device(1));
  const backend_memory host = cuda::allocate(10, 64, pinned, stream);
  CHECK(cuda::locate(host.data) == pinned);
  const backend_memory both = cuda::allocate(10, 64, managed, stream);
  CHECK(cuda::locate(both.data) == managed);
  CHECK(cuda::locate(&stream) == device());
  CHECK(cuda::locate(nullptr) == device());
}
