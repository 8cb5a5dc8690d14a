#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "copy_ways.hpp"
#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/copy_blocks.hpp>
#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_widen.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::detail;
using bytes = std::vector<std::byte>;

namespace {

constexpr auto single_to_double = id_of_operation<to_float<float, double>>;

/// Often NaNs and infinities, whose bits are to be those of an untransposed conversion as well.
bytes some_numbers(extent count) {
  std::mt19937 engine(3);
  bytes result(static_cast<std::size_t>(4 * count));
  for (std::byte& b : result) b = static_cast<std::byte>(engine());
  for (std::size_t i = 0; i + 3 < result.size(); i += 28) {
    result[i + 2] |= std::byte{0x80};
    result[i + 3] |= std::byte{0x7f};
  }
  return result;
}

/// `rows` x `columns` at any address, read along their columns; bytes from one column of the source and
/// from one row of the destination to the next.
struct turned {
  extent rows, columns;
  extent in_gap = 0, out_gap = 0;
  extent in_offset = 0, out_offset = 0;

  extent in_pitch() const { return 4 * rows + in_gap; }
  extent out_pitch() const { return 8 * columns + out_gap; }
  std::size_t out_bytes() const {
    return static_cast<std::size_t>(rows * out_pitch() + out_offset);
  }
  bytes source() const { return some_numbers((columns * in_pitch() + in_offset) / 4 + 1); }
  strided_block block(const bytes& in, bytes& out) const {
    return {.from = in.data() + in_offset,
            .to = out.data() + out_offset,
            .rows = rows,
            .count = columns,
            .from_row = 4,
            .from_step = in_pitch(),
            .to_row = out_pitch(),
            .to_step = 8};
  }
};

bytes expected_of(const turned& t, const bytes& in, dtype from) {
  const extent count = static_cast<extent>(in.size() - static_cast<std::size_t>(t.in_offset)) / 4;
  const extent four = 4, eight = 8;
  bytes converted(static_cast<std::size_t>(8 * count));
  auto* const source = const_cast<std::byte*>(in.data()) + t.in_offset;
  copy(&count, 1, {source, &four, from}, {converted.data(), &eight, float64});
  bytes result(t.out_bytes(), std::byte{0x5a});
  for (extent i = 0; i < t.rows; ++i) {
    for (extent j = 0; j < t.columns; ++j) {
      std::memcpy(result.data() + t.out_offset + i * t.out_pitch() + 8 * j,
                  converted.data() + 2 * (j * t.in_pitch() + 4 * i), 8);
    }
  }
  return result;
}

void check(const turned& t, dtype from) {
  const bytes in = t.source();
  bytes out(t.out_bytes(), std::byte{0x5a});
  const extent shape[] = {t.rows, t.columns};
  const extent strides[] = {4, t.in_pitch()}, to_strides[] = {t.out_pitch(), 8};
  auto* const source = const_cast<std::byte*>(in.data()) + t.in_offset;
  copy(shape, 2, {source, strides, from}, {out.data() + t.out_offset, to_strides, float64});
  INFO(t.rows << " x " << t.columns << " of " << from.name() << ", gaps " << t.in_gap << " and "
              << t.out_gap << ", offsets " << t.in_offset << " and " << t.out_offset);
  CHECK(out == expected_of(t, in, from));
}

bool has_vectors() { return instructions() >= instruction_set::avx2; }

}  // namespace

TEST_CASE("blocks that are transposed and widened at once are right at every size", "[copy]") {
  for (const dtype from : {float32, int32}) {
    for (const extent rows : {4, 5, 6, 7, 8, 9, 11, 12, 13, 64, 67, 128, 256}) {
      for (extent columns = 33; columns < 50; ++columns) check({rows, columns}, from);
      for (const extent columns : {111, 128, 383, 384, 385, 769, 1200}) {
        check({rows, columns}, from);
      }
    }
  }
}

TEST_CASE("rows that are transposed and widened at once may be of any length", "[copy]") {
  for (const extent columns : {384 * 3 + 1, 384 * 20 + 1, 10'000}) check({5, columns}, float32);
}

TEST_CASE("blocks that are transposed and widened at once may lie anywhere", "[copy]") {
  for (const extent columns : {120, 122, 123}) {
    for (const extent out_gap : {0, 8, 16, 32, 64, 3}) {
      for (const extent out_offset : {0, 1, 4, 8, 16, 24, 32, 40, 48, 56}) {
        check({.rows = 71, .columns = columns, .out_gap = out_gap, .out_offset = out_offset},
              float32);
      }
    }
    check({.rows = 71, .columns = columns, .in_gap = 4, .in_offset = 4}, float32);
    check({.rows = 128, .columns = columns, .in_offset = 12, .out_offset = 8}, int32);
  }
}

TEST_CASE("what is transposed and widened at once past the caches is right everywhere", "[copy]") {
  in_every_way([] {
    for (const extent columns : {33, 40, 47, 111}) {
      for (const extent rows : {4, 7, 8, 9, 16, 23, 128}) {
        for (const extent out_offset : {0, 3, 8, 40, 56}) {
          const turned t{.rows = rows,
                         .columns = columns,
                         .out_gap = -8 * columns & 63,
                         .out_offset = out_offset};
          const bytes in = t.source();
          bytes out(t.out_bytes(), std::byte{0x5a});
          const strided_block block = t.block(in, out);
          strided_block shape = block;
          shape.rows = 400;  // of the largest of all blocks
          const block_copier copier(road_between(float32, float64, {}), 4, 8, shape, true);
          copier(block);
          copier.finish();
          INFO(rows << " x " << columns << ", offset " << out_offset);
          CHECK(out == expected_of(t, in, float32));
        }
      }
    }
  });
}

TEST_CASE("parts of a block that have no square to turn are converted all the same", "[copy]") {
  const turned t{.rows = 80, .columns = 90};
  const bytes in = t.source(), expected = expected_of(t, in, float32);
  bytes out(t.out_bytes(), std::byte{0x5a});
  const strided_block whole = t.block(in, out);
  const road way = road_between(float32, float64, {});
  const block_copier copier(way, 4, 8, whole, false);
  for (extent row = 0; row < t.rows; row += 3) {
    for (extent column = 0; column < t.columns; column += 45) {
      strided_block part = whole;
      part.from += 4 * row + column * part.from_step;
      part.to += row * part.to_row + 8 * column;
      part.rows = std::min<extent>(3, t.rows - row);
      part.count = 45;
      copier(part);
    }
  }
  CHECK(out == expected);
}

TEST_CASE("what is transposed and widened at once", "[copy]") {
  const turned large{.rows = 80, .columns = 90};
  const bytes in = large.source();
  bytes out(large.out_bytes());
  const strided_block block = large.block(in, out);
  CHECK((widening_for(block, single_to_double, false) != nullptr) == has_vectors());
  CHECK(widening_for(block, id_of_operation<to_float<double, float>>, false) == nullptr);

  strided_block other = block;
  other.rows = 30;
  CHECK(widening_for(other, single_to_double, false) == nullptr);  // the caches hold it twice
  other = block, other.from_row = 8;
  CHECK(widening_for(other, single_to_double, false) == nullptr);
  other = block, other.to_step = 16;
  CHECK(widening_for(other, single_to_double, false) == nullptr);

  const copying plainly({instruction_set::baseline, cache_use::announced});
  CHECK(widening_for(block, single_to_double, false) == nullptr);
}

TEST_CASE("what is transposed and widened at once past the caches", "[copy]") {
  const turned t{.rows = 80, .columns = 96};
  const bytes in = t.source();
  bytes out(t.out_bytes());
  const strided_block block = t.block(in, out);
  strided_block other = block;
  other.to_row += 8;
  for (const copy_way way : copy_ways) {
    if (!is_supported(way.set)) continue;
    const copying here(way);
    const bool by_lines = way.use == cache_use::by_lines;
    CHECK((widening_for(block, single_to_double, true) != nullptr) == by_lines);
    CHECK(widening_for(other, single_to_double, true) == nullptr);
  }
}
