#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include <dlpack_bridge/layout.hpp>

using namespace dlpack_bridge;
using extents = std::vector<extent>;

namespace {

constexpr extent lowest = INT64_MIN, highest = INT64_MAX;

layout_facts facts(const extents& shape, const extents& strides, std::int64_t step = 1) {
  return facts_of(shape.data(), strides.data(), static_cast<std::int32_t>(shape.size()), step);
}

layout_facts facts_without_strides(const extents& shape) {
  return facts_of(shape.data(), nullptr, static_cast<std::int32_t>(shape.size()));
}

extents canonical(const extents& shape, const extents& strides, std::int64_t step = 1) {
  extents out(shape.size());
  canonical_strides(shape, strides.data(), out.data(), step);
  return out;
}

extents row_major(const extents& shape, std::int64_t step = 1) {
  extents out(shape.size());
  row_major_strides(shape, out.data(), step);
  return out;
}

answer overlaps(const extents& shape, const extents& byte_strides, std::int64_t itemsize) {
  return overlaps_itself(shape, byte_strides.data(), itemsize);
}

/// Addresses of all elements relative to the first, by walking the indices.
std::vector<std::int64_t> offsets_of(const extents& shape, const extents& strides) {
  std::vector<std::int64_t> offsets{0};
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    std::vector<std::int64_t> next;
    for (const std::int64_t offset : offsets) {
      for (extent i = 0; i < shape[axis]; ++i) next.push_back(offset + i * strides[axis]);
    }
    offsets = next;
  }
  return offsets;
}

std::multiset<std::int64_t> bytes_of(const extents& shape, const extents& byte_strides,
                                     std::int64_t itemsize, std::int64_t start = 0) {
  std::multiset<std::int64_t> bytes;
  for (const std::int64_t offset : offsets_of(shape, byte_strides)) {
    for (std::int64_t i = 0; i < itemsize; ++i) bytes.insert(start + offset + i);
  }
  return bytes;
}

bool has_twins(const std::multiset<std::int64_t>& bytes) {
  return std::adjacent_find(bytes.begin(), bytes.end()) != bytes.end();
}

bool intersect(const std::multiset<std::int64_t>& a, const std::multiset<std::int64_t>& b) {
  return std::any_of(a.begin(), a.end(), [&](std::int64_t byte) { return b.contains(byte); });
}

answer as_answer(bool yes) { return yes ? answer::yes : answer::no; }

/// Layouts made at random, with every kind of stride.
class generator {
 public:
  explicit generator(unsigned seed) : engine_(seed) {}

  extent number(extent low, extent high) {
    return std::uniform_int_distribution<extent>(low, high)(engine_);
  }

  extents shape(int most_axes, extent most) {
    extents result(static_cast<std::size_t>(number(0, most_axes)));
    for (extent& n : result) n = number(0, 9) == 0 ? 0 : number(1, most);
    return result;
  }

  extents any_strides(std::size_t ndim, extent most) {
    extents result(ndim);
    for (extent& s : result) s = number(-most, most);
    return result;
  }

  /// Strides of a view reached by slicing and transposing a dense array.
  extents sliced_strides(const extents& shape, extent itemsize) {
    extents order(shape.size()), result(shape.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<extent>(i);
    std::shuffle(order.begin(), order.end(), engine_);
    extent dense = itemsize;
    for (const extent axis : order) {
      const extent step = number(1, 3);
      result[axis] = (number(0, 2) == 0 ? -step : step) * dense;
      dense *= std::max<extent>(shape[axis], 1) * step + number(0, 2);
    }
    return result;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace

// ---- facts ---------------------------------------------------------------------------------------

TEST_CASE("a dense row-major array is contiguous and nested", "[layout]") {
  const layout_facts f = facts({2, 3, 4}, {12, 4, 1});
  CHECK(f.size == 24);
  CHECK(f.c_contiguous);
  CHECK(f.nested);
  CHECK(f.negative_axis == -1);
  CHECK_FALSE(f.overflow);
}

TEST_CASE("strides of axes of extent 1 do not count", "[layout]") {
  const layout_facts f = facts({1, 3, 1}, {-77, 1, 0});
  CHECK(f.c_contiguous);
  CHECK(f.nested);
  CHECK(f.negative_axis == -1);
}

TEST_CASE("the first axis with a negative stride is named", "[layout]") {
  CHECK(facts({2, 3, 4}, {12, -4, -1}).negative_axis == 1);
  CHECK(facts({1, 3, 4}, {-12, 4, -1}).negative_axis == 2);
}

TEST_CASE("transposed and broadcast arrays are neither contiguous nor nested", "[layout]") {
  CHECK_FALSE(facts({3, 2}, {1, 3}).c_contiguous);
  CHECK_FALSE(facts({3, 2}, {1, 3}).nested);
  CHECK_FALSE(facts({3, 2}, {0, 1}).nested);
}

TEST_CASE("padded rows are nested but not contiguous", "[layout]") {
  const layout_facts f = facts({3, 4}, {5, 1});
  CHECK_FALSE(f.c_contiguous);
  CHECK(f.nested);
}

TEST_CASE("an empty array is contiguous whatever its strides are", "[layout]") {
  const layout_facts f = facts({highest, 0, highest}, {-1, 7, lowest});
  CHECK(f.empty);
  CHECK(f.size == 0);
  CHECK(f.c_contiguous);
  CHECK(f.nested);
  CHECK(f.negative_axis == -1);
  CHECK_FALSE(f.overflow);
}

TEST_CASE("negative extents and sizes beyond 63 bits are an overflow", "[layout]") {
  CHECK(facts({-1}, {1}).overflow);
  CHECK(facts({0, -1}, {1, 1}).overflow);
  CHECK(facts({1LL << 32, 1LL << 31}, {0, 0}).overflow);
  CHECK(facts_without_strides({highest, 2}).overflow);
  CHECK_FALSE(facts_without_strides({highest}).overflow);
}

TEST_CASE("the most extreme strides are judged without undefined arithmetic", "[layout]") {
  for (const extent s : {lowest, lowest + 1, highest}) {
    const layout_facts f = facts({2, 2}, {s, 1});
    CHECK_FALSE(f.c_contiguous);
    CHECK((f.negative_axis == 0) == (s < 0));
  }
  CHECK_FALSE(facts({3}, {lowest}).nested);
}

TEST_CASE("absent strides are row-major", "[layout]") {
  CHECK(facts_without_strides({2, 3}).c_contiguous);
  CHECK(facts_without_strides({2, 3}).nested);
  CHECK(facts_without_strides({2, 3}).size == 6);
}

TEST_CASE("facts agree with the elements an array reaches", "[layout]") {
  generator random(1);
  for (int i = 0; i < 20000; ++i) {
    const extents shape = random.shape(4, 4);
    const extents strides = random.any_strides(shape.size(), 12);
    const std::int64_t step = random.number(1, 4);
    const layout_facts f = facts(shape, strides, step);
    const auto offsets = offsets_of(shape, strides);
    REQUIRE(f.size == static_cast<std::int64_t>(offsets.size()));
    if (f.nested) REQUIRE_FALSE(has_twins(bytes_of(shape, strides, step)));
    bool dense = true;
    for (std::size_t k = 0; k < offsets.size(); ++k) {
      dense &= offsets[k] == static_cast<std::int64_t>(k) * step;
    }
    REQUIRE(f.c_contiguous == dense);
    REQUIRE(is_c_contiguous(shape, strides.data(), step) == dense);
  }
}

// ---- counting and strides ------------------------------------------------------------------------

TEST_CASE("elements are counted and overflow is noticed", "[layout]") {
  CHECK(element_count(extents{}) == 1);
  CHECK(element_count(extents{2, 3}) == 6);
  CHECK(element_count(extents{0, 5}) == 0);
  CHECK(element_count(extents{-2, 0}) == std::nullopt);
  CHECK(element_count(extents{1LL << 40, 1LL << 40}) == std::nullopt);
}

TEST_CASE("column-major arrays are recognised", "[layout]") {
  const auto is_f = [](const extents& shape, const extents& strides, std::int64_t step = 1) {
    return is_f_contiguous(shape, strides.data(), step);
  };
  CHECK(is_f({3, 2}, {1, 3}));
  CHECK(is_f({3, 2}, {8, 24}, 8));
  CHECK(is_f({5}, {1}));
  CHECK(is_f({}, {}));
  CHECK(is_f({3, 1, 2}, {1, 99, 3}));
  CHECK(is_f({3, 0}, {7, 7}));
  CHECK_FALSE(is_f({3, 2}, {2, 1}));
  CHECK_FALSE(is_f({3, 2}, {-1, 3}));
  CHECK(is_f_contiguous(extents{1, 7, 1}, nullptr));
  CHECK_FALSE(is_f_contiguous(extents{2, 7}, nullptr));
}

TEST_CASE("row-major strides are written", "[layout]") {
  CHECK(row_major({2, 3, 4}) == extents{12, 4, 1});
  CHECK(row_major({2, 3, 4}, 8) == extents{96, 32, 8});
  CHECK(row_major({2, 0, 4}) == extents{4, 4, 1});
  CHECK(row_major({}) == extents{});
}

TEST_CASE("row-major strides of an empty array do not overflow", "[layout]") {
  for (const extent s : row_major({1LL << 40, 1LL << 40, 0})) CHECK(s > 0);
}

TEST_CASE("canonical strides make axes of extent 1 look contiguous", "[layout]") {
  CHECK(canonical({1, 3}, {-3, 1}) == extents{3, 1});
  CHECK(canonical({3, 1}, {1, 7}) == extents{1, 1});
  CHECK(canonical({1}, {99}) == extents{1});
  CHECK(canonical({1, 1}, {0, 0}, 8) == extents{8, 8});
}

TEST_CASE("canonical strides keep a column-major array column-major", "[layout]") {
  const extents strides = canonical({3, 1, 2}, {1, 50, 3});
  CHECK(strides == extents{1, 3, 3});
  CHECK(is_f_contiguous(extents{3, 1, 2}, strides.data()));
}

TEST_CASE("canonical strides keep a single channels-last image recognisable", "[layout]") {
  CHECK(canonical({1, 3, 4, 5}, {0, 1, 15, 3}) == extents{60, 1, 15, 3});
}

TEST_CASE("canonical strides of empty arrays are row-major", "[layout]") {
  CHECK(canonical({2, 0, 4}, {-9, 0, 5}) == extents{4, 4, 1});
}

TEST_CASE("canonical strides may be written over the old ones", "[layout]") {
  const extents shape{1, 3};
  extents strides{-3, 1};
  canonical_strides(shape, strides.data(), strides.data());
  CHECK(strides == extents{3, 1});
  canonical_strides(shape, nullptr, strides.data());
  CHECK(strides == extents{3, 1});
}

TEST_CASE("canonical strides survive the most extreme neighbours", "[layout]") {
  for (const extent s : {lowest, highest}) {
    const extents strides = canonical({1, 2}, {5, s});
    CHECK(strides[0] > 0);
    CHECK(strides[1] == s);
  }
}

TEST_CASE("canonical strides address the same elements", "[layout]") {
  generator random(2);
  for (int i = 0; i < 20000; ++i) {
    const extents shape = random.shape(4, 3);
    const extents strides = random.any_strides(shape.size(), 9);
    const extents result = canonical(shape, strides);
    REQUIRE(offsets_of(shape, result) == offsets_of(shape, strides));
    REQUIRE(is_c_contiguous(shape, result.data()) == is_c_contiguous(shape, strides.data()));
    REQUIRE(is_f_contiguous(shape, result.data()) == is_f_contiguous(shape, strides.data()));
    if (is_c_contiguous(shape, strides.data())) REQUIRE(result == row_major(shape));
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] == 1) REQUIRE(result[axis] > 0);
    }
  }
}

// ---- spans ---------------------------------------------------------------------------------------

TEST_CASE("a span reaches from the lowest to behind the highest byte", "[layout]") {
  generator random(3);
  for (int i = 0; i < 20000; ++i) {
    const extents shape = random.shape(4, 4);
    const extents strides = random.any_strides(shape.size(), 30);
    const std::int64_t itemsize = random.number(1, 9);
    const auto span = span_of(shape, strides.data(), itemsize);
    const auto bytes = bytes_of(shape, strides, itemsize);
    REQUIRE(span.has_value());
    REQUIRE(span->low == (bytes.empty() ? 0 : *bytes.begin()));
    REQUIRE(span->high == (bytes.empty() ? 0 : *bytes.rbegin() + 1));
  }
}

TEST_CASE("a span that leaves 63 bits is none", "[layout]") {
  const auto span = [](const extents& shape, const extents& strides) {
    return span_of(shape, strides.data(), 8);
  };
  CHECK_FALSE(span({2}, {highest}));
  CHECK_FALSE(span({3}, {lowest}));
  CHECK_FALSE(span({2, 2}, {lowest + 1, highest - 8}));
  CHECK(span({1}, {lowest}));
  CHECK(span({0, 2}, {lowest, lowest}));
  CHECK_FALSE(span_of(extents{1LL << 62}, nullptr, 8));
  CHECK(span_of(extents{4, 2}, nullptr, 8)->high == 64);
}

// ---- self-overlap --------------------------------------------------------------------------------

TEST_CASE("dense, transposed, sliced and reversed arrays do not overlap themselves", "[layout]") {
  CHECK(overlaps({2, 3, 4}, {48, 16, 4}, 4) == answer::no);
  CHECK(overlaps({4, 3, 2}, {4, 16, 48}, 4) == answer::no);
  CHECK(overlaps({1000, 1000}, {-16000, 16}, 8) == answer::no);
  CHECK(overlaps_itself(extents{3, 3}, nullptr, 4) == answer::no);
  CHECK(overlaps({}, {}, 8) == answer::no);
  CHECK(overlaps({0, 5}, {0, 0}, 8) == answer::no);
}

TEST_CASE("broadcast arrays and sliding windows overlap themselves", "[layout]") {
  CHECK(overlaps({3, 4}, {0, 8}, 8) == answer::yes);
  CHECK(overlaps({1, 4}, {0, 8}, 8) == answer::no);
  CHECK(overlaps({1'000'000, 16}, {4, 4}, 4) == answer::yes);
  CHECK(overlaps({1000, 16}, {60, 4}, 4) == answer::yes);
  CHECK(overlaps({1000, 16}, {64, 4}, 4) == answer::no);
}

TEST_CASE("elements that overlap in a part of their bytes are found", "[layout]") {
  CHECK(overlaps({4}, {3}, 4) == answer::yes);
  CHECK(overlaps({4}, {-3}, 4) == answer::yes);
  CHECK(overlaps({2, 2}, {5, 4}, 2) == answer::yes);
}

TEST_CASE("interleaved strides that never meet are told from those that do", "[layout]") {
  CHECK(overlaps({3, 4}, {4, 3}, 1) == answer::no);
  CHECK(overlaps({4, 5}, {4, 3}, 1) == answer::yes);
}

TEST_CASE("strides beyond the address space are unknown, never wrong", "[layout]") {
  CHECK(overlaps({2}, {lowest}, 8) == answer::unknown);
  CHECK(overlaps({3, 3}, {highest, highest - 1}, 8) == answer::unknown);
  CHECK(overlaps({2, 2}, {0, highest}, 8) == answer::yes);
}

TEST_CASE("overlap is exact for any small layout", "[layout]") {
  generator random(4);
  for (int i = 0; i < 30000; ++i) {
    const extents shape = random.shape(4, 5);
    const extents strides = random.any_strides(shape.size(), 40);
    const std::int64_t itemsize = random.number(1, 5);
    const answer expected = as_answer(has_twins(bytes_of(shape, strides, itemsize)));
    REQUIRE(overlaps(shape, strides, itemsize) == expected);
  }
}

TEST_CASE("a search that cannot be finished is unknown", "[layout]") {
  // Six axes with large coprime strides: the sums are too many to try and too few to be everywhere.
  const extents shape(8, 40);
  const extents strides{1'000'003'000'007, 998'244'353'111, 987'654'321'013, 976'543'210'987,
                        965'432'109'877,   954'321'098'761, 943'210'987'651, 932'109'876'541};
  CHECK(overlaps(shape, strides, 1) != answer::no);
}

// ---- shared memory -------------------------------------------------------------------------------

TEST_CASE("arrays in different places share nothing", "[layout]") {
  const extents shape{4}, strides{8};
  const address_layout a{1000, shape, strides.data(), 8}, b{1032, shape, strides.data(), 8};
  CHECK(share_memory(a, b) == answer::no);
  CHECK(share_memory(b, a) == answer::no);
  const address_layout c{1031, shape, strides.data(), 8};
  CHECK(share_memory(a, c) == answer::yes);
}

TEST_CASE("even and odd elements of one array share nothing", "[layout]") {
  const extents shape{1'000'000}, strides{16};
  const address_layout even{4096, shape, strides.data(), 8}, odd{4104, shape, strides.data(), 8};
  CHECK(share_memory(even, odd) == answer::no);
  const address_layout late{4096 + 160, shape, strides.data(), 8};
  CHECK(share_memory(even, late) == answer::yes);
}

TEST_CASE("neighbouring columns of a matrix share nothing", "[layout]") {
  const extents shape{10'000, 3}, strides{800, 8};
  const address_layout left{1 << 20, shape, strides.data(), 8};
  const address_layout right{(1 << 20) + 24, shape, strides.data(), 8};
  CHECK(share_memory(left, right) == answer::no);
}

TEST_CASE("an empty array shares nothing, not even with itself", "[layout]") {
  const extents shape{0}, strides{8};
  const address_layout a{4096, shape, strides.data(), 8};
  CHECK(share_memory(a, a) == answer::no);
}

TEST_CASE("arrays at both ends of the address space are compared without overflow", "[layout]") {
  const extents shape{2}, strides{8};
  const address_layout low{8, shape, strides.data(), 8};
  const address_layout high{UINTPTR_MAX - 64, shape, strides.data(), 8};
  CHECK(share_memory(low, high) == answer::no);
  CHECK(share_memory(high, low) == answer::no);
}

TEST_CASE("absent strides mean a dense array", "[layout]") {
  const extents shape{2, 2};
  CHECK(share_memory({4096, shape, nullptr, 8}, {4096 + 24, shape, nullptr, 8}) == answer::yes);
  CHECK(share_memory({4096, shape, nullptr, 8}, {4096 + 32, shape, nullptr, 8}) == answer::no);
}

TEST_CASE("sharing is exact for any small layouts", "[layout]") {
  generator random(5);
  for (int i = 0; i < 30000; ++i) {
    const extents a_shape = random.shape(3, 4), b_shape = random.shape(3, 4);
    const extents a_strides = random.any_strides(a_shape.size(), 40);
    const extents b_strides = random.any_strides(b_shape.size(), 40);
    const std::int64_t a_size = random.number(1, 5), b_size = random.number(1, 5);
    const std::int64_t distance = random.number(-60, 60);
    const address_layout a{10'000, a_shape, a_strides.data(), a_size};
    const address_layout b{static_cast<std::uintptr_t>(10'000 + distance), b_shape,
                           b_strides.data(), b_size};
    const answer expected = as_answer(intersect(bytes_of(a_shape, a_strides, a_size),
                                                bytes_of(b_shape, b_strides, b_size, distance)));
    REQUIRE(share_memory(a, b) == expected);
    REQUIRE(share_memory(b, a) == expected);
  }
}

TEST_CASE("views of large arrays are answered, and yes only where both sides agree", "[layout]") {
  generator random(6);
  for (int i = 0; i < 2000; ++i) {
    const extents a_shape{random.number(1, 300), random.number(1, 300), random.number(1, 300)};
    const extents b_shape{random.number(1, 300), random.number(1, 300), random.number(1, 300)};
    const extents a_strides = random.sliced_strides(a_shape, 8);
    const extents b_strides = random.sliced_strides(b_shape, 8);
    const std::uintptr_t start = std::uintptr_t{1} << 40;
    const address_layout a{start, a_shape, a_strides.data(), 8};
    const address_layout b{start + 8 * static_cast<std::uintptr_t>(random.number(0, 100'000)),
                           b_shape, b_strides.data(), 8};
    const answer there = share_memory(a, b), back = share_memory(b, a);
    REQUIRE(there != answer::unknown);
    REQUIRE(there == back);
    REQUIRE(overlaps(a_shape, a_strides, 8) == answer::no);
  }
}
