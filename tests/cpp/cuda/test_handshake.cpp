#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "alone.hpp"
#include "calls.hpp"
#include "fake_world.hpp"
#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/stream.hpp>
#include <dlpack_bridge/error.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

// The consumer's stream comes first, as in order_after.
void order(CUstream consumer, CUstream producer, int consumer_device = 0, int producer_device = 0) {
  order_after(cuda_device(consumer_device), handle_of(consumer), cuda_device(producer_device),
              handle_of(producer));
}

template <class Action>
std::optional<reason_code> refusal(Action action) {
  try {
    action();
  } catch (const exchange_error& e) {
    REQUIRE(e.blockers().size() == 1);
    CHECK(e.blockers()[0].message == e.what());
    return e.blockers()[0].code;
  }
  return std::nullopt;
}

void check_no_order_was_made() {
  CHECK(fake_cuda_calls("cuEventRecord") == 0);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 0);
}

// The stream joins the capture of another one, as an edge of the user makes it.
void join(CUstream joining, CUstream capturing) {
  const current_device current(0);
  const quiet own;
  CUevent edge = nullptr;
  REQUIRE(cuEventCreate(&edge, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS);
  REQUIRE(cuEventRecord(edge, capturing) == CUDA_SUCCESS);
  REQUIRE(cuStreamWaitEvent(joining, edge, 0) == CUDA_SUCCESS);
  REQUIRE(cuEventDestroy(edge) == CUDA_SUCCESS);
}

}  // namespace

TEST_CASE("two streams are ordered by one record and one wait", "[handshake]") {
  const fake_world world;
  block memory;
  const CUstream producer = make_stream(), consumer = make_stream();
  memory.write(producer);
  fake_cuda_reset_calls();
  order(consumer, producer);
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 1);
  CHECK(fake_cuda_calls("cuEventQuery") == 0);
  CHECK(fake_cuda_host_waits() == 0);
  memory.write(consumer);
  CHECK(first_race() == "");
}

TEST_CASE("without the record or the wait the same program races", "[handshake]") {
  const fake_world world;
  for (const char* ignored : {"cuEventRecord", "cuStreamWaitEvent"}) {
    block memory;
    const CUstream producer = make_stream(), consumer = make_stream();
    memory.write(producer);
    fake_cuda_ignore(ignored, 0);
    order(consumer, producer);
    fake_cuda_heal();
    memory.write(consumer);
    CHECK(fake_cuda_races() > 0);
    fake_cuda_clear_races();
  }
}

TEST_CASE("one stream needs no order and no driver call", "[handshake]") {
  const fake_world world;
  const CUstream made = make_stream();
  const stream_ref ref(cuda_device(0), made);
  fake_cuda_reset_calls();
  for (const CUstream stream : {made, legacy, per_thread}) order(stream, stream);
  order_after(ref, ref);
  CHECK(fake_cuda_calls(nullptr) == 0);
}

TEST_CASE("every pair of kinds is ordered", "[handshake]") {
  const fake_world world;
  for (const CUstream producer : {legacy, per_thread, make_stream(), make_stream(0, 0)}) {
    for (const CUstream consumer : {legacy, per_thread, make_stream(), make_stream(0, 0)}) {
      block memory;
      memory.write(producer);
      order(consumer, producer);
      memory.write(consumer);
      CHECK(first_race() == "");
    }
  }
  CHECK(fake_cuda_host_waits() == 0);
}

TEST_CASE("streams of two devices are ordered with the producer's event", "[handshake]") {
  const fake_world world;
  for (const CUstream producer : {legacy, per_thread, make_stream(1)}) {
    for (const CUstream consumer : {legacy, per_thread, make_stream(0)}) {
      block memory(1);
      memory.write(producer);
      order(consumer, producer, 0, 1);
      memory.write(0, consumer);
      CHECK(first_race() == "");
    }
  }
  CHECK(current_context() == nullptr);
}

TEST_CASE("the default streams of two devices are two streams", "[handshake]") {
  const fake_world world;
  make_stream(0), make_stream(1);
  order(legacy, legacy, 1, 0);
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 1);
}

TEST_CASE("a stream handle knows its device better than who passes it", "[handshake]") {
  const fake_world world;
  block memory(1);
  const CUstream producer = make_stream(1), consumer = make_stream(1);
  memory.write(producer);
  order(consumer, producer, 0, 0);
  memory.write(consumer);
  CHECK(first_race() == "");
  CHECK(look_at(cuda_device(0), handle_of(producer)).device_id == 1);
}

TEST_CASE("order between references is the same", "[handshake]") {
  const fake_world world;
  block memory;
  const cuda::stream producer(cuda_device(0)), consumer(cuda_device(0));
  memory.write(static_cast<CUstream>(producer.get()));
  fake_cuda_reset_calls();
  order_after(consumer, producer);
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  memory.write(static_cast<CUstream>(consumer.get()));
  CHECK(first_race() == "");
}

TEST_CASE("a sleeping device is not woken to be waited for", "[handshake]") {
  CHECK(run_alone("device 1 has no work").code == 0);
}
TEST_CASE("device 1 has no work", "[.alone]") {
  make_stream(0);
  order(legacy, legacy, 0, 1);
  check_no_order_was_made();
  const stream_state asleep = look_at(cuda_device(1), handle_of(legacy));
  CHECK(asleep.device_id == 1);
  CHECK(asleep.capture == capture_kind::none);
  wait_for(cuda_device(1), handle_of(per_thread));
  CHECK(fake_cuda_live("contexts") == 1);
  order(legacy, legacy, 1, 0);  // whoever works there next has to wait
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 1);
}

TEST_CASE("the host waits for a stream only when it is told to", "[handshake]") {
  const fake_world world;
  for (const CUstream stream : {legacy, per_thread, make_stream()}) {
    block memory;
    memory.write(stream);
    wait_for(cuda_device(0), handle_of(stream));
    fake_cuda_host_access(memory.bytes, sizeof memory.bytes, 1);
    CHECK(first_race() == "");
  }
  CHECK(fake_cuda_host_waits() == 3);
  CHECK(fake_cuda_calls("cuStreamSynchronize") == 0);
  CHECK(fake_cuda_calls("cuCtxSynchronize") == 0);
}

TEST_CASE("the context that was current is so afterwards", "[handshake]") {
  const fake_world world;
  const CUstream producer = make_stream(0), consumer = make_stream(1);
  const current_device current(1);
  order(consumer, producer, 1, 0);
  look_at(cuda_device(0), handle_of(legacy));
  wait_for(cuda_device(0), handle_of(producer));
  CHECK(current_context() == context_of(1));
}

TEST_CASE("a failure at any call leaves the context stack and nothing else", "[handshake]") {
  const fake_world world;
  const CUstream producer = make_stream(0), consumer = make_stream(1);
  order(consumer, producer, 1, 0);  // fills the pool
  const long events = fake_cuda_live("events");
  int failures = 0;
  with_each_call_failing(
      CUDA_ERROR_UNKNOWN,
      [&] {
        try {
          order(consumer, producer, 1, 0);
          wait_for(cuda_device(0), handle_of(producer));
        } catch (const cuda_error& e) {
          CHECK(e.status() == CUDA_ERROR_UNKNOWN);
          ++failures;
        }
      },
      [&](const std::string& failed) {
        INFO(failed);
        // What was not popped cannot be popped: the driver said no.
        if (failed.starts_with("cuCtxPopCurrent")) cuCtxPopCurrent(nullptr);
        CHECK(current_context() == nullptr);
        CHECK(fake_cuda_live("events") == events);
      });
  CHECK(failures >= 8);
  block memory(0);
  memory.write(producer);
  order(consumer, producer, 1, 0);
  memory.write(1, consumer);
  CHECK(first_race() == "");
}

TEST_CASE("per-thread streams are those of the calling thread", "[handshake]") {
  const fake_world world;
  block memory;
  const CUstream meeting = make_stream();
  std::jthread([&] {
    memory.write(per_thread);
    order(meeting, per_thread);
  }).join();
  order(per_thread, meeting);
  memory.write(per_thread);
  CHECK(first_race() == "");
}

TEST_CASE("the per-thread stream of another thread is refused", "[handshake]") {
  const fake_world world;
  const stream_ref here(cuda_device(0), per_thread), made(cuda_device(0), make_stream());
  std::optional<reason_code> as_producer, as_consumer, other;
  fake_cuda_reset_calls();
  std::jthread([&] {
    as_producer = refusal([&] { order_after(made, here); });
    as_consumer = refusal([&] { order_after(here, made); });
    other = refusal([&] { order_after(here, stream_ref(cuda_device(0), per_thread)); });
  }).join();
  CHECK(as_producer == reason_code::stream);
  CHECK(as_consumer == reason_code::stream);
  CHECK(other == reason_code::stream);
  check_no_order_was_made();
}

TEST_CASE("a reference to a destroyed stream is refused when its handle is used again",
          "[handshake]") {
  const fake_world world;
  const CUstream first = make_stream();
  const stream_ref before(cuda_device(0), first);
  destroy_stream(0, first);
  const CUstream second = make_stream();
  REQUIRE(second == first);
  const stream_ref after(cuda_device(0), second);
  fake_cuda_reset_calls();
  CHECK(refusal([&] { order_after(after, before); }) == reason_code::stream);
  CHECK(refusal([&] { order_after(before, after); }) == reason_code::stream);
  check_no_order_was_made();
}

TEST_CASE("threads may order at the same time", "[handshake]") {
  const fake_world world;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        const CUstream producer = make_stream(), consumer = make_stream();
        for (int turn = 0; turn < 50; ++turn) {
          block memory;
          memory.write(producer);
          order(consumer, producer);
          memory.write(consumer);
          order(producer, consumer);
        }
      });
    }
  }
  CHECK(first_race() == "");
  CHECK(fake_cuda_calls("cuEventCreate") <= 4);
}

// ---- captures -----------------------------------------------------------------------------------

TEST_CASE("a stream that captures is seen, with its graph", "[handshake][capture]") {
  const fake_world world;
  const CUstream first = make_stream(), second = make_stream(), third = make_stream();
  capture one(0, first), other(0, second);
  join(third, first);
  const stream_state a = look_at(cuda_device(0), handle_of(first));
  const stream_state b = look_at(cuda_device(0), handle_of(second));
  CHECK(a.capture == capture_kind::active);
  CHECK(b.capture == capture_kind::active);
  CHECK(a.capture_id != b.capture_id);
  CHECK(look_at(cuda_device(0), handle_of(third)).capture_id == a.capture_id);
  CHECK(look_at(cuda_device(0), handle_of(legacy)).capture == capture_kind::none);
  join(first, third);
  CHECK(one.end() == CUDA_SUCCESS);
  CHECK(other.end() == CUDA_SUCCESS);
}

TEST_CASE("the legacy stream is barred while a blocking stream captures", "[handshake][capture]") {
  const fake_world world;
  const CUstream blocking = make_stream(0, 0), free = make_stream();
  capture running(0, blocking);
  CHECK(look_at(cuda_device(0), handle_of(legacy)).capture == capture_kind::implicit);
  fake_cuda_reset_calls();
  CHECK(refusal([&] { order(legacy, free); }) == reason_code::capture);
  CHECK(refusal([&] { order(free, legacy); }) == reason_code::capture);
  CHECK(refusal([&] { wait_for(cuda_device(0), handle_of(legacy)); }) == reason_code::capture);
  check_no_order_was_made();
  CHECK(running.end() == CUDA_SUCCESS);
  order(legacy, free);
}

TEST_CASE("an edge into, out of or between captures is refused before any call",
          "[handshake][capture]") {
  const fake_world world;
  const CUstream first = make_stream(), second = make_stream(), free = make_stream();
  capture one(0, first), other(0, second);
  fake_cuda_reset_calls();
  CHECK(refusal([&] { order(first, free); }) == reason_code::capture);
  CHECK(refusal([&] { order(free, first); }) == reason_code::capture);
  CHECK(refusal([&] { order(first, second); }) == reason_code::capture);
  CHECK(refusal([&] { order(first, legacy); }) == reason_code::capture);
  CHECK(refusal([&] { wait_for(cuda_device(0), handle_of(first)); }) == reason_code::capture);
  check_no_order_was_made();
  CHECK(one.end() == CUDA_SUCCESS);
  CHECK(other.end() == CUDA_SUCCESS);
  CHECK(fake_cuda_live("captures") == 0);
}

TEST_CASE("without the question the same edges end the capture", "[handshake][capture]") {
  const fake_world world;
  const CUstream first = make_stream(), second = make_stream(), free = make_stream();
  const auto broken = [&](auto action) {
    capture one(0, first), other(0, second);
    fake_cuda_ignore("cuStreamIsCapturing", 0);
    try {
      action();
    } catch (const cuda_error&) {
    }
    fake_cuda_heal();
    const CUresult ended = one.end();
    other.end();
    return ended != CUDA_SUCCESS;
  };
  CHECK(broken([&] { order(first, free); }));
  CHECK(broken([&] { order(first, second); }));
  CHECK(broken([&] { order(free, first); }));
  CHECK(broken([&] { wait_for(cuda_device(0), handle_of(first)); }));
}

TEST_CASE("inside one capture the order becomes an edge of the graph", "[handshake][capture]") {
  const fake_world world;
  const CUstream first = make_stream(), second = make_stream();
  {
    const quiet own;
    order(first, second);
  }  // an event in the pool that must not be taken
  const long events = fake_cuda_live("events");
  capture running(0, first);
  join(second, first);
  fake_cuda_reset_calls();
  order(first, second);
  CHECK(fake_cuda_calls("cuEventRecord") == 1);
  CHECK(fake_cuda_calls("cuStreamWaitEvent") == 1);
  CHECK(fake_cuda_calls("cuEventCreate") == 1);
  CHECK(fake_cuda_calls("cuEventDestroy") == 1);
  CHECK(fake_cuda_live("events") == events);
  CHECK(running.end() == CUDA_SUCCESS);  // 904 if the edge back to the origin were missing
}

TEST_CASE("other streams are ordered while somebody captures", "[handshake][capture]") {
  const fake_world world;
  for (const auto mode : {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
                          CU_STREAM_CAPTURE_MODE_RELAXED}) {
    block memory;
    const CUstream captured = make_stream(), producer = make_stream(), consumer = make_stream();
    capture running(0, captured, mode);
    memory.write(producer);
    order(consumer, producer);
    memory.write(consumer);
    wait_for(cuda_device(0), handle_of(consumer));
    std::jthread([&] {
      order(producer, consumer);
      wait_for(cuda_device(0), handle_of(producer));
    }).join();
    CHECK(running.end() == CUDA_SUCCESS);
    CHECK(first_race() == "");
  }
}

TEST_CASE("a capture that is broken already is still a capture", "[handshake][capture]") {
  const fake_world world;
  const CUstream captured = make_stream(), free = make_stream();
  capture running(0, captured);
  {
    const current_device current(0);
    const quiet own;
    CHECK(cuStreamSynchronize(captured) != CUDA_SUCCESS);
  }
  CHECK(refusal([&] { order(captured, free); }) == reason_code::capture);
  CHECK(running.end() != CUDA_SUCCESS);
}
