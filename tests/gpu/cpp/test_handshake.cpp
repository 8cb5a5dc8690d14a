// In: what a consumer does after the handshake sees what the producer had enqueued before, for every
// pair of stream kinds, while the host goes on.
#include <chrono>
#include <functional>
#include <future>
#include <thread>
#include <utility>

#include <catch2/generators/catch_generators_range.hpp>

#include "gpu.hpp"
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/exchange.hpp>

using namespace gpu;
using dlpack_bridge::exchange;
using dlpack_bridge::managed_tensor;

namespace {

constexpr std::size_t count = 1 << 16;

std::vector<std::pair<kind, kind>> all_pairs() {
  std::vector<std::pair<kind, kind>> pairs;
  for (const kind p : kinds) {
    for (const kind c : kinds) pairs.emplace_back(p, c);
  }
  return pairs;
}

/// A producer that is held up before it writes, and a consumer that copies what it finds.
struct handoff {
  handoff(kind p, kind c) : producer(p), consumer(c) {}

  void produce() {
    gate.hold(producer);
    fill(producer, data, good);
  }
  /// All work runs, and what the consumer has read is returned.
  std::vector<std::uint32_t> finish() {
    gate.open();
    producer.wait();
    return read(consumer, out);
  }

  stream producer, consumer;
  words data{count}, out{count, 0};
  latch gate;
};

/// The ways in which a consumer can be ordered; what is returned is used and must live.
struct road {
  const char* name;
  std::function<managed_tensor(const handoff&)> take;
};

const road roads[] = {
    {"order_after",
     [](const handoff& h) {
       cuda::order_after(h.consumer.ref(), h.producer.ref());
       return tensor_of(h.data, h.producer);
     }},
    {"exchange, share",
     [](const handoff& h) {
       return exchange(tensor_of(h.data, h.producer), {.stream = h.consumer.handle()});
     }},
    {"exchange, copy",
     [](const handoff& h) {
       return exchange(tensor_of(h.data, h.producer),
                       {.copy = dlpack_bridge::copy_policy::always, .stream = h.consumer.handle()});
     }},
};

}  // namespace

TEST_CASE_METHOD(gpu_case, "A consumer sees what its producer had enqueued, and the host goes on") {
  const auto [p, c] = GENERATE(from_range(all_pairs()));
  const road& way = GENERATE(from_range(std::begin(roads), std::end(roads)));
  INFO(way.name << ", from a " << to_string(p) << " to a " << to_string(c) << " stream");
  // Whatever is made lazily, and may wait for the device then, is made.
  handoff warm(p, c);
  way.take(warm);
  warm.finish();

  handoff h(p, c);
  h.produce();
  const auto before = std::chrono::steady_clock::now();
  managed_tensor taken = way.take(h);
  copy(h.consumer, h.out, taken.view().data());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  CHECK(took.count() < 1);
  if (!on_fake()) CHECK(h.consumer.is_busy());
  CHECK(all(h.finish(), good));
  CHECK(h.gate.held());
  CHECK(lab_take_races() == 0);
}

TEST_CASE_METHOD(gpu_case, "Without a handshake the consumer reads poison, or the driver orders") {
  const auto [p, c] = GENERATE(from_range(all_pairs()));
  INFO("from a " << to_string(p) << " to a " << to_string(c) << " stream");
  handoff h(p, c);
  h.produce();
  copy(h.consumer, h.out, h.data.get());
  if (h.producer.is_ordered_with(h.consumer)) {
    CHECK(all(h.finish(), good));
    CHECK(lab_take_races() == 0);
    return;
  }
  INFO("the consumer did not run beside the producer: the test cannot see a race");
  h.consumer.wait();
  CHECK(h.gate.held());
  CHECK(saw_a_race(read(h.consumer, h.out)));
  h.finish();
}

TEST_CASE_METHOD(gpu_case, "stream=-1 orders nothing") {
  handoff h(kind::non_blocking, kind::non_blocking);
  h.produce();
  const auto no_sync = *stream_handle::from_protocol(kDLCUDA, -1);
  const managed_tensor taken = exchange(tensor_of(h.data, h.producer), {.stream = no_sync});
  copy(h.consumer, h.out, taken.view().data());
  h.consumer.wait();
  CHECK(saw_a_race(read(h.consumer, h.out)));
  h.finish();
}

TEST_CASE_METHOD(gpu_case, "A result that must be complete makes the host wait for the producer") {
  if (on_fake()) SKIP("needs a GPU: nothing takes time here");
  handoff h(kind::non_blocking, kind::non_blocking);
  h.produce();
  managed_tensor taken;
  const auto opener = std::async(std::launch::async, [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    h.gate.open();
  });
  const auto before = std::chrono::steady_clock::now();
  taken = exchange(tensor_of(h.data, h.producer), {.device = dlpack_bridge::device(kDLCPU, 0)});
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  CHECK(took.count() > 0.1);
  CHECK(static_cast<const std::uint32_t*>(taken.view().data())[count - 1] == good);
  CHECK(h.gate.held());
}

TEST_CASE_METHOD(gpu_case, "A copy is read before the producer's later writes") {
  stream p(kind::non_blocking), c(kind::non_blocking);
  words data(count, good), out(count, 0);
  latch gate;
  gate.hold(c);
  managed_tensor copied = exchange(
      tensor_of(data, p), {.copy = dlpack_bridge::copy_policy::always, .stream = c.handle()});
  fill(p, data, poison);  // waits for the copy, which the latch holds up
  copy(c, out, copied.view().data());
  if (!on_fake()) CHECK(p.is_busy());
  gate.open();
  CHECK(all(read(c, out), good));
  p.wait();
  CHECK(gate.held());
}
