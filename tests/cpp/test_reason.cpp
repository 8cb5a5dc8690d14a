#include <string>
#include <type_traits>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "printing.hpp"
#include <dlpack_bridge/reason.hpp>

using namespace dlpack_bridge;
using why = reason_code;

namespace {

std::vector<why> codes_of(reason_set set) {
  std::vector<why> codes;
  set.for_each([&](why code) { codes.push_back(code); });
  return codes;
}

}  // namespace

static_assert(std::is_trivially_copyable_v<reason_set>);
static_assert(std::is_trivially_destructible_v<reason_set>);

TEST_CASE("reason codes have the names of the contract, in its order", "[reason]") {
  const std::vector<std::string> names = {
      "device",    "dtype",    "byte_order",     "negative_stride", "layout",     "order",
      "alignment", "readonly", "copy_requested", "requires_grad",   "conj",       "neg",
      "sparse",    "meta",     "fake",           "quantized",       "subclass",   "lanes",
      "version",   "capsule",  "malformed",      "nested",          "functional", "framework",
      "stream",    "capture",  "driver",         "producer",
  };
  REQUIRE(names.size() == static_cast<std::size_t>(reason_codes));
  for (int i = 0; i < reason_codes; ++i) {
    CHECK(to_string(static_cast<why>(i)) == names[static_cast<std::size_t>(i)]);
  }
}

TEST_CASE("a new set of reasons is empty", "[reason]") {
  constexpr reason_set none;
  CHECK(none.empty());
  CHECK(none.size() == 0);
  CHECK(codes_of(none).empty());
}

TEST_CASE("a set holds what was put in and nothing else", "[reason]") {
  for (int i = 0; i < reason_codes; ++i) {
    const reason_set one(static_cast<why>(i));
    CHECK(one.size() == 1);
    for (int j = 0; j < reason_codes; ++j) CHECK(one.contains(static_cast<why>(j)) == (i == j));
  }
}

TEST_CASE("adding twice is adding once, removing what is absent does nothing", "[reason]") {
  reason_set set;
  set.add(why::conj);
  set.add(why::conj);
  CHECK(set.size() == 1);
  set.remove(why::neg);
  CHECK(set == reason_set(why::conj));
  set.remove(why::conj);
  CHECK(set.empty());
}

TEST_CASE("sets are joined and intersected", "[reason]") {
  constexpr reason_set a(why::device, why::conj), b(why::conj, why::producer);
  CHECK((a | b) == reason_set(why::device, why::conj, why::producer));
  CHECK((a & b) == reason_set(why::conj));
  CHECK((a & reason_set()).empty());
}

TEST_CASE("reasons are listed with their codes, a line for each", "[reason]") {
  CHECK(list_text({}).empty());
  const std::vector<reason> all{{why::dtype, "one"}, {why::negative_stride, "two"}};
  CHECK(list_text(all) == "\n  - dtype: one\n  - negative_stride: two");
}

TEST_CASE("a set is visited in the order of the codes", "[reason]") {
  const reason_set set(why::producer, why::device, why::lanes);
  CHECK(codes_of(set) == std::vector{why::device, why::lanes, why::producer});
  reason_set every;
  for (int i = 0; i < reason_codes; ++i) every.add(static_cast<why>(i));
  CHECK(every.size() == reason_codes);
  CHECK(codes_of(every).front() == why::device);
  CHECK(codes_of(every).back() == why::producer);
}
