#include <dlpack_bridge/copy_move.hpp>

#include <cstdlib>
#include <cstring>

#include <dlpack_bridge/copy_shuffles.hpp>
#include <dlpack_bridge/copy_transpose.hpp>

namespace dlpack_bridge::detail {
namespace {

void move_dense_rows(const strided_block& b, extent itemsize) {
  const auto bytes = static_cast<std::size_t>(b.count * itemsize);
  for (extent row = 0; row < b.rows; ++row) {
    std::memcpy(b.to + row * b.to_row, b.from + row * b.from_row, bytes);
  }
}

/// Four at a time: their addresses do not wait for each other. The steps are copied, since for the
/// compiler a byte that is stored may be part of the block.
template <extent Size>
void move_elements(const strided_block& block, extent) {
  const strided_block b = block;
  for (extent row = 0; row < b.rows; ++row) {
    const std::byte* from = b.from + row * b.from_row;
    std::byte* to = b.to + row * b.to_row;
    extent left = b.count;
    for (; left >= 4; left -= 4, from += 4 * b.from_step, to += 4 * b.to_step) {
      std::memcpy(to, from, Size);
      std::memcpy(to + b.to_step, from + b.from_step, Size);
      std::memcpy(to + 2 * b.to_step, from + 2 * b.from_step, Size);
      std::memcpy(to + 3 * b.to_step, from + 3 * b.from_step, Size);
    }
    for (; left > 0; --left, from += b.from_step, to += b.to_step) std::memcpy(to, from, Size);
  }
}

void move_transposed(const strided_block& b, extent itemsize) {
  transpose(b.from, b.from_step, b.to, b.to_row, b.count, b.rows, itemsize);
}

/// Each row follows the pattern on its own.
template <pattern Pattern>
void move_patterned_rows(const strided_block& b, extent itemsize) {
  const shuffle move = shuffle_for(Pattern, itemsize);
  for (extent row = 0; row < b.rows; ++row) {
    move(b.from + row * b.from_row, 0, b.to + row * b.to_row, 0, static_cast<std::size_t>(b.count));
  }
}

/// Pixels of `b.rows` elements become planes. Parts of a block may have fewer rows.
template <extent Rows, pattern Pattern>
void split_pixels(const strided_block& b, extent itemsize) {
  if (b.rows != Rows) return move_transposed(b, itemsize);
  shuffle_for(Pattern, itemsize)(b.from, 0, b.to, b.to_row, static_cast<std::size_t>(b.count));
}

/// Planes become pixels of `b.count` elements.
template <extent Rows, pattern Pattern>
void join_pixels(const strided_block& b, extent itemsize) {
  if (b.count != Rows) return move_transposed(b, itemsize);
  shuffle_for(Pattern, itemsize)(b.from, b.from_step, b.to, 0, static_cast<std::size_t>(b.rows));
}

mover transposing_mover(const strided_block& b, extent itemsize) noexcept {
  // Elements half as long as the vectors: where those would straddle cache lines, and the lines of a
  // column do not push each other out of the cache, one by one is quicker.
  const bool alone = itemsize == 8 && b.to_row % 64 != 0 && b.from_step % 1024 != 0;
  if (alone) return move_elements<8>;
  if (itemsize > 8) return move_transposed;
  if (b.from_step == b.rows * itemsize) {
    if (b.rows == 2) return split_pixels<2, pattern::split2>;
    if (b.rows == 3) return split_pixels<3, pattern::split3>;
    if (b.rows == 4) return split_pixels<4, pattern::split4>;
  }
  if (b.to_row == b.count * itemsize) {
    if (b.count == 2) return join_pixels<2, pattern::join2>;
    if (b.count == 3) return join_pixels<3, pattern::join3>;
    if (b.count == 4) return join_pixels<4, pattern::join4>;
  }
  return move_transposed;
}

}  // namespace

bool is_transposed(const strided_block& b) noexcept {
  return b.rows > 1 && b.from_row != 0 && std::abs(b.from_row) < std::abs(b.from_step);
}

mover mover_for(const strided_block& b, extent itemsize) noexcept {
  const bool whole = itemsize <= 8;
  if (b.to_step == itemsize) {
    if (b.from_step == itemsize) return move_dense_rows;
    if (whole && b.from_step == -itemsize) return move_patterned_rows<pattern::reverse>;
    if (whole && b.from_step == 0) return move_patterned_rows<pattern::fill>;
    if (b.from_row == itemsize && is_transposed(b)) return transposing_mover(b, itemsize);
    if (whole && b.from_step == 2 * itemsize) return move_patterned_rows<pattern::every2>;
    if (whole && b.from_step == 3 * itemsize) return move_patterned_rows<pattern::every3>;
    if (whole && b.from_step == 4 * itemsize) return move_patterned_rows<pattern::every4>;
  }
  switch (itemsize) {
    case 1: return move_elements<1>;
    case 2: return move_elements<2>;
    case 4: return move_elements<4>;
    case 8: return move_elements<8>;
    default: return move_elements<16>;
  }
}

}  // namespace dlpack_bridge::detail
