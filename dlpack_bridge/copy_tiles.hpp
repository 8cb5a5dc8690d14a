#pragma once

#include <dlpack_bridge/copy_move.hpp>

namespace dlpack_bridge::detail {

/// A buffer of one tile; the four that a conversion may need fit the first-level cache.
constexpr extent buffer_bytes = 12288;
/// Of a gathered tile that needs no other buffer, together with what it is converted to.
constexpr extent lone_buffer_bytes = 2 * buffer_bytes;

struct alignas(64) buffer {
  std::byte bytes[buffer_bytes];
};

/// Rows shorter than this are cheaper to gather than to convert one by one.
constexpr extent short_row = 16;

/// Columns that a transposed tile has at least, if its block has them and it is not streamed. Where the
/// cache lines are at hand more of them save work, where they are not fewer save pages.
extent fewest_tile_columns() noexcept;

/// What of a block is copied at once.
struct tile_size {
  extent rows, columns;
  extent overlap = 0;  ///< columns that a tile takes again from the one before
};

/// What is done with it.
struct tile_use {
  extent from_size, to_size;  // of an element
  bool converts, streams;
};

/// For blocks of this shape, at least one row and one column and no more than they have. A tile that
/// goes through buffers fits them. Transposed, it is read and written in whole cache lines, and the
/// last one of a row or column is no sliver unless it is streamed.
tile_size tile_of(const strided_block& shape, const tile_use& use) noexcept;

}  // namespace dlpack_bridge::detail
