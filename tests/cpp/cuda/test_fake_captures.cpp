#include <thread>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "fake_cuda/two_devices.hpp"

using namespace fake_cuda;

// The rules of stream capture, as the fake driver has them.

namespace {

constexpr auto global = CU_STREAM_CAPTURE_MODE_GLOBAL;
constexpr auto thread_local_mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
constexpr auto relaxed = CU_STREAM_CAPTURE_MODE_RELAXED;

/// A stream that captures.
CUstream capturing(CUstream s, CUstreamCaptureMode mode = global) {
  REQUIRE(cuStreamBeginCapture(s, mode) == CUDA_SUCCESS);
  return s;
}

CUresult end(CUstream s) {
  CUgraph graph = nullptr;
  const CUresult result = cuStreamEndCapture(s, &graph);
  CHECK((result == CUDA_SUCCESS) == (graph != nullptr));
  if (graph != nullptr) CHECK(cuGraphDestroy(graph) == CUDA_SUCCESS);
  return result;
}

CUstreamCaptureStatus status_of(CUstream s) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  CHECK(cuStreamIsCapturing(s, &status) == CUDA_SUCCESS);
  return status;
}

cuuint64_t capture_id(CUstream s) {
  CUstreamCaptureStatus status;
  cuuint64_t id = 0;
  CHECK(cuStreamGetCaptureInfo(s, &status, &id, nullptr, nullptr, nullptr, nullptr) ==
        CUDA_SUCCESS);
  return id;
}

template <class F>
void on_another_thread(const two_devices& d, F f) {
  std::thread([&] {
    cuCtxPushCurrent(d.contexts[0]);
    f();
  }).join();
}

}  // namespace

TEST_CASE("captured work touches nothing and the capture ends in a graph", "[fake]") {
  two_devices d;
  const CUstream s = d.stream(), other = d.stream();
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_NONE);
  capturing(s);
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CHECK(write(s, d.bytes.data(), 8) == CUDA_SUCCESS);
  CHECK(write(other, d.bytes.data(), 8) == CUDA_SUCCESS);
  CHECK(fake_cuda_races() == 0);
  CHECK(end(s) == CUDA_SUCCESS);
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_NONE);
  CHECK(fake_cuda_live("captures") == 0);
}

TEST_CASE("each capture has an id of its own", "[fake]") {
  two_devices d;
  const CUstream a = capturing(d.stream()), b = capturing(d.stream());
  const cuuint64_t first = capture_id(a);
  CHECK(first != 0);
  CHECK(capture_id(b) != first);
  end(a);
  capturing(a);
  CHECK(capture_id(a) != first);
}

TEST_CASE("905: a capturing stream cannot wait for work outside the capture", "[fake]") {
  two_devices d;
  const CUstream outside = d.stream(), inside = capturing(d.stream());
  const CUevent e = d.event();
  cuEventRecord(e, outside);
  CHECK(cuStreamWaitEvent(inside, e, 0) == CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  CHECK(status_of(inside) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CHECK(fake_cuda_live("captures") == 1);
}

TEST_CASE("an external wait is a node of the graph, and nothing outside a capture", "[fake]") {
  two_devices d;
  const CUstream outside = d.stream(), inside = capturing(d.stream());
  const CUevent e = d.event();
  cuEventRecord(e, outside);
  CHECK(cuStreamWaitEvent(inside, e, CU_EVENT_WAIT_EXTERNAL) == CUDA_SUCCESS);
  CHECK(cuStreamWaitEvent(outside, e, CU_EVENT_WAIT_EXTERNAL) == CUDA_ERROR_INVALID_VALUE);
  CHECK(end(inside) == CUDA_SUCCESS);
}

TEST_CASE("901: an invalid capture refuses work until it is ended", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream());
  const CUevent e = d.event();
  CHECK(cuStreamSynchronize(s) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(write(s, d.bytes.data(), 8) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(cuEventRecord(e, s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(cuStreamQuery(s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(end(s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(write(s, d.bytes.data(), 8) == CUDA_SUCCESS);
}

TEST_CASE("a stream that waits for a captured event joins the capture", "[fake]") {
  two_devices d;
  const CUstream origin = capturing(d.stream()), side = d.stream();
  d.order(side, origin);
  CHECK(status_of(side) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CHECK(capture_id(side) == capture_id(origin));
  SECTION("904: and has to be joined again, even if no work follows") {
    CHECK(end(origin) == CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  }
  SECTION("904: with all its work") {
    d.order(origin, side);
    write(side, d.bytes.data(), 8);
    CHECK(end(origin) == CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  }
  SECTION("joined") {
    write(side, d.bytes.data(), 8);
    d.order(origin, side);
    CHECK(end(origin) == CUDA_SUCCESS);
  }
  CHECK(status_of(side) == CU_STREAM_CAPTURE_STATUS_NONE);
}

TEST_CASE("joins count through a third stream", "[fake]") {
  two_devices d;
  const CUstream origin = capturing(d.stream()), second = d.stream(), third = d.stream();
  d.order(second, origin);
  d.order(third, second);
  write(second, d.bytes.data(), 8);
  d.order(third, second);
  d.order(origin, third);
  CHECK(end(origin) == CUDA_SUCCESS);
}

TEST_CASE("the nodes of one graph race where no edge orders them", "[fake]") {
  two_devices d;
  const CUstream origin = capturing(d.stream()), side = d.stream();
  d.order(side, origin);
  write(origin, &d.bytes[0], 8);
  CHECK(d.found_by([&] { read(side, &d.bytes[4], 8); }) == 1);
  INFO(findings());
  CHECK(findings().find("race in a graph") == 0);
  write(origin, &d.bytes[32], 8);
  d.order(side, origin);
  CHECK(d.found_by([&] { read(side, &d.bytes[32], 8); }) == 0);
  d.order(origin, side);
  CHECK(d.found_by([&] { write(origin, &d.bytes[32], 8); }) == 0);
  CHECK(end(origin) == CUDA_SUCCESS);
}

TEST_CASE("902: two captures do not merge, and neither survives the attempt", "[fake]") {
  two_devices d;
  const CUstream a = capturing(d.stream()), b = capturing(d.stream());
  const CUevent e = d.event();
  cuEventRecord(e, a);
  CHECK(cuStreamWaitEvent(b, e, 0) == CUDA_ERROR_STREAM_CAPTURE_MERGE);
  CHECK(status_of(a) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CHECK(status_of(b) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
}

TEST_CASE("906: the legacy stream is unusable while a blocking stream captures", "[fake]") {
  two_devices d;
  const CUstream blocking = d.blocking_stream();
  const CUevent e = d.event(), recorded = d.event();
  cuEventRecord(recorded, d.stream());
  CUstreamCaptureStatus status;
  capturing(blocking);
  SECTION("asking whether it captures does no harm") {
    CHECK(cuStreamIsCapturing(CU_STREAM_LEGACY, &status) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    CHECK(cuStreamGetCaptureInfo(CU_STREAM_LEGACY, &status, nullptr, nullptr, nullptr, nullptr,
                                 nullptr) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    CHECK(status_of(blocking) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK(end(blocking) == CUDA_SUCCESS);
    CHECK(cuStreamIsCapturing(CU_STREAM_LEGACY, &status) == CUDA_SUCCESS);
    return;
  }
  SECTION("a record") {
    CHECK(cuEventRecord(e, CU_STREAM_LEGACY) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  }
  SECTION("a wait") {
    CHECK(cuStreamWaitEvent(CU_STREAM_LEGACY, recorded, 0) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  }
  SECTION("work") {
    CHECK(write(CU_STREAM_LEGACY, d.bytes.data(), 8) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  }
  SECTION("waiting for it, from any thread") {
    on_another_thread(d, [] {
      CHECK(cuStreamSynchronize(CU_STREAM_LEGACY) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    });
  }
  CHECK(status_of(blocking) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
}

TEST_CASE("a non-blocking stream's capture is nothing to the legacy stream", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream());
  CHECK(write(CU_STREAM_LEGACY, d.bytes.data(), 8) == CUDA_SUCCESS);
  CHECK(end(s) == CUDA_SUCCESS);
}

TEST_CASE("the per-thread stream captures as a blocking stream", "[fake]") {
  two_devices d;
  capturing(CU_STREAM_PER_THREAD);
  CHECK(write(CU_STREAM_LEGACY, d.bytes.data(), 8) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
}

TEST_CASE("907: the host cannot ask about a captured event", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream(), relaxed);
  const CUevent e = d.event();
  cuEventRecord(e, s);
  SECTION("a query") { CHECK(cuEventQuery(e) == CUDA_ERROR_CAPTURED_EVENT); }
  SECTION("a wait") { CHECK(cuEventSynchronize(e) == CUDA_ERROR_CAPTURED_EVENT); }
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CHECK(end(s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(cuEventQuery(e) == CUDA_ERROR_CAPTURED_EVENT);  // still last recorded in a capture
  CHECK(cuStreamWaitEvent(s, e, 0) == CUDA_ERROR_CAPTURED_EVENT);
  cuEventRecord(e, s);
  CHECK(cuEventQuery(e) == CUDA_SUCCESS);
}

TEST_CASE("900: the host cannot wait for what captures, whatever the mode", "[fake]") {
  const auto mode = GENERATE(global, thread_local_mode, relaxed);
  two_devices d;
  const CUstream s = capturing(d.stream(), mode);
  CUdeviceptr memory = 0;
  SECTION("the stream") { CHECK(cuStreamSynchronize(s) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED); }
  SECTION("whether the stream is done") {
    CHECK(cuStreamQuery(s) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  }
  SECTION("its context, from any thread") {
    on_another_thread(d,
                      [] { CHECK(cuCtxSynchronize() == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED); });
  }
  SECTION("a free that may wait for the device, from any thread") {
    const auto allocate_and_free = [&] {
      CUstreamCaptureMode mine = relaxed;
      cuThreadExchangeStreamCaptureMode(&mine);
      CHECK(cuMemAlloc(&memory, 8) == CUDA_SUCCESS);
      CHECK(cuMemFree(memory) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    };
    on_another_thread(d, allocate_and_free);
  }
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
}

TEST_CASE("a capture on one device is nothing to who waits for another", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream(1));
  CHECK(cuCtxSynchronize() == CUDA_SUCCESS);
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
}

TEST_CASE("unsafe calls are forbidden by the modes of capture and thread", "[fake]") {
  two_devices d;
  const CUevent e = d.event();
  const CUstream other = d.stream(), home = d.stream();
  struct row {
    CUstreamCaptureMode capture, thread;
    bool other_thread, allowed;
  };
  // The comment of cuThreadExchangeStreamCaptureMode in cuda.h, as a table.
  const row r = GENERATE(
      row{global, global, false, false}, row{global, global, true, false},
      row{global, thread_local_mode, false, false}, row{global, thread_local_mode, true, true},
      row{global, relaxed, false, true}, row{global, relaxed, true, true},
      row{thread_local_mode, global, false, false}, row{thread_local_mode, global, true, true},
      row{thread_local_mode, relaxed, false, true}, row{relaxed, global, false, true},
      row{relaxed, global, true, true});
  CAPTURE(static_cast<int>(r.capture), static_cast<int>(r.thread), r.other_thread);
  const int call = GENERATE(range(0, 13));
  CUdeviceptr pooled = 0;
  CHECK(cuMemAllocAsync(&pooled, 8, home) == CUDA_SUCCESS);
  const char image = 0;
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  cuLibraryLoadData(&library, &image, nullptr, nullptr, 0, nullptr, nullptr, 0);
  cuLibraryGetKernel(&kernel, library, "dlpack_bridge_gather");
  const CUstream s = capturing(d.stream(), r.capture);
  const auto unsafe = [&] {
    CUstreamCaptureMode mode = r.thread;
    CHECK(cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS);
    CHECK(mode == global);
    CUdeviceptr memory = 0;
    void* pinned = nullptr;
    CUstream made = nullptr;
    CUfunction function = nullptr;
    CUresult result = CUDA_ERROR_UNKNOWN;
    switch (call) {
      case 0: result = cuEventQuery(e); break;
      case 1: result = cuStreamQuery(other); break;
      case 2: result = cuStreamSynchronize(other); break;
      case 3: result = cuMemAlloc(&memory, 8); break;
      case 4: result = cuMemHostAlloc(&pinned, 8, 0); break;
      case 5: result = cuMemAllocManaged(&memory, 8, CU_MEM_ATTACH_GLOBAL); break;
      case 6: result = cuMemAllocAsync(&memory, 8, other); break;
      case 7: result = cuMemFreeAsync(pooled, home); break;
      case 8: result = cuMemcpyAsync(pooled, pooled, 8, other); break;
      case 9: result = cuStreamCreateWithPriority(&made, CU_STREAM_NON_BLOCKING, 0); break;
      case 10: result = cuStreamDestroy(other); break;
      case 11: result = cuKernelGetFunction(&function, kernel); break;
      case 12: result = cuCtxEnablePeerAccess(d.contexts[1], 0); break;
    }
    CHECK(result == (r.allowed ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
    CHECK(cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS);
    CHECK(mode == r.thread);
  };
  if (r.other_thread) on_another_thread(d, unsafe);
  else unsafe();
  CHECK(status_of(s) ==
        (r.allowed ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_INVALIDATED));
}

TEST_CASE("work and its order are safe beside a capture", "[fake]") {
  two_devices d;
  const CUstream a = d.stream(), b = d.stream(), s = capturing(d.stream());
  CHECK(write(a, d.bytes.data(), 8) == CUDA_SUCCESS);
  d.order(b, a);
  CHECK(end(s) == CUDA_SUCCESS);
}

TEST_CASE("a context that sleeps is not woken beside a capture", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream());
  CUcontext context = nullptr;
  CHECK(cuDevicePrimaryCtxRetain(&context, 1) == CUDA_SUCCESS);  // awake already
  cuDevicePrimaryCtxRelease(1);
  cuDevicePrimaryCtxRelease(1);
  CHECK(cuDevicePrimaryCtxRetain(&context, 1) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(end(s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("memory that a capture allocates belongs to its graph", "[fake]") {
  two_devices d;
  const CUstream outside = d.stream();
  CUdeviceptr inner = 0, outer = 0;
  cuMemAllocAsync(&outer, 8, outside);
  const CUstream s = capturing(d.stream());
  CHECK(cuMemAllocAsync(&inner, 8, s) == CUDA_SUCCESS);
  CHECK(cuMemFreeAsync(outer, s) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemFreeAsync(inner, outside) == CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemFreeAsync(inner, s) == CUDA_SUCCESS);
  CHECK(end(s) == CUDA_SUCCESS);
}

TEST_CASE("a capture is ended where and by whom it was begun", "[fake]") {
  two_devices d;
  const CUstream origin = capturing(d.stream()), side = d.stream();
  CUgraph graph = nullptr;
  CHECK(cuStreamEndCapture(side, &graph) == CUDA_ERROR_ILLEGAL_STATE);
  d.order(side, origin);
  CHECK(cuStreamEndCapture(side, &graph) == CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  d.order(origin, side);
  on_another_thread(d, [&] {
    CHECK(cuStreamEndCapture(origin, &graph) == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  });
  CHECK(end(origin) == CUDA_SUCCESS);
  capturing(origin, relaxed);
  on_another_thread(d, [&] { CHECK(end(origin) == CUDA_SUCCESS); });
}

TEST_CASE("capture begins on streams of one's own that do not capture", "[fake]") {
  two_devices d;
  CHECK(cuStreamBeginCapture(CU_STREAM_LEGACY, global) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  const CUstream s = capturing(d.stream());
  CHECK(cuStreamBeginCapture(s, global) == CUDA_ERROR_ILLEGAL_STATE);
  CHECK(end(s) == CUDA_SUCCESS);
}

TEST_CASE("the legacy stream cannot join a capture", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream());
  const CUevent e = d.event();
  cuEventRecord(e, s);
  CHECK(cuStreamWaitEvent(CU_STREAM_LEGACY, e, 0) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
}

TEST_CASE("a capture ends with its stream", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream());
  cuStreamDestroy(s);
  CHECK(fake_cuda_live("captures") == 1);
  CUdeviceptr memory = 0;
  CHECK(cuMemAlloc(&memory, 8) == CUDA_SUCCESS);
  CHECK(cuCtxSynchronize() == CUDA_SUCCESS);
}

TEST_CASE("an ignored capture query says that nothing captures", "[fake]") {
  two_devices d;
  const CUstream s = capturing(d.stream());
  fake_cuda_ignore("cuStreamIsCapturing", 1);
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_NONE);
  CHECK(status_of(s) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
}
