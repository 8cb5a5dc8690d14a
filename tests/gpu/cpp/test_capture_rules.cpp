// What the driver does about captures, events and the legacy stream: the rules that the hub relies on,
// and that the fake driver of the other tests states. No call of the hub is made here.
#include <thread>

#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "driver.hpp"
#include "gpu.hpp"

using namespace gpu;

namespace {

enum mode { global = 0, thread_local_mode = 1, relaxed = 2 };
constexpr int active = CU_STREAM_CAPTURE_STATUS_ACTIVE;

/// The driver, with the primary context of device 0 current.
class rule : public gpu_case {
 public:
  rule() {
    if (std::string why = lab::open_driver(driver); !why.empty()) SKIP("needs a GPU: " << why);
    MUST(driver.cuDevicePrimaryCtxRetain(&context, 0));
    MUST(driver.cuCtxPushCurrent(context));
  }
  ~rule() {
    CUcontext popped;
    driver.cuCtxPopCurrent(&popped);
  }

  CUevent event() {
    CUevent made = nullptr;
    MUST(driver.cuEventCreate(&made, CU_EVENT_DISABLE_TIMING));
    return made;
  }
  int record(CUevent e, const stream& s) { return driver.cuEventRecord(e, native(s)); }
  int wait(const stream& s, CUevent e) { return driver.cuStreamWaitEvent(native(s), e, 0); }
  int query(CUevent e) { return driver.cuEventQuery(e); }
  static CUstream native(const stream& s) { return static_cast<CUstream>(s.get()); }
  /// A call on another thread, in the default capture mode of threads.
  template <class Call>
  int elsewhere(Call call) {
    int code = 0;
    std::thread([&] {
      MUST(driver.cuCtxPushCurrent(context));
      code = call();
    }).join();
    return code;
  }

  lab::driver_table driver;
  CUcontext context = nullptr;
};

void begin(const stream& s, int how = thread_local_mode) {
  MUST(lab_capture_begin(0, s.get(), how));
}
int end(const stream& s) { return lab_capture_end(0, s.get(), nullptr); }
int status(const stream& s) { return lab_capture_status(0, s.get()); }

}  // namespace

TEST_CASE_METHOD(rule, "Asking whether a stream captures never disturbs a capture") {
  stream blocking(kind::blocking), legacy(kind::legacy);
  begin(blocking, global);
  CHECK(status(blocking) == active);
  CHECK(status(legacy) == -CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CHECK(elsewhere([&] { return status(legacy); }) == -CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CHECK(status(blocking) == active);
  CHECK(end(blocking) == 0);
}

TEST_CASE_METHOD(rule,
                 "A capture cannot wait for what was recorded outside, and does not survive it") {
  stream inside(kind::non_blocking), outside(kind::non_blocking);
  const CUevent mark = event();
  CHECK(record(mark, outside) == 0);
  begin(inside);
  CHECK(wait(inside, mark) == CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  CHECK(status(inside) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
  CHECK(end(inside) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "A stream that waits for a captured event joins the capture") {
  const bool joined_back = GENERATE(true, false);
  stream origin(kind::non_blocking), other(kind::non_blocking);
  const CUevent fork = event(), join = event();
  begin(origin);
  CHECK(record(fork, origin) == 0);
  CHECK(wait(other, fork) == 0);
  CHECK(status(other) == active);
  if (joined_back) {
    CHECK(record(join, other) == 0);
    CHECK(wait(origin, join) == 0);
  }
  CHECK(end(origin) == (joined_back ? 0 : CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
  CHECK(status(other) == 0);
  driver.cuEventDestroy(fork);
  driver.cuEventDestroy(join);
}

TEST_CASE_METHOD(rule, "Two captures cannot be ordered with each other") {
  stream a(kind::non_blocking), b(kind::non_blocking);
  const CUevent mark = event();
  begin(a);
  begin(b);
  CHECK(record(mark, a) == 0);
  CHECK(wait(b, mark) == CUDA_ERROR_STREAM_CAPTURE_MERGE);
  CHECK(end(a) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(end(b) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "Nothing may be put on the legacy stream while a blocking stream captures") {
  stream blocking(kind::blocking), legacy(kind::legacy);
  const CUevent mark = event();
  begin(blocking);
  CHECK(record(mark, legacy) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CHECK(end(blocking) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "A capture of a non-blocking stream does not concern the legacy stream") {
  stream side(kind::non_blocking), legacy(kind::legacy);
  const CUevent mark = event();
  begin(side, global);
  CHECK(status(legacy) == 0);
  CHECK(record(mark, legacy) == 0);
  CHECK(end(side) == 0);
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "A captured event cannot be asked, and asking ends the capture") {
  stream s(kind::non_blocking);
  const CUevent mark = event();
  begin(s, relaxed);
  CHECK(record(mark, s) == 0);
  CHECK(query(mark) == CUDA_ERROR_CAPTURED_EVENT);
  CHECK(end(s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "A stream that captures cannot be asked or waited for") {
  const bool asks = GENERATE(true, false);
  stream s(kind::non_blocking);
  begin(s, relaxed);
  const int code = asks ? driver.cuStreamQuery(native(s)) : driver.cuStreamSynchronize(native(s));
  CHECK(code == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(end(s) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE_METHOD(rule, "A query on another thread ends a global capture, unless it is relaxed") {
  const bool exchanged = GENERATE(true, false);
  stream captures(kind::non_blocking), other(kind::non_blocking);
  const CUevent mark = event();
  CHECK(record(mark, other) == 0);
  other.wait();
  begin(captures, global);
  const int code = elsewhere([&] {
    CUstreamCaptureMode how = CU_STREAM_CAPTURE_MODE_RELAXED;
    if (exchanged) MUST(driver.cuThreadExchangeStreamCaptureMode(&how));
    return query(mark);
  });
  CHECK(code == (exchanged ? 0 : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
  CHECK(end(captures) == (exchanged ? 0 : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "What a thread does beside a capture ends none while it is relaxed") {
  const bool exchanged = GENERATE(true, false);
  const int call = GENERATE(range(0, 4));
  constexpr const char* names[] = {"cuStreamCreate", "cuMemAllocAsync", "cuMemFreeAsync",
                                   "cuMemcpyAsync"};
  stream captures(kind::non_blocking), other(kind::non_blocking);
  CUdeviceptr memory = 0, more = 0;
  CUstream made = nullptr;
  MUST(driver.cuMemAllocAsync(&memory, 64, native(other)));
  begin(captures, thread_local_mode);
  CUstreamCaptureMode how = CU_STREAM_CAPTURE_MODE_RELAXED;
  if (exchanged) MUST(driver.cuThreadExchangeStreamCaptureMode(&how));
  int code = 0;
  switch (call) {
    case 0: code = driver.cuStreamCreate(&made, CU_STREAM_NON_BLOCKING); break;
    case 1: code = driver.cuMemAllocAsync(&more, 64, native(other)); break;
    case 2: code = driver.cuMemFreeAsync(memory, native(other)); break;
    case 3: code = driver.cuMemcpyAsync(memory, memory + 32, 32, native(other)); break;
  }
  if (exchanged) MUST(driver.cuThreadExchangeStreamCaptureMode(&how));
  const int ended = end(captures);
  if (exchanged) {
    CHECK(code == 0);
    CHECK(ended == 0);
  } else {  // the documentation does not list what is unsafe
    note(std::string(names[call]) + " beside a thread-local capture of its thread",
         std::string(lab_error_name(code)) + "; the capture ended with " + lab_error_name(ended));
  }
}

TEST_CASE_METHOD(rule,
                 "What a wait on the whole device does to a capture of another thread is noted") {
  const int how = GENERATE(global, thread_local_mode, relaxed);
  const kind captured = GENERATE(kind::non_blocking, kind::blocking);
  const bool whole_device = GENERATE(true, false);
  stream s(captured);
  begin(s, how);
  const int code = elsewhere([&] {
    return whole_device ? driver.cuCtxSynchronize() : driver.cuStreamSynchronize(CU_STREAM_LEGACY);
  });
  const int ended = end(s);
  constexpr const char* modes[] = {"global", "thread-local", "relaxed"};
  note("open point 4, " + std::string(whole_device ? "cuCtxSynchronize" : "legacy stream wait") +
           " beside a " + modes[how] + " capture of a " + std::string(to_string(captured)) +
           " stream",
       std::string(lab_error_name(code)) + "; the capture ended with " + lab_error_name(ended));
  // The hub makes no such call; what it relies on is that a refusal is one of these.
  const bool understood = code == 0 || code == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED ||
                          code == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  CHECK(understood);
}

TEST_CASE_METHOD(rule,
                 "An event on the legacy stream covers earlier work of blocking streams only") {
  const kind earlier = GENERATE(kind::blocking, kind::per_thread, kind::non_blocking);
  INFO(to_string(earlier));
  stream works(earlier), legacy(kind::legacy), reader(kind::non_blocking);
  words data(1024), out(1024, 0);
  latch gate;
  gate.hold(works);
  fill(works, data, good);
  const CUevent mark = event();
  CHECK(record(mark, legacy) == 0);
  CHECK(wait(reader, mark) == 0);
  copy(reader, out, data.get());
  if (earlier == kind::non_blocking) {
    reader.wait();
    CHECK(saw_a_race(read(reader, out)));
    gate.open();
  } else {
    if (!on_fake()) CHECK(query(mark) == CUDA_ERROR_NOT_READY);
    gate.open();
    CHECK(all(read(reader, out), good));
    CHECK(lab_take_races() == 0);
    note("open point 5, an event on the legacy stream and earlier work of a " +
             std::string(to_string(earlier)) + " stream",
         "covered");
  }
  works.wait();
  CHECK(gate.held());
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule,
                 "A wait keeps the state that the event had, and the event may be destroyed") {
  stream p(kind::non_blocking), q(kind::non_blocking), reader(kind::non_blocking);
  words data(1024), out(1024, 0);
  latch first, second;
  first.hold(p);
  fill(p, data, good);
  const CUevent mark = event();
  CHECK(record(mark, p) == 0);
  CHECK(wait(reader, mark) == 0);
  second.hold(q);
  CHECK(record(mark, q) == 0);  // does not change what `reader` waits for
  CHECK(driver.cuEventDestroy(mark) == 0);
  copy(reader, out, data.get());
  first.open();
  CHECK(all(read(reader, out), good));
  CHECK(second.held());
  second.open();
  q.wait();
  CHECK(lab_take_races() == 0);
}

TEST_CASE_METHOD(rule, "Waiting for an event that was never recorded waits for nothing") {
  stream s(kind::non_blocking);
  const CUevent mark = event();
  CHECK(wait(s, mark) == 0);
  s.wait();
  driver.cuEventDestroy(mark);
}

TEST_CASE_METHOD(rule, "Whether a context's event covers a destroyed stream is noted") {
  if (driver.cuCtxRecordEvent == nullptr) SKIP("needs a GPU with a driver of CUDA 12.5 or newer");
  stream reader(kind::non_blocking);
  words data(1024), out(1024, 0);
  latch gate;
  const CUevent mark = event();
  {
    stream gone(kind::non_blocking);
    gate.hold(gone);
    fill(gone, data, good);
  }
  CHECK(driver.cuCtxRecordEvent(context, mark) == 0);
  CHECK(wait(reader, mark) == 0);
  copy(reader, out, data.get());
  const int before_opening = lab_wait(0, reader.get(), 1);
  gate.open();
  const bool covered = all(read(reader, out), good);
  note("open point 7, cuCtxRecordEvent", std::string(covered ? "covers" : "does not cover") +
                                             " the work of a destroyed stream" +
                                             (before_opening == 0 ? "; it did not wait" : ""));
  CHECK(covered == (before_opening == CUDA_ERROR_NOT_READY));
  MUST(driver.cuCtxSynchronize());
  driver.cuEventDestroy(mark);
}
