#include <dlpack_bridge/copy_blocks.hpp>

#include <algorithm>
#include <cstring>

#include <dlpack_bridge/copy_instructions.hpp>
#include <dlpack_bridge/copy_stream.hpp>
#include <dlpack_bridge/copy_transpose.hpp>

namespace dlpack_bridge::detail {
namespace {

/// How a long row that is streamed is taken apart; bytes of the source. More memory is on its way at
/// once when pieces come from several places in turn; whole lines are quicker one after the other.
struct row_parts {
  extent lanes, pieces_of_a_lane, piece_bytes;
};
constexpr row_parts in_turn{.lanes = 4, .pieces_of_a_lane = 8, .piece_bytes = 512};
constexpr row_parts one_after_the_other{.lanes = 1, .pieces_of_a_lane = 1, .piece_bytes = 1024};

struct alignas(64) lone_buffer {
  std::byte bytes[lone_buffer_bytes];
};

strided_block part_of(const strided_block& block, extent row, extent rows, extent column,
                      extent columns) noexcept {
  return {.from = block.from + row * block.from_row + column * block.from_step,
          .to = block.to + row * block.to_row + column * block.to_step,
          .rows = rows,
          .count = columns,
          .from_row = block.from_row,
          .from_step = block.from_step,
          .to_row = block.to_row,
          .to_step = block.to_step};
}

/// A tile whose elements were brought to a buffer.
strided_block moved(const strided_block& tile, const std::byte* from, extent from_row,
                    extent from_step) noexcept {
  return {.from = from,
          .to = tile.to,
          .rows = tile.rows,
          .count = tile.count,
          .from_row = from_row,
          .from_step = from_step,
          .to_row = tile.to_row,
          .to_step = tile.to_step};
}

}  // namespace

block_copier::block_copier(const road& way, extent from_itemsize, extent to_itemsize,
                           const strided_block& shape, bool streaming) noexcept
    : convert_run_(way, from_itemsize, to_itemsize), steps_(way.size), from_size_(from_itemsize),
      to_size_(to_itemsize), streaming_(streaming && can_stream() && shape.to_step == to_itemsize),
      transposed_(is_transposed(shape)), tile_(tile_of(shape, {.from_size = from_itemsize,
                                                               .to_size = to_itemsize,
                                                               .converts = steps_ > 0,
                                                               .streams = streaming_})) {
  choose_movers(shape);
  if (transposed_ && steps_ == 1 && shape.count >= fewest_widened_columns) {
    widening_ = widening_for(shape, way.steps[0].operation, streaming_);
  }
}

void block_copier::choose_movers(const strided_block& shape) noexcept {
  // Short rows that do not follow one another are taken together in a buffer.
  const bool short_rows = steps_ > 0 && tile_.rows > 1 && shape.count < short_row;
  const bool from_dense = shape.from_row == shape.count * from_size_;
  const bool to_dense = shape.to_row == shape.count * to_size_;
  gather_ = shape.from_step != from_size_ || (short_rows && !from_dense);
  scatter_ = shape.to_step != to_size_ || (short_rows && !to_dense);

  strided_block in = shape;
  in.rows = tile_.rows;
  in.count = tile_.columns;
  if (steps_ > 0 || streaming_) {
    in.to_step = from_size_;
    in.to_row = tile_.columns * from_size_;
  }
  gatherer_ = mover_for(in, from_size_);
  strided_block out = shape;
  out.from_step = to_size_;
  out.from_row = tile_.columns * to_size_;
  scatterer_ = mover_for(out, to_size_);
}

void block_copier::operator()(const strided_block& block) const {
  if (transposed_) return copy_transposed(block);
  if (steps_ == 0 && !streaming_) return gatherer_(block, from_size_);
  copy_rows(block);
}

void block_copier::finish() const noexcept {
  if (streaming_) finish_streaming();
}

/// Goes along the source, so that the lines of one tile are still at hand, or already on their way,
/// for the next.
void block_copier::copy_transposed(const strided_block& block) const {
  if (widening_ != nullptr && std::min(block.rows, block.count) >= least_widened) {
    return widening_(block);
  }
  extent columns = tile_.columns;
  // To convert the ends of whole rows by themselves takes longer than stores that straddle lines do.
  const bool moves_whole_rows = steps_ == 0 && !streaming_ && block.count >= fewest_tile_columns();
  const bool in_parts = columns < block.count || moves_whole_rows;
  if (block.to_row % cache_line == 0 && in_parts) {
    const extent head = elements_to_next_line(block.to, to_size_);
    if (head > 0) columns = std::min(head, columns);
  }
  for (extent column = 0; column < block.count; column += columns, columns = tile_.columns) {
    columns = std::min(columns, block.count - column);
    for (extent row = 0; row < block.rows; row += tile_.rows) {
      const extent rows = std::min(tile_.rows, block.rows - row);
      const strided_block tile = part_of(block, row, rows, column, columns);
      if (tile_.overlap > 0) {
        stream_lines(block, row, rows, column, column + columns);
      } else {
        if (streaming_ && caches() == cache_use::by_lines) announce_tile(tile);
        copy_tile(tile);
      }
    }
  }
}

/// Asks for the lines of the source whose turn comes after the next tile: those of a tile lie far
/// apart, which the processor does not foresee.
void block_copier::announce_tile(const strided_block& tile) const {
  constexpr extent ahead = 2 * cache_line;
  const auto first = reinterpret_cast<std::uintptr_t>(tile.from) + ahead;
  const auto step = static_cast<std::uintptr_t>(tile.from_step);
  const auto bytes = static_cast<std::uintptr_t>(tile.rows * from_size_);
  for (std::uintptr_t i = 0; i < static_cast<std::uintptr_t>(tile.count); ++i) {
    for (std::uintptr_t k = 0; k < bytes; k += cache_line) {
      __builtin_prefetch(reinterpret_cast<const void*>(first + i * step + k));
    }
  }
}

/// For rows whose cache lines begin in other columns each: a tile takes a line more than it needs and
/// writes of each row the lines that end in it. To write a line in two parts takes several times as
/// long.
void block_copier::stream_lines(const strided_block& block, extent row, extent rows, extent begin,
                                extent end) const {
  begin = std::max<extent>(begin - tile_.overlap, 0);
  const strided_block tile = part_of(block, row, rows, begin, end - begin);
  buffer gathered, converted;
  gather(tile, gathered.bytes);
  const std::byte* from = gathered.bytes;
  if (steps_ > 0) {
    convert_run_(gathered.bytes, converted.bytes, tile.rows * tile.count);
    from = converted.bytes;
  }
  const extent bytes = tile.count * to_size_;
  for (extent i = 0; i < rows; ++i, from += bytes) {
    std::byte* const to = tile.to + i * tile.to_row;
    const extent first = begin == 0 ? 0 : cache_line - place_in_line(to);
    const extent last = end == block.count ? bytes : bytes - place_in_line(to + bytes);
    if (first < last) stream_row(to + first, from + first, last - first);
  }
}

void block_copier::copy_rows(const strided_block& block) const {
  if (tile_.rows > 1) {
    for (extent row = 0; row < block.rows; row += tile_.rows) {
      copy_tile(part_of(block, row, std::min(tile_.rows, block.rows - row), 0, block.count));
    }
    return;
  }
  for (extent row = 0; row < block.rows; ++row) {
    const strided_block one = part_of(block, row, 1, 0, block.count);
    if (streaming_) {
      copy_long_row(one);
    } else if (!gather_ && !scatter_) {
      copy_tile(one);
    } else {
      for (extent column = 0; column < block.count; column += tile_.columns) {
        copy_tile(part_of(one, 0, 1, column, std::min(tile_.columns, block.count - column)));
      }
    }
  }
}

void block_copier::copy_long_row(const strided_block& row) const {
  if (steps_ == 0 && !gather_) return stream_copy(row.to, row.from, row.count * to_size_);
  const row_parts& parts = caches() == cache_use::by_lines ? one_after_the_other : in_turn;
  const extent lanes = parts.lanes;
  const extent piece = std::min(parts.piece_bytes / from_size_, buffer_bytes / to_size_);
  const extent lane = piece * parts.pieces_of_a_lane;
  extent done = std::min(elements_to_next_line(row.to, to_size_), row.count);
  stream_piece(row, 0, done);
  for (; done + lanes * lane <= row.count; done += lanes * lane) {
    for (extent offset = 0; offset < lane; offset += piece) {
      for (extent i = 0; i < lanes; ++i) stream_piece(row, done + i * lane + offset, piece);
    }
  }
  for (; done < row.count; done += piece) {
    stream_piece(row, done, std::min(piece, row.count - done));
  }
}

/// Precondition: `count` elements fit a buffer.
void block_copier::stream_piece(const strided_block& row, extent first, extent count) const {
  buffer gathered, converted;
  const std::byte* from = row.from + first * row.from_step;
  if (gather_) {
    gatherer_({from, gathered.bytes, 1, count, 0, row.from_step, 0, from_size_}, from_size_);
    from = gathered.bytes;
  }
  if (steps_ > 0) {
    convert_run_(from, converted.bytes, count);
    from = converted.bytes;
  }
  stream_row(row.to + first * to_size_, from, count * to_size_);
}

/// Brings the elements of a tile side by side.
void block_copier::gather(const strided_block& tile, std::byte* to) const {
  gatherer_({.from = tile.from,
             .to = to,
             .rows = tile.rows,
             .count = tile.count,
             .from_row = tile.from_row,
             .from_step = tile.from_step,
             .to_row = tile.count * from_size_,
             .to_step = from_size_},
            from_size_);
}

void block_copier::copy_tile(const strided_block& tile) const {
  if (!gather_) return convert(tile);
  if (transposed_ && streaming_ && steps_ == 0 &&
      can_stream_transposed(tile.to, tile.to_row, tile.count, tile.rows, to_size_)) {
    return stream_transposed(tile.from, tile.from_step, tile.to, tile.to_row, tile.count, tile.rows,
                             to_size_);
  }
  if (steps_ == 0 && !streaming_) return gatherer_(tile, from_size_);
  lone_buffer gathered;
  gather(tile, gathered.bytes);
  convert(moved(tile, gathered.bytes, tile.count * from_size_, from_size_));
}

/// From elements that lie side by side in each row.
void block_copier::convert(const strided_block& tile) const {
  if (steps_ == 0) return put(tile);
  const bool direct = !scatter_ && !streaming_;
  buffer converted;
  std::byte* const result = direct ? tile.to : converted.bytes;
  const extent result_row = direct ? tile.to_row : tile.count * to_size_;
  if (tile.from_row == tile.count * from_size_ && result_row == tile.count * to_size_) {
    convert_run_(tile.from, result, tile.rows * tile.count);
  } else {
    for (extent row = 0; row < tile.rows; ++row) {
      convert_run_(tile.from + row * tile.from_row, result + row * result_row, tile.count);
    }
  }
  if (!direct) put(moved(tile, converted.bytes, result_row, to_size_));
}

/// Takes a converted tile to where it belongs.
void block_copier::put(const strided_block& out) const {
  if (scatter_ && !streaming_) return scatterer_(out, to_size_);
  if (out.to_row == out.count * to_size_ && out.from_row == out.to_row) {
    return stream_row(out.to, out.from, out.rows * out.count * to_size_);
  }
  for (extent row = 0; row < out.rows; ++row) {
    stream_row(out.to + row * out.to_row, out.from + row * out.from_row, out.count * to_size_);
  }
}

}  // namespace dlpack_bridge::detail
