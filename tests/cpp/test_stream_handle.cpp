#include <cstdint>
#include <type_traits>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/stream_handle.hpp>

using namespace dlpack_bridge;

namespace {

bool allowed(DLDeviceType type, std::int64_t number) {
  return stream_handle::from_protocol(type, number).has_value();
}

}  // namespace

// Never from a bare number or a null pointer.
static_assert(!std::is_constructible_v<stream_handle, int>);
static_assert(!std::is_constructible_v<stream_handle, std::nullptr_t>);
static_assert(!std::is_constructible_v<stream_handle, std::int64_t>);
static_assert(!std::is_constructible_v<stream_handle, void*>);
static_assert(!std::is_convertible_v<bool, stream_handle>);
static_assert(std::is_trivially_copyable_v<stream_handle>);

TEST_CASE("a new stream handle is no stream", "[stream_handle]") {
  constexpr stream_handle none;
  CHECK_FALSE(none.known());
  CHECK_FALSE(none.no_sync());
}

TEST_CASE("CUDA knows -1, 1, 2 and handles, and 0 is ambiguous", "[stream_handle]") {
  for (const DLDeviceType type : {kDLCUDA, kDLCUDAManaged}) {
    for (const std::int64_t number :
         {std::int64_t{-1}, std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, INT64_MAX}) {
      const auto stream = stream_handle::from_protocol(type, number);
      REQUIRE(stream);
      CHECK(stream->known());
      CHECK(stream->protocol() == number);
      CHECK(stream->no_sync() == (number == -1));
    }
    for (const std::int64_t number : {std::int64_t{0}, std::int64_t{-2}, INT64_MIN}) {
      CHECK_FALSE(allowed(type, number));
    }
  }
}

TEST_CASE("ROCm knows -1, 0 and handles, and neither 1 nor 2", "[stream_handle]") {
  for (const std::int64_t number :
       {std::int64_t{-1}, std::int64_t{0}, std::int64_t{3}, INT64_MAX}) {
    const auto stream = stream_handle::from_protocol(kDLROCM, number);
    REQUIRE(stream);
    CHECK(stream->protocol() == number);
  }
  for (const std::int64_t number :
       {std::int64_t{1}, std::int64_t{2}, std::int64_t{-2}, INT64_MIN}) {
    CHECK_FALSE(allowed(kDLROCM, number));
  }
}

TEST_CASE("devices without streams allow no number", "[stream_handle]") {
  for (const DLDeviceType type : {kDLCPU, kDLCUDAHost, kDLROCMHost, kDLMetal, kDLVulkan}) {
    for (const std::int64_t number : {-1, 0, 1, 2, 3}) CHECK_FALSE(allowed(type, number));
  }
}

TEST_CASE("NULL is the legacy default stream when a driver says it", "[stream_handle]") {
  const stream_handle legacy = stream_handle::from_native(nullptr);
  CHECK(legacy.known());
  CHECK(legacy.protocol() == 1);
  CHECK_FALSE(legacy.no_sync());
}

TEST_CASE("the streams that have a number have a name", "[stream_handle]") {
  constexpr stream_handle legacy = stream_handle::legacy();
  CHECK(legacy == stream_handle::from_protocol(kDLCUDA, 1));
  CHECK(legacy.is_legacy());
  CHECK(legacy.name() == "the legacy default stream");
  constexpr stream_handle unordered = stream_handle::caller_orders();
  CHECK(unordered == stream_handle::from_protocol(kDLCUDA, -1));
  CHECK(unordered.no_sync());
  CHECK_FALSE(unordered.is_legacy());
  CHECK(unordered.name() == "no stream");
  CHECK_FALSE(stream_handle().is_legacy());
  CHECK(stream_handle().name() == "an unknown stream");
  CHECK(stream_handle::from_protocol(kDLCUDA, 2)->name() == "the per-thread default stream");
  CHECK(stream_handle::from_protocol(kDLCUDA, 0xb000)->name() == "stream 0xb000");
  CHECK(stream_handle::from_protocol(kDLROCM, 0)->name() == "stream 0x0");
}

TEST_CASE("a driver's handle is its own number", "[stream_handle]") {
  const int place = 0;
  const stream_handle stream = stream_handle::from_native(&place);
  CHECK(stream.known());
  CHECK(stream.protocol() == reinterpret_cast<std::intptr_t>(&place));
  CHECK(stream == stream_handle::from_protocol(kDLCUDA, stream.protocol()));
}

TEST_CASE("handles compare by their stream, and no stream differs from all", "[stream_handle]") {
  const stream_handle one = *stream_handle::from_protocol(kDLCUDA, 1);
  CHECK(one == stream_handle::from_native(nullptr));
  CHECK(one != *stream_handle::from_protocol(kDLCUDA, 2));
  CHECK(stream_handle() != *stream_handle::from_protocol(kDLROCM, 0));
  CHECK(stream_handle() == stream_handle());
}

TEST_CASE("the per-thread default stream is number 2 and no other", "[stream_handle]") {
  CHECK(stream_handle::from_protocol(kDLCUDA, 2)->per_thread());
  CHECK_FALSE(stream_handle::from_protocol(kDLCUDA, 1)->per_thread());
  CHECK_FALSE(stream_handle().per_thread());
}
