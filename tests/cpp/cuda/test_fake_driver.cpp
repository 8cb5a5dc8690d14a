#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include <catch2/catch_test_macros.hpp>
#include <cudaTypedefs.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alone.hpp"
#include "fake_cuda/two_devices.hpp"

using namespace fake_cuda;

// The fake driver against the driver's documentation: each rule has a case that fails without it.

namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Runs on another host thread, which has the context of device 0.
template <class F>
void on_another_thread(const two_devices& d, F f) {
  std::thread([&] {
    cuCtxPushCurrent(d.contexts[0]);
    f();
  }).join();
}

}  // namespace

// ---- order -----------------------------------------------------------------------------------------

TEST_CASE("work on one stream runs in order, on two streams in none", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  CHECK(d.ordered(a, a));
  CHECK_FALSE(d.ordered(a, b));
}

TEST_CASE("a race is told in words: both accesses, their streams and the bytes", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.blocking_stream();
  write(a, &d.bytes[8], 16);
  read(b, &d.bytes[16], 16);
  REQUIRE(fake_cuda_races() == 1);
  const std::string text = fake_cuda_race(0);
  INFO(text);
  char range[64];
  std::snprintf(range, sizeof range, "[%p, %p)", static_cast<void*>(&d.bytes[16]),
                static_cast<void*>(&d.bytes[24]));
  CHECK(contains(text, range));
  CHECK(contains(text, "reads"));
  CHECK(contains(text, "wrote"));
  CHECK(contains(text, "(non-blocking, device 0)"));
  CHECK(contains(text, "(blocking, device 0)"));
  CHECK(fake_cuda_race(1) == nullptr);
  CHECK(fake_cuda_race(-1) == nullptr);
  fake_cuda_clear_races();
  CHECK(fake_cuda_races() == 0);
  CHECK(fake_cuda_race(0) == nullptr);
}

TEST_CASE("only overlapping bytes with a write among the two make a race", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  read(a, &d.bytes[0], 8);
  CHECK(d.found_by([&] { read(b, &d.bytes[0], 8); }) == 0);
  write(a, &d.bytes[8], 8);
  CHECK(d.found_by([&] { write(b, &d.bytes[16], 8); }) == 0);
  CHECK(d.found_by([&] { write(b, &d.bytes[7], 1); }) == 1);   // read by both
  CHECK(d.found_by([&] { write(b, &d.bytes[15], 2); }) == 1);  // written by a
}

TEST_CASE("a write races with every read since the last write", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream(), c = d.stream();
  read(a, d.bytes.data(), 8);
  read(b, d.bytes.data(), 8);
  CHECK(d.found_by([&] { write(c, d.bytes.data(), 8); }) == 2);
  CHECK(d.found_by([&] { write(c, d.bytes.data(), 8); }) == 0);  // each pair is told once
}

TEST_CASE("an event orders what was on the stream at its record, not later work", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  const CUevent e = d.event();
  write(a, &d.bytes[0], 8);
  cuEventRecord(e, a);
  write(a, &d.bytes[8], 8);
  cuStreamWaitEvent(b, e, 0);
  CHECK(d.found_by([&] { read(b, &d.bytes[0], 8); }) == 0);
  CHECK(d.found_by([&] { read(b, &d.bytes[8], 8); }) == 1);
}

TEST_CASE("a wait takes the event as it is at the call; a later record does not change it",
          "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream(), c = d.stream();
  const CUevent e = d.event();
  write(a, d.bytes.data(), 8);
  cuEventRecord(e, a);
  cuStreamWaitEvent(b, e, 0);
  cuEventRecord(e, c);
  CHECK(d.found_by([&] { read(b, d.bytes.data(), 8); }) == 0);
}

TEST_CASE("a wait for an event that was never recorded orders nothing", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  write(a, d.bytes.data(), 8);
  CHECK(cuStreamWaitEvent(b, d.event(), 0) == CUDA_SUCCESS);
  CHECK(d.found_by([&] { read(b, d.bytes.data(), 8); }) == 1);
}

TEST_CASE("order is transitive over streams and devices", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream(1), c = d.stream();
  write(a, d.bytes.data(), 8);
  d.order(b, a);
  cuCtxPushCurrent(d.contexts[1]);
  d.order(c, b);
  cuCtxPopCurrent(nullptr);
  CHECK(d.found_by([&] { write(c, d.bytes.data(), 8); }) == 0);
}

TEST_CASE("an event is recorded on streams of its own context only", "[fake]") {
  two_devices d;
  const CUevent e = d.event();
  CHECK(cuEventRecord(e, d.stream(1)) == CUDA_ERROR_INVALID_HANDLE);
  CHECK(cuEventRecord(e, d.stream(0)) == CUDA_SUCCESS);
  CHECK(fake_cuda_races() == 0);  // an error, no undefined behaviour
}

TEST_CASE("the legacy stream waits for blocking streams and they for it", "[fake]") {
  two_devices d;
  const CUstream blocking = d.blocking_stream(), other = d.stream();
  CHECK(d.ordered(blocking, CU_STREAM_LEGACY));
  CHECK(d.ordered(CU_STREAM_LEGACY, blocking));
  CHECK_FALSE(d.ordered(other, CU_STREAM_LEGACY));
  CHECK_FALSE(d.ordered(CU_STREAM_LEGACY, other));
  CHECK_FALSE(d.ordered(blocking, d.blocking_stream()));
}

TEST_CASE("the legacy stream of one device knows nothing of another's streams", "[fake]") {
  two_devices d;
  CHECK_FALSE(d.ordered(d.blocking_stream(1), CU_STREAM_LEGACY, 1, 0));
  CHECK_FALSE(d.ordered(CU_STREAM_LEGACY, CU_STREAM_LEGACY, 0, 1));
}

TEST_CASE("a record or a wait on the legacy stream is work there", "[fake]") {
  two_devices d;
  const CUstream blocking = d.blocking_stream(), side = d.stream();
  write(blocking, &d.bytes[0], 8);
  d.order(side, CU_STREAM_LEGACY);
  CHECK(d.found_by([&] { read(side, &d.bytes[0], 8); }) == 0);
  write(side, &d.bytes[8], 8);
  d.order(CU_STREAM_LEGACY, side);
  CHECK(d.found_by([&] { read(blocking, &d.bytes[8], 8); }) == 0);
}

TEST_CASE("a per-thread stream belongs to its host thread and blocks as streams do", "[fake]") {
  two_devices d;
  unsigned long long mine = 0, its = 0, legacy = 0;
  cuStreamGetId(CU_STREAM_PER_THREAD, &mine);
  cuStreamGetId(CU_STREAM_LEGACY, &legacy);
  CHECK(d.ordered(CU_STREAM_PER_THREAD, CU_STREAM_PER_THREAD));
  CHECK(d.ordered(CU_STREAM_PER_THREAD, CU_STREAM_LEGACY));
  CHECK(d.ordered(CU_STREAM_LEGACY, CU_STREAM_PER_THREAD));
  write(CU_STREAM_PER_THREAD, d.bytes.data(), 8);
  on_another_thread(d, [&] {
    cuStreamGetId(CU_STREAM_PER_THREAD, &its);
    CHECK(d.found_by([&] { read(CU_STREAM_PER_THREAD, d.bytes.data(), 8); }) == 1);
  });
  CHECK(mine != its);
  CHECK(mine != legacy);
}

// ---- the host --------------------------------------------------------------------------------------

TEST_CASE("the host must wait before it touches what the device works on", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  write(s, d.bytes.data(), 8);
  CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 0); }) == 1);
  CHECK(cuStreamSynchronize(s) == CUDA_SUCCESS);
  CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 1); }) == 0);
  CHECK(d.found_by([&] { read(s, d.bytes.data(), 8); }) == 0);  // submitted after the host's write
}

TEST_CASE("what the host waited for is ordered before all work it submits", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  const CUevent e = d.event();
  write(a, d.bytes.data(), 8);
  cuEventRecord(e, a);
  SECTION("by an event") { CHECK(cuEventSynchronize(e) == CUDA_SUCCESS); }
  SECTION("by the stream") { CHECK(cuStreamSynchronize(a) == CUDA_SUCCESS); }
  SECTION("by the context") { CHECK(cuCtxSynchronize() == CUDA_SUCCESS); }
  CHECK(fake_cuda_host_waits() == 1);
  CHECK(d.found_by([&] { write(b, d.bytes.data(), 8); }) == 0);
}

TEST_CASE("waiting for a context covers streams that were destroyed", "[fake]") {
  two_devices d;
  const CUstream a = d.stream();
  write(a, d.bytes.data(), 8);
  cuStreamDestroy(a);
  cuCtxSynchronize();
  CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 1); }) == 0);
}

TEST_CASE("a query says ready only of what the host knows or the device has run", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUevent e = d.event();
  CHECK(cuEventQuery(e) == CUDA_SUCCESS);  // never recorded
  CHECK(cuStreamQuery(s) == CUDA_SUCCESS);
  write(s, d.bytes.data(), 8);
  cuEventRecord(e, s);
  CHECK(cuEventQuery(e) == CUDA_ERROR_NOT_READY);
  CHECK(cuStreamQuery(s) == CUDA_ERROR_NOT_READY);
  SECTION("the device ran: whoever asks knows") {
    fake_cuda_run(0);
    CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 1); }) == 1);
    CHECK(cuEventQuery(e) == CUDA_SUCCESS);
    CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 1); }) == 0);
  }
  SECTION("a stream is asked likewise") {
    fake_cuda_run(0);
    CHECK(cuStreamQuery(s) == CUDA_SUCCESS);
    CHECK(d.found_by([&] { fake_cuda_host_access(d.bytes.data(), 8, 1); }) == 0);
  }
  SECTION("the host waited") {
    cuStreamSynchronize(s);
    CHECK(cuEventQuery(e) == CUDA_SUCCESS);
  }
  SECTION("devices that are always idle") {
    fake_cuda_set_idle(1);
    CHECK(cuEventQuery(e) == CUDA_SUCCESS);
  }
  CHECK(fake_cuda_host_waits() <= 1);  // a query blocks nobody
}

TEST_CASE("a device does not get on with what waits for another device", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(0), b = d.stream(1);
  write(a, d.bytes.data(), 8);
  d.order(b, a);
  write(b, d.bytes.data(), 8, 1);
  fake_cuda_run(1);
  CHECK(cuStreamQuery(b) == CUDA_ERROR_NOT_READY);
  fake_cuda_run(0);
  CHECK(cuStreamQuery(b) == CUDA_SUCCESS);
}

TEST_CASE("work of a destroyed stream runs on", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUevent e = d.event();
  write(s, d.bytes.data(), 8);
  cuEventRecord(e, s);
  cuStreamDestroy(s);
  CHECK(cuEventQuery(e) == CUDA_ERROR_NOT_READY);
  fake_cuda_run(0);
  CHECK(cuEventQuery(e) == CUDA_SUCCESS);
}

TEST_CASE("a held call blocks until it is let go, and others run meanwhile", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  write(s, d.bytes.data(), 8);
  fake_cuda_hold(1);
  std::thread waiting([&] {
    cuCtxPushCurrent(d.contexts[0]);
    cuStreamSynchronize(s);
  });
  while (fake_cuda_held() == 0) std::this_thread::yield();
  CHECK(cuStreamQuery(s) == CUDA_ERROR_NOT_READY);
  fake_cuda_hold(0);
  waiting.join();
  CHECK(fake_cuda_held() == 0);
  CHECK(cuStreamQuery(s) == CUDA_SUCCESS);
}

// ---- handles ---------------------------------------------------------------------------------------

TEST_CASE("a destroyed handle comes back for the next stream, with another id", "[fake]") {
  two_devices d;
  const CUstream first = d.stream();
  unsigned long long before = 0, after = 0;
  cuStreamGetId(first, &before);
  write(first, d.bytes.data(), 8);
  CHECK(cuStreamDestroy(first) == CUDA_SUCCESS);
  const CUstream second = d.stream();
  CHECK(first == second);
  cuStreamGetId(second, &after);
  CHECK(before != after);
  CHECK(d.found_by([&] { read(second, d.bytes.data(), 8); }) == 1);  // not the same stream
}

TEST_CASE("dead handles are findings and errors", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  const CUevent e = d.event();
  cuStreamDestroy(s);
  CHECK(d.found_by([&] { CHECK(cuEventRecord(e, s) == CUDA_ERROR_INVALID_HANDLE); }) == 1);
  CHECK(contains(findings(), "cuEventRecord was given the stream"));
  cuEventDestroy(e);
  CHECK(d.found_by([&] { CHECK(cuEventQuery(e) == CUDA_ERROR_INVALID_HANDLE); }) == 1);
  CHECK(d.found_by([&] { CHECK(cuEventDestroy(nullptr) == CUDA_ERROR_INVALID_HANDLE); }) == 1);
  const auto context = reinterpret_cast<CUcontext>(&d);
  CHECK(d.found_by([&] { CHECK(cuCtxPushCurrent(context) == CUDA_ERROR_INVALID_CONTEXT); }) == 1);
}

TEST_CASE("the NULL stream is a finding, since its meaning depends on the caller's flags",
          "[fake]") {
  two_devices d;
  const CUevent e = d.event();
  CHECK(d.found_by([&] { CHECK(cuEventRecord(e, nullptr) == CUDA_SUCCESS); }) == 1);
  fake_cuda_set_quiet(1);
  CHECK(d.found_by([&] { cuEventRecord(e, nullptr); }) == 0);
  fake_cuda_set_quiet(0);
  CHECK(d.found_by([&] { cuEventRecord(e, CU_STREAM_LEGACY); }) == 0);
}

TEST_CASE("a reset leaves no handle alive", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  fake_cuda_reset();
  CHECK(cuDevicePrimaryCtxRetain(&d.contexts[0], 0) == CUDA_SUCCESS);
  CHECK(cuCtxPushCurrent(d.contexts[0]) == CUDA_SUCCESS);
  CHECK(d.stream() != s);
  CHECK(cuStreamQuery(s) == CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("streams tell what they are", "[fake]") {
  two_devices d;
  const CUstream s = d.stream(1), blocking = d.blocking_stream();
  CUcontext home = nullptr;
  CUdevice device = -1;
  unsigned flags = 7;
  CHECK(cuStreamGetCtx(s, &home) == CUDA_SUCCESS);
  CHECK(home == d.contexts[1]);
  CHECK(cuStreamGetDevice(s, &device) == CUDA_SUCCESS);
  CHECK(device == 1);
  CHECK(cuStreamGetFlags(s, &flags) == CUDA_SUCCESS);
  CHECK(flags == CU_STREAM_NON_BLOCKING);
  CHECK(cuStreamGetFlags(blocking, &flags) == CUDA_SUCCESS);
  CHECK(flags == CU_STREAM_DEFAULT);
  CHECK(cuStreamGetCtx(CU_STREAM_LEGACY, &home) == CUDA_SUCCESS);
  CHECK(home == d.contexts[0]);
  CHECK(reinterpret_cast<std::uintptr_t>(s) > 2);
}

// ---- contexts --------------------------------------------------------------------------------------

TEST_CASE("contexts are a stack of the thread's own", "[fake]") {
  two_devices d;
  CUcontext current = nullptr, popped = nullptr;
  CUdevice device = -1;
  cuCtxPushCurrent(d.contexts[1]);
  cuCtxGetCurrent(&current);
  CHECK(current == d.contexts[1]);
  CHECK(cuCtxGetDevice(&device) == CUDA_SUCCESS);
  CHECK(device == 1);
  std::thread([] {
    CUcontext none = reinterpret_cast<CUcontext>(1);
    CHECK(cuCtxGetCurrent(&none) == CUDA_SUCCESS);
    CHECK(none == nullptr);
  }).join();
  cuCtxPopCurrent(&popped);
  CHECK(popped == d.contexts[1]);
  CHECK(cuCtxSetCurrent(d.contexts[1]) == CUDA_SUCCESS);  // replaces the top
  cuCtxPopCurrent(&popped);
  CHECK(popped == d.contexts[1]);
  CHECK(cuCtxPopCurrent(&popped) == CUDA_ERROR_INVALID_CONTEXT);
}

TEST_CASE("calls that need a current context fail without one", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  CUevent e = d.event();
  cuCtxPopCurrent(nullptr);
  CUdeviceptr memory = 0;
  void* pinned = nullptr;
  CUcontext home = nullptr;
  CHECK(cuEventCreate(&e, 0) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuEventRecord(e, s) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuStreamWaitEvent(s, e, 0) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuStreamSynchronize(s) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuMemAlloc(&memory, 8) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuMemHostAlloc(&pinned, 8, 0) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuMemcpyAsync(1, 1, 8, s) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuStreamGetCtx(CU_STREAM_LEGACY, &home) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuStreamGetCtx(s, &home) == CUDA_SUCCESS);  // a handle knows its context
  CUstreamCaptureStatus status;
  CHECK(cuStreamIsCapturing(s, &status) == CUDA_SUCCESS);
  CHECK(cuEventQuery(e) == CUDA_SUCCESS);
}

TEST_CASE("a primary context is active while somebody holds it", "[fake]") {
  fake_cuda_reset();
  REQUIRE(cuInit(0) == CUDA_SUCCESS);
  unsigned flags = 1;
  int active = -1;
  CHECK(cuDevicePrimaryCtxGetState(1, &flags, &active) == CUDA_SUCCESS);
  CHECK(active == 0);
  CHECK(fake_cuda_live("contexts") == 0);
  CUcontext one = nullptr, two = nullptr;
  cuDevicePrimaryCtxRetain(&one, 1);
  cuDevicePrimaryCtxRetain(&two, 1);
  CHECK(one == two);
  CHECK(fake_cuda_live("contexts") == 1);
  cuDevicePrimaryCtxRelease(1);
  cuDevicePrimaryCtxGetState(1, &flags, &active);
  CHECK(active == 1);
  CHECK(cuCtxPushCurrent(one) == CUDA_SUCCESS);
  CUevent e = nullptr;
  CHECK(cuEventCreate(&e, 0) == CUDA_SUCCESS);
  cuDevicePrimaryCtxRelease(1);
  CHECK(cuEventCreate(&e, 0) == CUDA_ERROR_INVALID_CONTEXT);  // current, and gone
  CHECK(cuCtxPopCurrent(nullptr) == CUDA_SUCCESS);
  CHECK(cuDevicePrimaryCtxRelease(1) == CUDA_ERROR_INVALID_CONTEXT);
  cuDevicePrimaryCtxGetState(1, &flags, &active);
  CHECK(active == 0);
  CHECK(cuCtxPushCurrent(one) == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(cuDevicePrimaryCtxRetain(&one, 2) == CUDA_ERROR_INVALID_DEVICE);
}

TEST_CASE("a framework's work makes its context active", "[fake]") {
  fake_cuda_reset();
  std::byte byte{};
  CHECK(write(CU_STREAM_LEGACY, &byte, 1, 1) == CUDA_SUCCESS);
  CHECK(fake_cuda_live("contexts") == 1);
  CHECK(fake_cuda_stream(0, 0) != nullptr);
  CHECK(fake_cuda_live("contexts") == 2);
  CHECK(fake_cuda_stream(2, 0) == nullptr);
  CHECK(fake_cuda_calls(nullptr) == 0);
}

TEST_CASE("peer access is enabled once", "[fake]") {
  two_devices d;
  int can = -1;
  CHECK(cuDeviceCanAccessPeer(&can, 0, 1) == CUDA_SUCCESS);
  CHECK(can == 1);
  CHECK(cuDeviceCanAccessPeer(&can, 1, 1) == CUDA_SUCCESS);
  CHECK(can == 0);
  CHECK(cuCtxEnablePeerAccess(d.contexts[1], 0) == CUDA_SUCCESS);
  CHECK(cuCtxEnablePeerAccess(d.contexts[1], 0) == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
}

TEST_CASE("the child of a process that used the driver has none", "[fake]") {
  two_devices d;
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    const bool refused = cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
                         cuInit(0) == CUDA_ERROR_NOT_INITIALIZED;
    _exit(refused ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

// ---- entries ---------------------------------------------------------------------------------------

TEST_CASE("entries are found by name and version as a driver of 13.0 gives them", "[fake]") {
  two_devices d;
  void* entry = nullptr;
  CUdriverProcAddressQueryResult found;
  const auto ask = [&](const char* name, int version) {
    return cuGetProcAddress(name, &entry, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found);
  };
  CHECK(ask("cuEventRecord", 2000) == CUDA_SUCCESS);
  CHECK(entry == reinterpret_cast<void*>(&cuEventRecord));
  CHECK(found == CU_GET_PROC_ADDRESS_SUCCESS);
  CHECK(ask("cuMemAlloc", 12000) == CUDA_SUCCESS);
  CHECK(ask("cuMemAlloc_v2", 12000) == CUDA_ERROR_NOT_FOUND);
  CHECK(ask("cuNoSuchThing", 12000) == CUDA_ERROR_NOT_FOUND);
  CHECK(found == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  CHECK(entry == nullptr);
  CHECK(ask("cuStreamGetDevice", 12000) == CUDA_ERROR_NOT_FOUND);
  CHECK(found == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  CHECK(ask("cuStreamGetDevice", 12080) == CUDA_SUCCESS);
  CHECK(ask("cuInit", 13010) == CUDA_ERROR_INVALID_VALUE);
  int version = 0;
  CHECK(cuDriverGetVersion(&version) == CUDA_SUCCESS);
  CHECK(version == 13000);
}

TEST_CASE("each version of an entry has its own ABI", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
  cuuint64_t id = 0;
  void* entry = nullptr;
  const auto ask = [&](const char* name, int version) {
    return cuGetProcAddress(name, &entry, version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, nullptr);
  };
  REQUIRE(ask("cuStreamGetCaptureInfo", 11020) == CUDA_SUCCESS);
  const auto v1 = reinterpret_cast<PFN_cuStreamGetCaptureInfo_v10010>(entry);
  CHECK(v1(s, &status, &id) == CUDA_SUCCESS);
  CHECK(status == CU_STREAM_CAPTURE_STATUS_NONE);
  REQUIRE(ask("cuStreamGetCaptureInfo", 12000) == CUDA_SUCCESS);
  const auto v2 = reinterpret_cast<PFN_cuStreamGetCaptureInfo_v11030>(entry);
  std::size_t count = 7;
  CHECK(v2(s, &status, &id, nullptr, nullptr, &count) == CUDA_SUCCESS);
  CHECK(count == 0);
  REQUIRE(ask("cuStreamGetCaptureInfo", 13000) == CUDA_SUCCESS);
  CHECK(entry == reinterpret_cast<void*>(&cuStreamGetCaptureInfo));
  REQUIRE(ask("cuCtxGetDevice", 13000) == CUDA_SUCCESS);
  const auto of_context = reinterpret_cast<PFN_cuCtxGetDevice_v13000>(entry);
  CUdevice device = -1;
  CHECK(of_context(&device, d.contexts[1]) == CUDA_SUCCESS);
  CHECK(device == 1);
}

TEST_CASE("asking for the functions of the per-thread default stream is a finding", "[fake]") {
  two_devices d;
  void* entry = nullptr;
  CHECK(d.found_by([&] {
    cuGetProcAddress("cuEventRecord", &entry, 7000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
                     nullptr);
  }) == 1);
}

TEST_CASE("results have names and texts", "[fake]") {
  const char* text = nullptr;
  CHECK(cuGetErrorName(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, &text) == CUDA_SUCCESS);
  CHECK(std::string_view(text) == "CUDA_ERROR_STREAM_CAPTURE_ISOLATION");
  CHECK(cuGetErrorString(CUDA_ERROR_NOT_READY, &text) == CUDA_SUCCESS);
  CHECK(std::string_view(text) == "device not ready");
  CHECK(cuGetErrorName(static_cast<CUresult>(998), &text) == CUDA_ERROR_INVALID_VALUE);
  CHECK(text == nullptr);
}

// ---- counts and trouble ----------------------------------------------------------------------------

TEST_CASE("calls are counted and listed, quiet ones are not", "[fake]") {
  two_devices d;
  const CUstream s = d.stream();
  d.order(s, CU_STREAM_LEGACY);
  CHECK(std::string_view(fake_cuda_call_log()) ==
        "cuEventCreate cuEventRecord cuStreamWaitEvent cuEventDestroy");
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuEventDestroy") == 1);
  CHECK(fake_cuda_calls(nullptr) == 4);
  CHECK(fake_cuda_calls("cuEventDestroy_v2") == -1);
  fake_cuda_set_quiet(1);
  d.order(s, CU_STREAM_LEGACY);
  cuStreamSynchronize(s);
  fake_cuda_set_quiet(0);
  CHECK(fake_cuda_calls(nullptr) == 4);
  CHECK(fake_cuda_host_waits() == 0);
  cuStreamSynchronize(s);
  CHECK(fake_cuda_host_waits() == 1);
  fake_cuda_reset_calls();
  CHECK(fake_cuda_calls(nullptr) == 0);
  CHECK(fake_cuda_host_waits() == 0);
  CHECK(std::string_view(fake_cuda_call_log()).empty());
}

TEST_CASE("the nth call of a function fails and does nothing", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  const CUevent e = d.event();
  fake_cuda_fail("cuEventRecord", 2, CUDA_ERROR_OUT_OF_MEMORY, 0);
  write(a, d.bytes.data(), 8);
  CHECK(cuEventRecord(e, b) == CUDA_SUCCESS);
  CHECK(cuEventRecord(e, a) == CUDA_ERROR_OUT_OF_MEMORY);
  cuStreamWaitEvent(b, e, 0);
  CHECK(d.found_by([&] { read(b, d.bytes.data(), 8); }) == 1);
  CHECK(cuEventRecord(e, a) == CUDA_SUCCESS);
  fake_cuda_fail("cuEventRecord", 0, CUDA_ERROR_UNKNOWN, 0);
  CHECK(cuEventRecord(e, a) == CUDA_ERROR_UNKNOWN);
  CHECK(cuEventRecord(e, a) == CUDA_ERROR_UNKNOWN);
  fake_cuda_heal();
  CHECK(cuEventRecord(e, a) == CUDA_SUCCESS);
}

TEST_CASE("a sticky error is answered by every later call of the device, not of others", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(0), b = d.stream(1);
  const CUevent e = d.event();
  fake_cuda_fail("cuEventQuery", 1, CUDA_ERROR_ILLEGAL_ADDRESS, 1);
  CHECK(cuEventQuery(e) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuEventRecord(e, a) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuStreamSynchronize(a) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(cuStreamSynchronize(b) == CUDA_SUCCESS);
  CHECK(cuCtxPushCurrent(d.contexts[1]) == CUDA_SUCCESS);
  CHECK(cuCtxPopCurrent(nullptr) == CUDA_SUCCESS);
  fake_cuda_heal();
  CHECK(cuEventRecord(e, a) == CUDA_SUCCESS);
}

TEST_CASE("an ignored call says success and does nothing", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  fake_cuda_ignore("cuStreamWaitEvent", 1);
  write(a, d.bytes.data(), 8);
  d.order(b, a);
  CHECK(fake_cuda_ignored() == 1);
  CHECK(d.found_by([&] { read(b, d.bytes.data(), 8); }) == 1);
  d.order(b, a);
  CHECK(d.found_by([&] { read(b, d.bytes.data(), 8); }) == 0);
  CHECK(fake_cuda_ignored() == 1);
  CHECK(d.found_by([] { fake_cuda_ignore("cuNoSuchThing", 1); }) == 1);
}

TEST_CASE("what is alive is told by kind", "[fake]") {
  two_devices d;
  const CUevent e = d.event();
  CHECK(fake_cuda_live("events") == 1);
  cuEventDestroy(e);
  CHECK(fake_cuda_live("events") == 0);
  const CUstream s = d.stream();
  CHECK(fake_cuda_live("streams") == 1);
  cuStreamDestroy(s);
  CHECK(fake_cuda_live("streams") == 0);
  CHECK(fake_cuda_live("contexts") == 2);
  CHECK(fake_cuda_live("elephants") == -1);
}

TEST_CASE("settled: everything has run and nobody remembers who touched what", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream();
  const CUevent e = d.event();
  write(a, d.bytes.data(), 8);
  cuEventRecord(e, a);
  read(CU_STREAM_LEGACY, &d.bytes[32], 8);
  fake_cuda_settle();
  CHECK(cuEventQuery(e) == CUDA_SUCCESS);
  CHECK(d.found_by([&] {
    write(b, d.bytes.data(), 8);
    fake_cuda_host_access(&d.bytes[32], 8, 1);
  }) == 0);
  CHECK(d.found_by([&] { write(a, d.bytes.data(), 8); }) == 1);  // the streams are as they were
  CHECK(fake_cuda_live("streams") == 2);
}

TEST_CASE("before cuInit nothing answers but what has no need of it", "[fake]") {
  // In a process of its own: cuInit holds to the end of the process.
  CHECK(run_alone("the driver as it is before cuInit").code == 0);
}

TEST_CASE("the driver as it is before cuInit", "[.][fake]") {
  int count = 0, version = 0;
  CHECK(cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED);
  CHECK(cuDriverGetVersion(&version) == CUDA_SUCCESS);
  setenv("FAKE_CUDA_INIT", "803", 1);
  CHECK(cuInit(0) == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  CHECK(cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED);
  unsetenv("FAKE_CUDA_INIT");
  setenv("FAKE_CUDA_DEVICES", "3", 1);
  fake_cuda_reset();
  CHECK(cuInit(0) == CUDA_SUCCESS);
  CHECK(cuDeviceGetCount(&count) == CUDA_SUCCESS);
  CHECK(count == 3);
  setenv("FAKE_CUDA_DEVICES", "0", 1);
  fake_cuda_reset();
  CHECK(cuInit(0) == CUDA_ERROR_NO_DEVICE);
}
