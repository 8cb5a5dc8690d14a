#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "failing_allocations.hpp"
#include <dlpack_bridge/extent_list.hpp>

using namespace dlpack_bridge;

namespace {

std::vector<extent> read(const extent_list& list) {
  const std::span<const extent> values = list;
  return {values.begin(), values.end()};
}

}  // namespace

// A list that fails would be a throw before the function that takes it owns anything.
static_assert(std::is_nothrow_constructible_v<extent_list, std::initializer_list<checked_extent>>);
static_assert(std::is_nothrow_constructible_v<extent_list, std::vector<int>>);
// What is no number is refused where it stands, so that others can ask.
static_assert(!std::is_constructible_v<checked_extent, char>);
static_assert(!std::is_constructible_v<checked_extent, bool>);
static_assert(!std::is_constructible_v<checked_extent, double>);
static_assert(!std::is_constructible_v<extent_list, std::vector<double>>);
static_assert(!std::is_constructible_v<extent_list, const char*>);

TEST_CASE("an extent is made of any integer that fits", "[extent_list]") {
  CHECK(checked_extent(3) == 3);
  CHECK(checked_extent(std::int8_t{-5}) == -5);
  CHECK(checked_extent(std::size_t{7}) == 7);
  CHECK(checked_extent(INT64_MAX) == INT64_MAX);
  CHECK(checked_extent(INT64_MIN) == INT64_MIN);
  CHECK(checked_extent(std::uint64_t{INT64_MAX}) == INT64_MAX);
}

TEST_CASE("an extent that leaves 63 bits is out of range when it is read", "[extent_list][error]") {
  for (const std::uint64_t beyond : {std::uint64_t{1} << 63, UINT64_MAX}) {
    CHECK_THROWS_AS(extent(checked_extent(beyond)), std::out_of_range);
    const extent_list list{1, beyond}, whole = std::vector{beyond};
    CHECK_THROWS_AS(read(list), std::out_of_range);
    CHECK_THROWS_AS(read(whole), std::out_of_range);
  }
}

TEST_CASE("a list is made of numbers of any integer types", "[extent_list]") {
  CHECK(read({}).empty());
  CHECK(read(extent_list()).empty());
  CHECK(read({std::size_t{2}, 3, std::uint8_t{4}}) == std::vector<extent>{2, 3, 4});
}

TEST_CASE("a list is made of any container of integers", "[extent_list]") {
  const std::vector<extent> wanted{5, 6};
  CHECK(read(wanted) == wanted);
  CHECK(read(std::span(wanted)) == wanted);
  CHECK(read(std::span<const extent, 2>(wanted)) == wanted);
  CHECK(read(std::vector<int>{5, 6}) == wanted);
  CHECK(read(std::vector<std::size_t>{5, 6}) == wanted);
  CHECK(read(std::array<std::int64_t, 2>{5, 6}) == wanted);
  const long long plain[] = {5, 6};
  CHECK(read(plain) == wanted);
}

#ifdef DLPACK_BRIDGE_FAILING_ALLOCATIONS
TEST_CASE("a list without memory fails when it is read", "[extent_list][error]") {
  const extent_list list = [] {
    const allocations::failure no_memory(0);
    return extent_list{1, 2};
  }();
  CHECK_THROWS_AS(read(list), std::bad_alloc);
}
#endif
