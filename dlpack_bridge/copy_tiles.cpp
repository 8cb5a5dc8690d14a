#include <dlpack_bridge/copy_tiles.hpp>

#include <algorithm>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_stream.hpp>

namespace dlpack_bridge::detail {
namespace {

/// A transposed tile reads whole cache lines and writes two at a time, of at least so many rows and
/// columns.
constexpr extent tile_bytes_read = 64;
constexpr extent tile_bytes_written = 128;
constexpr extent fewest_rows = 16;
constexpr extent fewest_streamed_columns = 32;

/// Squares of a transposition have sides of so many bytes.
constexpr extent side_of_square = 16;

/// How long each of some `parts` of all is, in whole groups. A row of a sliver costs as much as one of
/// ten times as many elements: where the last part would be less than a quarter of the others, there
/// are more (`step` 1) or fewer (-1) parts.
extent equal_parts(extent parts, extent step, extent all, extent group) noexcept {
  while (true) {
    const extent exact = (all + parts - 1) / parts;
    const extent each = (exact + group - 1) / group * group;
    const extent last = (all - 1) % each + 1;
    if (4 * last >= each || parts == 1 || each == group) return each;
    parts += step;
  }
}

extent parts_of_at_least(extent least, extent all, extent group) noexcept {
  return all <= least ? least : equal_parts(all / least, -1, all, group);
}

/// Where `most` has no whole group it stays.
extent parts_of_at_most(extent most, extent all, extent group) noexcept {
  if (all <= most || most < group) return most;
  most -= most % group;
  return equal_parts((all + most - 1) / most, 1, all, group);
}

/// Elements that make a cache line on the side where they are smaller.
extent line_of(const tile_use& use) noexcept {
  return std::max<extent>(cache_line / std::min(use.from_size, use.to_size), 1);
}

extent columns_of_transposed(const strided_block& shape, const tile_use& use, extent elements) {
  if (!use.streams) {
    const extent line = line_of(use);
    const extent columns =
        std::max({tile_bytes_written / use.to_size, fewest_tile_columns(), line});
    return parts_of_at_least(columns, shape.count, line);
  }
  // Rows that follow one another are one long row where tiles take them whole.
  const bool one_row = shape.to_row == shape.count * use.to_size;
  if (one_row && fewest_rows * shape.count <= elements) return shape.count;
  return std::max(tile_bytes_written / use.to_size, fewest_streamed_columns);
}

tile_size transposed_tile(const strided_block& shape, const tile_use& use, extent elements) {
  tile_size tile{.rows = 1, .columns = columns_of_transposed(shape, use, elements)};
  tile.columns = std::min(tile.columns, elements);
  const bool whole_lines = shape.to_row % cache_line == 0 || shape.count <= tile.columns;
  tile.overlap = use.streams && !whole_lines ? cache_line / use.to_size : 0;
  tile.rows = std::max(tile_bytes_read / use.from_size, fewest_rows);
  tile.rows = std::min(tile.rows, elements / (tile.columns + tile.overlap));
  // Where one side is shorter than that the other one may be longer.
  if (shape.rows < tile.rows) {
    tile.columns = elements / shape.rows - tile.overlap;
    if (!use.streams) tile.columns = parts_of_at_most(tile.columns, shape.count, line_of(use));
  }
  if (shape.count <= tile.columns) tile.rows = elements / shape.count;
  if (tile.rows >= shape.rows) return tile;
  // Many short rows in whole lines; else in whole squares, of which the last are no sliver.
  const extent square = std::max<extent>(side_of_square / use.from_size, 1);
  if (tile.rows > 64) tile.rows -= tile.rows % 64;
  tile.rows = parts_of_at_most(tile.rows, shape.rows, square);
  return tile;
}

}  // namespace

extent fewest_tile_columns() noexcept { return caches() == cache_use::by_lines ? 32 : 64; }

tile_size tile_of(const strided_block& shape, const tile_use& use) noexcept {
  tile_size tile{.rows = shape.rows, .columns = shape.count};
  const bool transposed = is_transposed(shape);
  if (!use.converts && !use.streams && !transposed) return tile;  // no buffer could be too small
  // Where nothing is scattered or streamed, a tile goes through one buffer.
  const bool direct =
      transposed && !use.streams && shape.to_step == use.to_size && shape.count >= short_row;
  const extent room = direct ? lone_buffer_bytes : buffer_bytes;
  const extent at_hand = direct ? use.from_size + (use.converts ? use.to_size : 0)
                                : std::max(use.from_size, use.to_size);
  const extent elements = std::max<extent>(room / at_hand, 1);
  if (transposed && !use.streams && shape.rows * shape.count <= elements) return tile;
  if (transposed) {
    tile = transposed_tile(shape, use, elements);
  } else {
    tile.columns = std::min(shape.count, elements / 2);
    tile.rows = elements / 2 / tile.columns;
  }
  tile.rows = std::clamp<extent>(tile.rows, 1, shape.rows);
  tile.columns = std::clamp<extent>(tile.columns, 1, shape.count);
  return tile;
}

}  // namespace dlpack_bridge::detail
