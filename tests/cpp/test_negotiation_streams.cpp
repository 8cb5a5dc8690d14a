#include <functional>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "printing.hpp"
#include <dlpack_bridge/exchange.hpp>
#include <dlpack_bridge/negotiation_streams.hpp>

using namespace dlpack_bridge;
using why = reason_code;

namespace {

alignas(64) std::byte memory[64];
const extent shape[] = {4};

stream_handle number(std::int64_t protocol) {
  return *stream_handle::from_protocol(kDLCUDA, protocol);
}
const stream_handle nobody, legacy = number(1), per_thread = number(2), a = number(0xa000),
                            b = number(0xb000), caller_orders = number(-1);

/// A CUDA array of a known stream that goes to somebody on another stream.
struct setup {
  device from{kDLCUDA};
  framework target = framework::cupy;
  requirements wanted;
  stream_facts streams;
  driver_status driver;

  setup() { streams.producer.handle = a, streams.consumer.handle = b; }

  description described() const {
    description d = describe(tensor_view(memory, shape, nullptr, 1, float32, from));
    d.driver = driver;
    d.streams = streams;
    return d;
  }
  decision decided() const { return negotiate(described(), wanted, capabilities_of(target)); }
};

using change = std::function<void(setup&)>;
using pairs = std::vector<stream_wait>;

bool same(const pairs& x, const pairs& y) {
  if (x.size() != y.size()) return false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i].consumer != y[i].consumer || x[i].producer != y[i].producer) return false;
  }
  return true;
}

struct row {
  const char* name;
  change apply;
  pairs waits;
  stream_handle result;
  bool host_waits;
};

void capture(stream_state& s, std::uint64_t id) {
  s.capture = capture_kind::active;
  s.capture_id = id;
}

void copied_to(setup& s, device where) {
  s.wanted.device = where;
  s.wanted.copy = copy_policy::always;
  s.target = framework::cpp;
}

// clang-format off
const row rows[] = {
    {"another stream waits once", [](setup&) {}, {{b, a}}, b, false},
    {"the same stream waits for nothing", [](setup& s) { s.streams.consumer.handle = a; }, {}, a, false},
    {"the caller orders", [](setup& s) { s.streams.consumer.handle = caller_orders; }, {}, caller_orders, false},
    {"nothing is left to wait for", [](setup& s) { s.streams.producer.handle = caller_orders; }, {}, b, false},
    {"an array carries the order of its producer",
     [](setup& s) { s.target = framework::array, s.streams.consumer.handle = nobody; }, {}, a, false},
    {"default streams are streams like others",
     [](setup& s) { s.streams = {{legacy}, {per_thread}}; }, {{per_thread, legacy}}, per_thread, false},
    {"a producer that alone knows its stream orders itself",
     [](setup& s) { s.streams.producer.handle = nobody, s.streams.producer_unknown = true; }, {{b, nobody}}, b, false},
    {"a bridge is listed as what it bridges",
     [](setup& s) { s.streams.producer_unknown = true; }, {{b, nobody}}, b, false},
    {"managed memory for the host is complete on return",
     [](setup& s) { s.from = device(kDLCUDAManaged), s.target = framework::numpy, s.streams.consumer.handle = nobody; },
     {}, nobody, true},
    {"managed memory for whoever names no stream is complete on return",
     [](setup& s) { s.from = device(kDLCUDAManaged), s.wanted.complete = true; s.streams.consumer.handle = nobody; },
     {}, a, true},
    {"memory for who cannot be told a stream is complete on return",
     [](setup& s) { s.target = framework::tvm_ffi, s.streams.consumer.handle = nobody; }, {}, a, true},
    {"memory for who cannot be told a stream is complete on the stream that was given",
     [](setup& s) { s.target = framework::tensorflow; }, {}, b, true},
    {"who cannot be told a stream may have a caller who orders",
     [](setup& s) { s.target = framework::tensorflow, s.streams.consumer.handle = caller_orders; }, {}, caller_orders, false},
    {"a copy for who cannot be told a stream is complete on return",
     [](setup& s) { s.target = framework::tvm_ffi, s.wanted.copy = copy_policy::always, s.streams.consumer.handle = nobody; },
     {}, a, true},
    {"a copy to the host runs where the producer works, and is waited for",
     [](setup& s) { s.target = framework::numpy, s.streams.consumer.handle = nobody; }, {}, nobody, true},
    {"a copy to the host runs on the stream that was given",
     [](setup& s) { s.target = framework::numpy; }, {{b, a}}, nobody, true},
    {"a copy runs where it is used, and the producer waits for it",
     [](setup& s) { copied_to(s, device(kDLCUDA)); }, {{b, a}, {a, b}}, b, false},
    {"a copy on the producer's stream needs no wait",
     [](setup& s) { copied_to(s, device(kDLCUDA)), s.streams.consumer.handle = nobody; }, {}, a, false},
    {"a copy for a caller who orders is complete on return",
     [](setup& s) { copied_to(s, device(kDLCUDA)), s.streams.consumer.handle = caller_orders; }, {}, a, true},
    {"default streams of two devices are two streams",
     [](setup& s) { copied_to(s, device(kDLCUDA, 1)), s.streams = {{legacy}, {legacy}}; },
     {{legacy, legacy}, {legacy, legacy}}, legacy, false},
    {"a copy to another device runs on the hub's own stream when nobody names one",
     [](setup& s) { copied_to(s, device(kDLCUDA, 1)), s.streams.consumer.handle = nobody; },
     {{nobody, a}, {a, nobody}}, nobody, false},
    {"a copy from the host waits for nobody",
     [](setup& s) { copied_to(s, device(kDLCUDA)), s.from = device(), s.streams.producer.handle = nobody; }, {}, b, false},
    {"within one capture a wait is an edge of the graph",
     [](setup& s) { capture(s.streams.producer, 7), capture(s.streams.consumer, 7); }, {{b, a}}, b, false},
    {"the same stream may capture",
     [](setup& s) { s.streams.consumer.handle = a, capture(s.streams.producer, 7), capture(s.streams.consumer, 7); }, {}, a, false},
    {"a capture of the producer means nothing to an array that carries its order",
     [](setup& s) { s.target = framework::array, s.streams.consumer.handle = nobody, capture(s.streams.producer, 7); }, {}, a, false},
    {"a caller who orders may be in a capture",
     [](setup& s) { s.streams.consumer.handle = caller_orders, capture(s.streams.producer, 7); }, {}, caller_orders, false},
    {"without a driver nothing is ordered",
     [](setup& s) { s.target = framework::array, s.driver = no_driver; }, {}, nobody, false},
};

const row refused_captures[] = {
    {"the consumer captures", [](setup& s) { capture(s.streams.consumer, 7); }, {}, {}, false},
    {"the producer captures", [](setup& s) { capture(s.streams.producer, 7); }, {}, {}, false},
    {"two captures", [](setup& s) { capture(s.streams.producer, 7), capture(s.streams.consumer, 8); }, {}, {}, false},
    {"a blocking stream captures beside the legacy stream",
     [](setup& s) { s.streams.consumer = {.handle = legacy, .capture = capture_kind::implicit}; }, {}, {}, false},
    {"the producer would wait by itself",
     [](setup& s) { s.streams.producer.handle = nobody, s.streams.producer_unknown = true, capture(s.streams.consumer, 7); },
     {}, {}, false},
    {"a copy inside one capture",
     [](setup& s) { copied_to(s, device(kDLCUDA)), capture(s.streams.producer, 7), capture(s.streams.consumer, 7); }, {}, {}, false},
    {"a copy from the host", [](setup& s) { copied_to(s, device(kDLCUDA)), s.from = device(), capture(s.streams.consumer, 7); }, {}, {}, false},
    {"a copy to the host", [](setup& s) { s.target = framework::numpy, s.streams.consumer = {}, capture(s.streams.producer, 7); }, {}, {}, false},
    {"a copy that is waited for", [](setup& s) { copied_to(s, device(kDLCUDA)), s.streams.consumer.handle = caller_orders, capture(s.streams.producer, 7); }, {}, {}, false},
    {"memory for who cannot be told a stream",
     [](setup& s) { s.target = framework::tvm_ffi, s.streams.consumer = {}, capture(s.streams.producer, 7); }, {}, {}, false},
    {"managed memory for the host",
     [](setup& s) { s.from = device(kDLCUDAManaged), s.target = framework::numpy, s.streams.consumer = {}, capture(s.streams.producer, 7); },
     {}, {}, false},
};
// clang-format on

}  // namespace

TEST_CASE("each exchange of device memory has its waits", "[negotiation_streams]") {
  for (const row& r : rows) {
    INFO(r.name);
    setup s;
    r.apply(s);
    const decision d = s.decided();
    CHECK(d.blockers == reason_set());
    CHECK(same(waits_of(d, s.described()), r.waits));
    CHECK(d.stream == r.result);
    CHECK(d.host_waits == r.host_waits);
  }
}

TEST_CASE("what would break a capture is refused", "[negotiation_streams][error]") {
  for (const row& r : refused_captures) {
    INFO(r.name);
    setup s;
    r.apply(s);
    const decision d = s.decided();
    CHECK(d.action == action::refuse);
    CHECK(d.blockers == reason_set(why::capture));
    CHECK(waits_of(d, s.described()).empty());
    const std::string text =
        explain(why::capture, s.described(), s.wanted, capabilities_of(s.target));
    INFO(text);
    CHECK(text.find("stream=-1") != std::string::npos);
  }
}

TEST_CASE("a stream of another device is refused by its name", "[negotiation_streams][error]") {
  for (const bool consumer : {true, false}) {
    setup s;
    stream_state& elsewhere = consumer ? s.streams.consumer : s.streams.producer;
    elsewhere.device_id = 1, elsewhere.has_device = true;
    const decision d = s.decided();
    CHECK(d.blockers == reason_set(why::stream));
    const std::string text =
        explain(why::stream, s.described(), s.wanted, capabilities_of(s.target));
    CHECK(text == std::string(consumer ? "stream 0xb000" : "stream 0xa000") +
                      " belongs to cuda:1 and the memory to cuda:0; pass a stream of that device");
  }
  setup managed;  // is on every device
  managed.from = device(kDLCUDAManaged);
  managed.streams.consumer.device_id = 1, managed.streams.consumer.has_device = true;
  CHECK(managed.decided().blockers == reason_set());
  const auto said = [&managed](const capabilities& target) {
    return explain(why::stream, managed.described(), managed.wanted, target);
  };
  CHECK(said(capabilities_of(managed.target)) == "the stream cannot be used");
  // Under the name of one device it is memory of that device.
  capabilities tensorflow = capabilities_of(framework::tensorflow);
  const decision shown = negotiate(managed.described(), managed.wanted, tensorflow);
  CHECK(shown.device == device(kDLCUDA));
  CHECK(shown.blockers == reason_set(why::stream));
  CHECK(said(tensorflow) ==
        "stream 0xb000 belongs to cuda:1 and the memory to cuda:0; pass a stream of that device");
}

TEST_CASE("an array that is the answer itself waits for the stream that was given",
          "[negotiation_streams]") {
  setup s;
  description d = s.described();
  d.same_framework = true;
  CHECK_FALSE(negotiate(d, {}, capabilities_of(s.target)).after_producer);
  const decision asked = negotiate(d, {.stream = b}, capabilities_of(s.target));
  CHECK(asked.identity);
  CHECK(same(waits_of(asked, d), {{b, a}}));
  const decision own = negotiate(d, {.stream = caller_orders}, capabilities_of(s.target));
  CHECK(waits_of(own, d).empty());
  capture(d.streams.consumer, 7);
  const decision captured = negotiate(d, {.stream = b}, capabilities_of(s.target));
  CHECK(captured.action == action::refuse);
  CHECK(captured.blockers == reason_set(why::capture));
}

TEST_CASE("a driver that fails is named with its code", "[negotiation_streams][error]") {
  setup s;
  s.driver = {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "cuStreamGetCaptureInfo"};
  CHECK(s.decided().blockers == reason_set(why::driver));
  const std::string text = explain(why::driver, s.described(), s.wanted, capabilities_of(s.target));
  CHECK(text.find("CUDA_ERROR_ILLEGAL_ADDRESS (700)") != std::string::npos);
  CHECK(text.find("cuStreamGetCaptureInfo") != std::string::npos);
}
