#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/stream_facts.hpp>

using namespace dlpack_bridge;

TEST_CASE("a driver answers when its code is 0", "[stream_facts]") {
  CHECK(driver_status().answers());
  CHECK_FALSE(no_driver.answers());
  CHECK(no_driver.code == 100);
}

TEST_CASE("nothing is known of streams that nobody named", "[stream_facts]") {
  const stream_facts facts;
  CHECK_FALSE(facts.producer.handle.known());
  CHECK_FALSE(facts.consumer.handle.known());
  CHECK(facts.producer.capture == capture_kind::none);
  CHECK_FALSE(facts.producer_unknown);
}

TEST_CASE("a stream captures when its work goes into a graph", "[stream_facts]") {
  CHECK_FALSE(stream_state().captures());
  CHECK(stream_state{.capture = capture_kind::active}.captures());
  CHECK(stream_state{.capture = capture_kind::implicit}.captures());
}

TEST_CASE("a stream of one device belongs elsewhere for the memory of another", "[stream_facts]") {
  const stream_state one{.device_id = 1, .has_device = true};
  CHECK(one.belongs_elsewhere(device(kDLCUDA)));
  CHECK_FALSE(one.belongs_elsewhere(device(kDLCUDA, 1)));
  CHECK_FALSE(one.belongs_elsewhere(device(kDLCUDAManaged)));
  CHECK_FALSE(one.belongs_elsewhere(device()));
  CHECK_FALSE(stream_state().belongs_elsewhere(device(kDLCUDA)));  // nobody asked whose it is
}

TEST_CASE("one stream may wait for another outside captures and within one", "[stream_facts]") {
  const auto in = [](capture_kind kind, std::uint64_t id) {
    return stream_state{.capture = kind, .capture_id = id};
  };
  const stream_state free = in(capture_kind::none, 0), seven = in(capture_kind::active, 7),
                     eight = in(capture_kind::active, 8), implied = in(capture_kind::implicit, 0);
  CHECK(may_order(free, free));
  CHECK(may_order(seven, seven));
  CHECK_FALSE(may_order(seven, eight));
  CHECK_FALSE(may_order(free, seven));
  CHECK_FALSE(may_order(seven, free));
  CHECK_FALSE(may_order(implied, implied));
  CHECK_FALSE(may_order(free, implied));
}
