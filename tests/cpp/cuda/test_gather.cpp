#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "gather_on_host.hpp"
#include <dlpack_bridge/copy.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::cuda;

namespace {

using bytes = std::vector<std::byte>;
using extents = std::vector<extent>;
constexpr int convertible = static_cast<int>(dtype_id::float8_e8m0fnu) + 1;

dtype type_at(int i) { return dtype_of(static_cast<dtype_id>(i)); }

/// Memory that begins at a multiple of 64, plus an offset.
class aligned_bytes {
 public:
  explicit aligned_bytes(std::size_t size, std::size_t offset = 0)
      : room_(size + 64 + offset, std::byte{0xab}), size_(size) {
    offset_ = -reinterpret_cast<std::uintptr_t>(room_.data()) % 64 + offset;
  }
  std::byte* data() { return room_.data() + offset_; }
  std::size_t size() const { return size_; }
  bool operator==(aligned_bytes& other) {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_) == 0;
  }

 private:
  bytes room_;
  std::size_t size_, offset_;
};

/// For what is only planned.
void* const far_away = reinterpret_cast<void*>(std::uintptr_t{1} << 44);

struct launches {
  int count = 0, tiled = 0, moving = 0;
  gather_launch last;
};

launches gather(const extents& shape, const strided_memory& from, const strided_memory& to,
                element_change change = {}, unsigned most_blocks = ~0U) {
  launches seen;
  planned_copy copy =
      plan_copy(shape.data(), static_cast<std::int32_t>(shape.size()), from, to, change);
  fit_units(copy);
  for_each_launch(copy, [&](const gather_launch& launch) {
    ++seen.count;
    seen.tiled += launch.shared_bytes != 0;
    seen.moving += launch.moves;
    seen.last = launch;
    gpu_on_host::run(launch, most_blocks);
  });
  return seen;
}

/// Every pattern of small types; for large ones what is special, its neighbours, and noise.
bytes nasty_values(dtype type, std::size_t count) {
  const auto part =
      static_cast<std::size_t>(type.code == kDLComplex ? type.bits / 16 : type.bits / 8);
  const std::size_t parts = count * static_cast<std::size_t>(type.itemsize()) / part;
  std::mt19937_64 random(type.bits * 256U + type.code);
  const std::uint64_t special[] = {0,
                                   1,
                                   0x7f,
                                   0x80,
                                   0xff,
                                   0x7fff,
                                   0x8000,
                                   0xffff,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   0x7f800000,
                                   0xff800000,
                                   0x7fc00000,
                                   0x7f800001,
                                   0xffc01234,
                                   0x7fa00000,
                                   0x3f800000,
                                   0x47800000,
                                   0x477fefff,
                                   0x477ff000,
                                   0x33000000,
                                   0x33000001,
                                   0x387fe000,
                                   0x387fffff,
                                   0x00400000,
                                   0x00000001,
                                   0x4f000000,
                                   0xcf000000,
                                   0x4effffff,
                                   0x5f000000,
                                   0x5effffff,
                                   0xdf000000,
                                   0x5f800000,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff8000000000000,
                                   0x7ff0000000000001,
                                   0xfff8123456789abc,
                                   0x7ff4000020000000,
                                   0x3ff0000000000000,
                                   0x43e0000000000000,
                                   0xc3e0000000000000,
                                   0x43dfffffffffffff,
                                   0x43f0000000000000,
                                   0x41dfffffffc00000,
                                   0x41e0000000000000,
                                   0xc1e0000000000000,
                                   0x41efffffffe00000,
                                   0x47efffffe0000000,
                                   0x47efffffefffffff,
                                   0x47efffffefffffff,
                                   0x3810000000000000,
                                   0x36a0000000000000,
                                   0x3690000000000000,
                                   0x3690000000000001,
                                   0x40effdffffffffff,
                                   0x40effe0000000000,
                                   0x3e60000000000000,
                                   0x3e70000000000000,
                                   0x3e60000000000001,
                                   0x7fffffffffffffff,
                                   0x8000000000000000,
                                   0xffffffffffffffff};
  bytes values(count * static_cast<std::size_t>(type.itemsize()));
  for (std::size_t i = 0; i < parts; ++i) {
    std::uint64_t bits = i;
    if (part > 2) {
      bits = i / 3 < std::size(special) ? special[i / 3] + i % 3 - 1 : random();
      if (i / 3 >= std::size(special) && i % 2 == 0) {
        // Floats of a size that the narrower types have, whose last bits decide how they round.
        const std::uint64_t mask = part == 4 ? 0x0fffffff : 0x01ffffffffffffff;
        const std::uint64_t middle = part == 4 ? 0x38000000 : 0x3f00000000000000;
        bits = (random() & mask) - (mask >> 1) + middle;
        if (random() % 2 == 0) bits = bits >> 12 << 12;
        bits ^= random() << (8 * part - 1);
      }
    }
    std::memcpy(&values[i * part], &bits, part);
  }
  return values;
}

std::size_t patterns_of(dtype type) {
  if (type.itemsize() == 1) return 256;
  return type.bits == 16 || type.code == kDLComplex ? 65536 : 4001;
}

std::string text_of(dtype from, dtype to, element_change change) {
  return from.name() + " to " + to.name() + (change.swap_bytes ? " swapped" : "") +
         (change.negate ? " negated" : "") + (change.conjugate ? " conjugated" : "");
}

void check_pair(dtype from, dtype to, element_change change, std::size_t count) {
  INFO(text_of(from, to, change));
  const bytes source = nasty_values(from, count);
  aligned_bytes in(source.size()), expected(count * static_cast<std::size_t>(to.itemsize())),
      result(expected.size());
  std::ranges::copy(source, in.data());
  const extents shape{static_cast<extent>(count)};
  const extent from_step = from.itemsize(), to_step = to.itemsize();
  copy(shape.data(), 1, {in.data(), &from_step, from}, {expected.data(), &to_step, to}, change);
  gather(shape, {in.data(), &from_step, from}, {result.data(), &to_step, to}, change);
  if (result == expected) return;
  for (std::size_t i = 0; i < count; ++i) {
    const auto size = static_cast<std::size_t>(to_step);
    if (std::memcmp(result.data() + i * size, expected.data() + i * size, size) == 0) continue;
    FAIL("element " << i << " differs");
  }
}

}  // namespace

TEST_CASE("the gather kernel converts every pair of types as copy does", "[gather]") {
  for (int from = 0; from < convertible; ++from) {
    for (int to = 0; to < convertible; ++to) {
      check_pair(type_at(from), type_at(to), {}, patterns_of(type_at(from)));
    }
  }
}

TEST_CASE("the gather kernel changes elements on their way as copy does", "[gather]") {
  for (int change = 1; change < 8; ++change) {
    const element_change changes{(change & 1) != 0, (change & 2) != 0, (change & 4) != 0};
    for (int from = 0; from < convertible; ++from) {
      for (int to = 0; to < convertible; ++to) {
        check_pair(type_at(from), type_at(to), changes, type_at(from).bits == 8 ? 256 : 600);
      }
    }
  }
}

// ---- layouts ------------------------------------------------------------------------------------

namespace {

/// An array of some layout inside a memory of its own.
struct placed {
  extents strides;
  extent low = 0, high = 0;  // bytes reached, from the first element

  std::size_t size() const { return static_cast<std::size_t>(high - low); }
};

placed place_of(const extents& shape, extents strides, extent itemsize) {
  placed p{std::move(strides)};
  p.high = itemsize;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const extent last = (shape[i] - 1) * p.strides[i];
    (last < 0 ? p.low : p.high) += last;
  }
  return p;
}

/// Strides of a dense array whose axes lie in the given order, the innermost last.
extents dense_strides(const extents& shape, const std::vector<std::size_t>& order, extent step) {
  extents strides(shape.size());
  for (std::size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = step;
    step *= shape[order[i]];
  }
  return strides;
}

class random_layouts {
 public:
  explicit random_layouts(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return random_() % n; }

  extents shape() {
    extents shape(below(6));
    if (below(20) == 0) shape.resize(9 + below(3));
    for (extent& n : shape)
      n = static_cast<extent>(shape.size() > 8 ? 1 + below(3) : 1 + below(below(2) == 0 ? 70 : 12));
    extent count = 1;
    for (extent& n : shape) {
      if (count * n > 40000) n = 1;
      count *= n;
    }
    return shape;
  }

  /// Any order of axes, gaps, addresses off the element, backward axes and, where elements may be
  /// repeated, broadcast ones.
  extents strides(const extents& shape, extent itemsize, bool may_repeat) {
    std::vector<std::size_t> order(shape.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (below(2) == 0) std::ranges::shuffle(order, random_);
    extent step = itemsize;
    if (below(4) == 0) step += itemsize * static_cast<extent>(1 + below(3));
    if (below(8) == 0) step += static_cast<extent>(below(7));
    extents strides(shape.size());
    for (std::size_t i = order.size(); i-- > 0;) {
      strides[order[i]] = step;
      step *= shape[order[i]];
      if (below(4) == 0) step += itemsize * static_cast<extent>(below(9));
    }
    for (extent& stride : strides) {
      if (below(6) == 0) stride = -stride;
      if (may_repeat && below(8) == 0) stride = 0;
    }
    return strides;
  }

 private:
  std::mt19937 random_;
};

dtype random_type(random_layouts& random) {
  return type_at(static_cast<int>(random.below(convertible)));
}

void check_layout(const extents& shape, const placed& from, dtype from_type, const placed& to,
                  dtype to_type, std::size_t from_offset, std::size_t to_offset, launches& seen) {
  const auto ndim = static_cast<std::int32_t>(shape.size());
  aligned_bytes in(from.size(), from_offset), expected(to.size(), to_offset),
      result(to.size(), to_offset);
  std::mt19937 random(static_cast<unsigned>(from.size()));
  for (std::size_t i = 0; i < in.size(); ++i) in.data()[i] = static_cast<std::byte>(random());
  const strided_memory source{in.data() - from.low, from.strides.data(), from_type};
  copy(shape.data(), ndim, source, {expected.data() - to.low, to.strides.data(), to_type});
  seen = gather(shape, source, {result.data() - to.low, to.strides.data(), to_type}, {}, 3);
  CHECK(result == expected);
}

}  // namespace

TEST_CASE("the gather kernels reach every layout as copy does", "[gather]") {
  random_layouts random(7);
  launches all;
  gpu_on_host::misaligned_reads = 0;
  for (int round = 0; round < 2000; ++round) {
    INFO("round " << round);
    const extents shape = random.shape();
    const dtype from_type = random_type(random);
    const dtype to_type = random.below(2) == 0 ? from_type : random_type(random);
    const placed from =
        place_of(shape, random.strides(shape, from_type.itemsize(), true), from_type.itemsize());
    const bool dense = random.below(2) == 0;
    std::vector<std::size_t> order(shape.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const placed to = place_of(shape,
                               dense ? dense_strides(shape, order, to_type.itemsize())
                                     : random.strides(shape, to_type.itemsize(), false),
                               to_type.itemsize());
    launches seen;
    check_layout(shape, from, from_type, to, to_type, random.below(3) == 0 ? random.below(17) : 0,
                 random.below(3) == 0 ? random.below(17) : 0, seen);
    all.count += seen.count;
    all.tiled += seen.tiled;
    all.moving += seen.moving;
  }
  CHECK(gpu_on_host::misaligned_reads == 0);
  CHECK(all.count > 2000);  // more axes than a launch has
  CHECK(all.tiled > 100);
  CHECK(all.moving > 500);
}

TEST_CASE("a launch divides as the host does", "[gather]") {
  std::mt19937 random(3);
  const auto check = [](std::uint32_t n, extent divisor) {
    planned_copy copy;
    copy.way.from = copy.from_type = copy.to_type = uint8;
    copy.plan.axes[copy.plan.size++] = {divisor, 2, 1};
    const gather_divisor d = make_launch(copy).arguments.way.extents[0];
    return divided(n, d) == n / static_cast<std::uint32_t>(divisor);
  };
  for (const extent divisor : {2LL, 3LL, 5LL, 7LL, 641LL, 65535LL, 65536LL, 65537LL, 0x40000000LL,
                               0x40000001LL, 0x7ffffffeLL, 0x7fffffffLL}) {
    for (const extent near : {extent{0}, divisor, 2 * divisor, extent{0x7fffffff}}) {
      for (extent n = std::max<extent>(near - 3, 0); n < std::min<extent>(near + 3, 0x7fffffff);
           ++n) {
        CHECK(check(static_cast<std::uint32_t>(n), divisor));
      }
    }
  }
  for (int i = 0; i < 100000; ++i) {
    const extent divisor = 2 + static_cast<extent>(random() >> (1 + random() % 31)) % 0x7ffffffd;
    if (!check(static_cast<std::uint32_t>(random()) >> 1, divisor)) FAIL(divisor);
  }
}

TEST_CASE("what is moved is moved in the widest units that all addresses allow", "[gather]") {
  struct expected_unit {
    extents shape, from, to;
    dtype type;
    std::uintptr_t base;
    int unit, tile_axis;
  };
  const expected_unit table[] = {
      {{3, 100}, {800, 4}, {400, 4}, float32, 0, 16, 0},
      {{3, 101}, {808, 4}, {404, 4}, float32, 0, 4, 0},
      {{3, 102}, {816, 4}, {408, 4}, float32, 0, 8, 0},
      {{3, 100}, {800, 4}, {400, 4}, float32, 8, 8, 0},
      {{3, 100}, {800, 4}, {400, 4}, float32, 2, 2, 0},
      {{3, 100}, {801, 4}, {400, 4}, float32, 0, 1, 0},
      {{500}, {8}, {4}, float32, 0, 4, 0},
      {{500}, {24}, {12}, dtype(kDLFloat, 32, 3), 0, 4, 0},
      {{500}, {64}, {32}, dtype(kDLFloat, 64, 4), 0, 16, 0},
      {{500}, {-16}, {16}, complex128, 0, 16, 0},
      // Transposed: through tiles along the axis that is innermost in the source.
      {{50, 40}, {4, 200}, {160, 4}, float32, 0, 4, 1},
      {{50, 40}, {-4, 200}, {160, 4}, float32, 0, 4, 1},
      {{3, 90, 70}, {1, 210, 3}, {6300, 70, 1}, uint8, 0, 1, 1},
      // Too small on both sides for tiles.
      {{3, 3, 700}, {4, 12, 36}, {8400, 2800, 4}, float32, 0, 4, 2},
      {{1000, 3, 3}, {36, 4, 12}, {36, 12, 4}, float32, 0, 4, 0},
  };
  for (const expected_unit& e : table) {
    auto* base = reinterpret_cast<void*>(0x1000 + e.base);
    planned_copy copy = plan_copy(e.shape.data(), static_cast<std::int32_t>(e.shape.size()),
                                  {base, e.from.data(), e.type}, {base, e.to.data(), e.type}, {});
    fit_units(copy);
    const gather_launch launch = make_launch(copy);
    INFO(e.type.name() << " " << e.shape.size() << " axes, base " << e.base << ", " << e.unit);
    CHECK(launch.moves);
    CHECK(launch.arguments.from.bits == 8 * e.unit);
    CHECK(launch.arguments.way.tile_axis == e.tile_axis);
    CHECK((launch.shared_bytes != 0) == (e.tile_axis != 0));
    CHECK(launch.shared_bytes <= 48 * 1024);
  }
}

TEST_CASE("more elements than a launch counts are several launches", "[gather]") {
  const extents shape{3, extent{1} << 31}, from{extent{1} << 40, 2}, to{extent{1} << 31, 1};
  planned_copy copy =
      plan_copy(shape.data(), 2, {far_away, from.data(), uint8}, {far_away, to.data(), uint8}, {});
  fit_units(copy);
  extent elements = 0;
  int launches = 0;
  for_each_launch(copy, [&](const gather_launch& launch) {
    CHECK(launch.arguments.count <= gather_most_elements);
    elements += launch.arguments.count;
    ++launches;
  });
  CHECK(elements == 3 * (extent{1} << 31));
  CHECK(launches == 6);
}
