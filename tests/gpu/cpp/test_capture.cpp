// Capture: nothing that the hub does ends a capture, and what cannot be ordered is refused before any
// call is made.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "driver.hpp"
#include "gpu.hpp"
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/exchange.hpp>

using namespace gpu;
using dlpack_bridge::exchange;
using dlpack_bridge::exchange_error;
using dlpack_bridge::managed_tensor;

namespace {

constexpr std::size_t count = 4096;
constexpr int active = CU_STREAM_CAPTURE_STATUS_ACTIVE;
constexpr int global = CU_STREAM_CAPTURE_MODE_GLOBAL;

void begin(const stream& s, int mode = global) { MUST(lab_capture_begin(0, s.get(), mode)); }
int end(const stream& s) { return lab_capture_end(0, s.get(), nullptr); }
int status(const stream& s) { return lab_capture_status(0, s.get()); }

template <class Call>
void is_refused(Call call) {
  try {
    call();
    FAIL_CHECK("nothing was refused");
  } catch (const exchange_error& e) {
    INFO(e.what());
    REQUIRE(e.blockers().size() == 1);
    CHECK(e.blockers()[0].code == dlpack_bridge::reason_code::capture);
  }
}

/// Work of a second stream goes into a capture too, by an event that nobody else has.
void fork(const lab::driver_table& driver, const stream& from, const stream& to) {
  CUevent mark = nullptr;
  CUcontext context = nullptr, popped;
  MUST(driver.cuDevicePrimaryCtxRetain(&context, 0));
  MUST(driver.cuCtxPushCurrent(context));
  MUST(driver.cuEventCreate(&mark, CU_EVENT_DISABLE_TIMING));
  MUST(driver.cuEventRecord(mark, static_cast<CUstream>(from.get())));
  MUST(driver.cuStreamWaitEvent(static_cast<CUstream>(to.get()), mark, 0));
  MUST(driver.cuEventDestroy(mark));
  MUST(driver.cuCtxPopCurrent(&popped));
}

/// Runs a graph, and gives it back. On the fake driver graphs do not run.
void replay(const lab::driver_table& driver, void* graph, const stream& s, int times) {
  CUcontext context = nullptr, popped;
  MUST(driver.cuDevicePrimaryCtxRetain(&context, 0));
  MUST(driver.cuCtxPushCurrent(context));
  CUgraphExec runnable = nullptr;
  MUST(driver.cuGraphInstantiateWithFlags(&runnable, static_cast<CUgraph>(graph), 0));
  for (int i = 0; i < times; ++i) {
    MUST(driver.cuGraphLaunch(runnable, static_cast<CUstream>(s.get())));
  }
  s.wait();
  MUST(driver.cuGraphExecDestroy(runnable));
  MUST(driver.cuGraphDestroy(static_cast<CUgraph>(graph)));
  MUST(driver.cuCtxPopCurrent(&popped));
}

}  // namespace

TEST_CASE_METHOD(gpu_case,
                 "What does not take part in a capture is refused, and the capture goes on") {
  const bool copies = GENERATE(false, true);
  stream p(kind::non_blocking), c(kind::non_blocking);
  words data(count, good);
  begin(c);
  is_refused([&] {
    exchange(tensor_of(data, p), {.copy = copies ? dlpack_bridge::copy_policy::always
                                                 : dlpack_bridge::copy_policy::if_needed,
                                  .stream = c.handle()});
  });
  is_refused([&] { cuda::order_after(c.ref(), p.ref()); });
  is_refused([&] { cuda::order_after(p.ref(), c.ref()); });
  CHECK(status(c) == active);
  CHECK(end(c) == 0);
}

TEST_CASE_METHOD(gpu_case, "The legacy stream is refused while a blocking stream captures") {
  stream captures(kind::blocking), p(kind::non_blocking), legacy(kind::legacy);
  words data(count, good);
  begin(captures);
  is_refused([&] { exchange(tensor_of(data, p), {.stream = legacy.handle()}); });
  CHECK(status(captures) == active);
  CHECK(end(captures) == 0);
}

TEST_CASE_METHOD(gpu_case, "Two captures are not ordered with each other") {
  stream a(kind::non_blocking), b(kind::non_blocking);
  words data(count, good);
  begin(a);
  begin(b);
  is_refused([&] { exchange(tensor_of(data, a), {.stream = b.handle()}); });
  CHECK(end(a) == 0);
  CHECK(end(b) == 0);
}

TEST_CASE_METHOD(gpu_case,
                 "Inside one capture the order becomes an edge, and replays are ordered") {
  lab::driver_table driver;
  REQUIRE(lab::open_driver(driver).empty());
  stream a(kind::non_blocking), b(kind::non_blocking), outside(kind::non_blocking);
  words data(count, 0), out(count, 0);
  latch gate;
  gate.open();  // at the first replay; the edge is what orders the copy after the fill
  begin(a);
  fork(driver, a, b);
  gate.hold(a);
  fill(a, data, good);
  managed_tensor taken = exchange(tensor_of(data, a), {.stream = b.handle()});
  copy(b, out, taken.view().data());
  cuda::order_after(a.ref(), b.ref());  // back to where the capture began
  taken.reset();
  CHECK(status(a) == active);
  void* graph = nullptr;
  CHECK(lab_capture_end(0, a.get(), &graph) == 0);
  cuda::collect(true);  // while `b` lives
  if (on_fake()) {
    driver.cuGraphDestroy(static_cast<CUgraph>(graph));
    return;
  }
  replay(driver, graph, outside, 3);
  CHECK(all(read(outside, out), good));
}

TEST_CASE_METHOD(gpu_case, "An array dropped inside a capture is kept until the capture is over") {
  std::atomic<bool> gone{false};
  stream p(kind::non_blocking), c(kind::non_blocking);
  words data(count, good);
  managed_tensor taken =
      exchange(tensor_of(data.get(), count, p, dlpack_bridge::owner::of([&] { gone = true; })),
               {.stream = c.handle()});
  begin(c);
  taken.reset();
  CHECK(!gone);
  cuda::collect();
  CHECK(!gone);
  CHECK(status(c) == active);
  CHECK(end(c) == 0);
  cuda::collect(true);
  CHECK(gone);
}

TEST_CASE_METHOD(gpu_case, "A capture of another thread survives all that the hub does") {
  const int mode = GENERATE(CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                            CU_STREAM_CAPTURE_MODE_RELAXED);
  const bool warm = GENERATE(false, true);  // in this order: first calls come first
  INFO("capture mode " << mode << (warm ? ", pools warm" : ", first calls"));
  stream captures(kind::non_blocking), p(kind::non_blocking), c(kind::non_blocking);
  words data(count, good), out(count, 0);
  const auto exchanges = [&] {
    latch gate;
    managed_tensor shared = exchange(tensor_of(data, p), {.stream = c.handle()});
    managed_tensor copied = exchange(
        tensor_of(data, p), {.copy = dlpack_bridge::copy_policy::always, .stream = c.handle()});
    gate.hold(c);
    copy(c, out, copied.view().data());
    shared.reset();
    copied.reset();
    for (int i = 0; i < 20; ++i) {  // the queue's thread asks about its events meanwhile
      cuda::collect();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    gate.open();
    cuda::collect(true);
  };
  if (warm) exchanges();
  int ended = -1;
  std::atomic<bool> begun{false}, done{false};
  std::thread other([&] {
    begin(captures, mode);
    begun = true;
    while (!done) std::this_thread::yield();
    ended = end(captures);
  });
  while (!begun) std::this_thread::yield();
  std::exception_ptr failed;
  try {
    exchanges();
  } catch (...) {
    failed = std::current_exception();
  }
  done = true;
  other.join();
  CHECK(ended == 0);
  if (failed) std::rethrow_exception(failed);
  CHECK(all(read(c, out), good));
}
