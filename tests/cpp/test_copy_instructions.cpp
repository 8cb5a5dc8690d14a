#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "copy_ways.hpp"
#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_kernels.hpp>

// What is compiled for several sets of instructions gives the same bits with each of them.
using namespace dlpack_bridge;
using namespace dlpack_bridge::detail;
using bytes = std::vector<std::byte>;

namespace {

constexpr std::array sets{instruction_set::baseline, instruction_set::avx2,
                          instruction_set::avx512};

class generator {
 public:
  explicit generator(unsigned seed) : engine_(seed) {}
  extent number(extent low, extent high) {
    return std::uniform_int_distribution<extent>(low, high)(engine_);
  }
  bytes some(extent count) {
    bytes result(static_cast<std::size_t>(count));
    for (std::byte& b : result) b = static_cast<std::byte>(engine_());
    return result;
  }

 private:
  std::mt19937 engine_;
};

template <class Op>
void check_operation(instruction_set set) {
  generator random(id_of_operation<Op>);
  constexpr extent in_size = sizeof(typename Op::from), out_size = sizeof(typename Op::to);
  const kernel one = kernels_of(instruction_set::baseline)[id_of_operation<Op>];
  const kernel other = kernels_of(set)[id_of_operation<Op>];
  for (const extent count : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 1000}) {
    bytes in = random.some(count * in_size + 3);
    // Often the exponents are those of NaNs and infinities.
    for (std::size_t i = 0; i + 1 < in.size(); i += 29) in[i] = in[i + 1] = std::byte{0x7f};
    bytes a(static_cast<std::size_t>(count * out_size + 5), std::byte{9}), b = a;
    one(in.data() + 1, a.data() + 3, static_cast<std::size_t>(count));
    other(in.data() + 1, b.data() + 3, static_cast<std::size_t>(count));
    INFO("operation " << int{id_of_operation<Op>} << ", " << count << " units");
    REQUIRE(a == b);
  }
}

template <class... Ops>
void check_operations(operation_list<Ops...>, instruction_set set) {
  (check_operation<Ops>(set), ...);
}

/// Two axes somewhere in memory; strides in bytes.
struct placed {
  extent strides[2];
  extent start;
  extent size;
};

/// Rows or columns first, with gaps, turned around, at any address.
placed place(generator& random, const extent (&shape)[2], extent itemsize, bool columns_first) {
  placed p{};
  const int inner = columns_first ? 0 : 1, outer = 1 - inner;
  const extent step = random.number(0, 2) == 0 ? random.number(2, 5) : 1;
  p.strides[inner] = itemsize * step;
  p.strides[outer] = p.strides[inner] * shape[inner] + random.number(0, 1) * random.number(0, 70);
  p.start = random.number(0, 70);
  p.size = p.start + itemsize;
  for (int i = 0; i < 2; ++i) {
    const extent reach = p.strides[i] * (shape[i] - 1);
    p.size += reach;
    if (random.number(0, 3) == 0) p.start += reach, p.strides[i] = -p.strides[i];
  }
  return p;
}

constexpr std::array types{uint8,
                           uint16,
                           uint32,
                           uint64,
                           complex128,
                           boolean,
                           int8,
                           int32,
                           int64,
                           float16,
                           bfloat16,
                           float32,
                           float64,
                           complex64,
                           dtype(kDLFloat8_e4m3fn, 8),
                           dtype(kDLUInt, 24)};

void check_random_copy(unsigned seed) {
  generator random(seed);
  const auto any = [&] {
    return types[static_cast<std::size_t>(random.number(0, types.size() - 1))];
  };
  const dtype from = any();
  const dtype other = any();
  const dtype to = random.number(0, 1) == 0 || !can_copy(from, other) ? from : other;
  const extent shape[] = {random.number(1, 150), random.number(1, 150)};
  const placed in = place(random, shape, from.itemsize(), random.number(0, 1) == 0);
  const placed out = place(random, shape, to.itemsize(), false);
  bytes source = random.some(in.size);
  std::vector<bytes> results;
  for (const copy_way way : copy_ways) {
    const copying here(way);
    bytes result(static_cast<std::size_t>(out.size), std::byte{0x5a});
    copy(shape, 2, {source.data() + in.start, in.strides, from},
         {result.data() + out.start, out.strides, to});
    results.push_back(std::move(result));
  }
  INFO(from.name() << " to " << to.name() << ", seed " << seed);
  for (const bytes& result : results) REQUIRE(result == results[0]);
}

/// A matrix of `columns` x `rows` dense elements, turned around into one of `rows` x `columns` at
/// any address, whose rows are `pitch` bytes apart.
void check_large_transpose(extent rows, extent columns, extent itemsize, extent pitch,
                           extent offset) {
  bytes in = generator(7).some(rows * columns * itemsize);
  bytes out(static_cast<std::size_t>(rows * pitch + offset + 64), std::byte{0x5a}), expected = out;
  for (extent i = 0; i < rows; ++i) {
    for (extent j = 0; j < columns; ++j) {
      std::memcpy(expected.data() + offset + i * pitch + j * itemsize,
                  in.data() + (j * rows + i) * itemsize, static_cast<std::size_t>(itemsize));
    }
  }
  const extent shape[] = {rows, columns};
  const extent turned[] = {itemsize, rows * itemsize}, strides[] = {pitch, itemsize};
  const dtype type = itemsize == 16 ? complex128 : dtype(kDLUInt, static_cast<int>(8 * itemsize));
  copy(shape, 2, {in.data(), turned, type}, {out.data() + offset, strides, type});
  INFO(rows << " x " << columns << ", itemsize " << itemsize << ", pitch " << pitch << ", offset "
            << offset);
  CHECK(out == expected);
}

/// The same with a conversion, for arrays that lie densely on both sides.
void check_turned(extent rows, extent columns, dtype from, dtype to) {
  const extent count = rows * columns, in_size = from.itemsize(), out_size = to.itemsize();
  bytes in = generator(9).some(count * in_size);
  bytes converted(static_cast<std::size_t>(count * out_size));
  copy(&count, 1, {in.data(), &in_size, from}, {converted.data(), &out_size, to});
  bytes out(static_cast<std::size_t>(count * out_size), std::byte{0x5a}), expected = out;
  for (extent i = 0; i < count; ++i) {
    std::memcpy(expected.data() + i * out_size,
                converted.data() + (i % columns * rows + i / columns) * out_size,
                static_cast<std::size_t>(out_size));
  }
  const extent shape[] = {rows, columns};
  const extent turned[] = {in_size, rows * in_size}, dense[] = {columns * out_size, out_size};
  copy(shape, 2, {in.data(), turned, from}, {out.data(), dense, to});
  INFO(rows << " x " << columns << ", " << from.name() << " to " << to.name());
  CHECK(out == expected);
}

}  // namespace

TEST_CASE("every instruction set gives the same bits", "[copy]") {
  for (const instruction_set set : sets) {
    if (is_supported(set)) check_operations(operations{}, set);
  }
}

TEST_CASE("the plain kernels are always there", "[copy]") {
  CHECK(is_supported(instruction_set::baseline));
  for (const kernel k : kernels_of(instruction_set::baseline)) CHECK(k != nullptr);
}

TEST_CASE("copies use the best set, or a lesser one when told so", "[copy]") {
  for (const auto [set, use] : copy_ways) {
    const copying here({set, use});
    CHECK(instructions() <= set);
    CHECK(is_supported(instructions()));
    if (!is_supported(set)) continue;
    CHECK(instructions() == set);
    CHECK(caches() == use);
  }
}

TEST_CASE("what goes past the caches in whole lines needs vectors of that length", "[copy]") {
  const copying here({instruction_set::avx2, cache_use::by_lines});
  CHECK(caches() == cache_use::plain);
}

TEST_CASE("copies of random layouts and types are the same with every instruction set", "[copy]") {
  for (unsigned seed = 0; seed < 2000; ++seed) check_random_copy(seed);
}

TEST_CASE("large transposed copies are right at every pitch, in every way", "[copy]") {
  in_every_way([] {
    for (const extent itemsize : {1, 2, 4, 8, 16}) {
      const extent columns = 2'200'000 / itemsize / 700 + 1;  // enough for streaming stores
      for (const extent gap : {0, 37}) {
        check_large_transpose(701, columns, itemsize, columns * itemsize + gap, gap);
      }
      check_large_transpose(columns, 701, itemsize, 701 * itemsize, 64 - itemsize);
      check_large_transpose(704, columns, itemsize, (columns * itemsize + 63) / 64 * 64, 16);
      check_large_transpose(8192 / itemsize, columns / 4, itemsize, columns / 64 * 64 * itemsize,
                            0);
      check_large_transpose(150'000, 2'200'000 / itemsize / 150'000 + 2, itemsize,
                            (2'200'000 / itemsize / 150'000 + 2) * itemsize, 3);
    }
  });
}

TEST_CASE("transposed copies are right at every size, in every way", "[copy]") {
  // Whole squares, tiles and pixels, and what is left when they are taken away.
  constexpr extent sizes[] = {1,  2,  3,  4,  5,  7,  8,  9,  13, 15, 16,  17,  18,
                              23, 31, 32, 33, 47, 48, 63, 64, 65, 73, 127, 128, 140};
  const std::array<dtype, 2> pairs[] = {
      {uint8, uint8},     {uint8, float32},   {float16, float16}, {float32, float32},
      {float32, float64}, {float32, float16}, {float64, float32}, {complex128, complex128}};
  in_every_way([&] {
    for (const extent rows : sizes) {
      for (const extent columns : sizes) {
        for (const auto& [from, to] : pairs) check_turned(rows, columns, from, to);
      }
    }
  });
}
