#include <algorithm>
#include <cstddef>

#include <catch2/catch_test_macros.hpp>

#include "copy_ways.hpp"
#include <dlpack_bridge/copy_tiles.hpp>

using namespace dlpack_bridge;
using namespace dlpack_bridge::detail;

namespace {

constexpr extent lengths[] = {1,   2,   3,   7,   15,  16,   17,   33,   63,
                              64,  65,  73,  90,  97,  127,  128,  129,  161,
                              193, 255, 257, 321, 700, 1000, 1025, 4097, 90'001};
constexpr extent sizes[] = {1, 2, 4, 8, 16};

/// Dense on both sides; `turned`: the source is read along its columns.
strided_block block_of(extent rows, extent columns, const tile_use& use, bool turned) {
  const extent from = use.from_size;
  return {.from = nullptr,
          .to = nullptr,
          .rows = rows,
          .count = columns,
          .from_row = turned ? from : from * columns,
          .from_step = turned ? from * rows : from,
          .to_row = use.to_size * columns,
          .to_step = use.to_size};
}

template <class Visit>
void for_each_use(const Visit& visit) {
  for (const extent from : sizes) {
    for (const extent to : sizes) {
      for (const bool streams : {false, true}) {
        visit(tile_use{from, to, true, streams});
        if (from == to) visit(tile_use{from, to, false, streams});
      }
    }
  }
}

template <class Check>
void for_each_tile_of_this_way(bool turned, const Check& check) {
  for_each_use([&](const tile_use& use) {
    for (const extent rows : lengths) {
      for (const extent columns : lengths) {
        const strided_block shape = block_of(rows, columns, use, turned);
        INFO(rows << " x " << columns << " of " << use.from_size << " to " << use.to_size
                  << (use.converts ? ", converted" : "") << (use.streams ? ", streamed" : ""));
        check(shape, use, tile_of(shape, use));
      }
    }
  });
}

/// Of the two ways that have tiles of different lengths.
template <class Check>
void for_each_tile(bool turned, const Check& check) {
  for (const cache_use use : {cache_use::announced, cache_use::by_lines}) {
    const copying here({instruction_set::avx512, use});
    for_each_tile_of_this_way(turned, check);
  }
}

}  // namespace

TEST_CASE("a tile has no more than its block", "[copy]") {
  for (const bool turned : {false, true}) {
    for_each_tile(turned, [](const strided_block& shape, const tile_use&, const tile_size& tile) {
      REQUIRE(tile.rows >= 1);
      REQUIRE(tile.rows <= shape.rows);
      REQUIRE(tile.columns >= 1);
      REQUIRE(tile.columns <= shape.count);
      REQUIRE(tile.overlap >= 0);
    });
  }
}

TEST_CASE("what goes through a buffer fits it", "[copy]") {
  for (const bool turned : {false, true}) {
    for_each_tile(turned, [&](const strided_block& shape, const tile_use& use, tile_size tile) {
      const extent elements = tile.rows * (tile.columns + tile.overlap);
      const bool no_buffer = !use.converts && !use.streams;
      const bool one_buffer = is_transposed(shape) && !use.streams && shape.count >= short_row;
      if (no_buffer) return;
      if (one_buffer) REQUIRE(elements * use.from_size <= lone_buffer_bytes);
      else REQUIRE(elements * std::max(use.from_size, use.to_size) <= buffer_bytes);
    });
  }
}

TEST_CASE("the last tile of a transposed block is no sliver", "[copy]") {
  for_each_tile(true, [](const strided_block& shape, const tile_use& use, const tile_size& tile) {
    if (use.streams || !is_transposed(shape)) return;
    const extent last_columns = (shape.count - 1) % tile.columns + 1;
    const extent last_rows = (shape.rows - 1) % tile.rows + 1;
    REQUIRE(4 * last_columns >= tile.columns);
    REQUIRE((4 * last_rows >= tile.rows || tile.rows * use.from_size <= 16));
  });
}

TEST_CASE("a small block is one tile", "[copy]") {
  for_each_use([](const tile_use& use) {
    const strided_block shape = block_of(16, 16, use, true);
    const tile_size tile = tile_of(shape, use);
    CHECK(tile.rows == 16);
    CHECK(tile.columns == 16);
  });
}

TEST_CASE("tiles that are streamed overlap where the cache lines of rows begin in other columns",
          "[copy]") {
  const tile_use use{4, 4, false, true};
  CHECK(tile_of(block_of(1000, 1024, use, true), use).overlap == 0);
  CHECK(tile_of(block_of(1000, 1025, use, true), use).overlap == 16);
}
