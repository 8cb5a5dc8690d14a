#pragma once

#include <cstddef>

#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// Rows of elements on both sides; steps and rows in bytes.
struct strided_block {
  const std::byte* from;
  std::byte* to;
  extent rows;
  extent count;  // elements in a row
  extent from_row, from_step;
  extent to_row, to_step;
};

/// True when the source goes in smaller steps from row to row than along a row.
bool is_transposed(const strided_block& block) noexcept;

/// Moves the elements of a block, of 1, 2, 4, 8 or 16 bytes, without looking at them.
using mover = void (*)(const strided_block& block, extent itemsize);

/// The mover for blocks with these steps. Only steps, rows and counts of the block are read; the
/// mover may be used for smaller blocks with the same steps.
mover mover_for(const strided_block& block, extent itemsize) noexcept;

}  // namespace dlpack_bridge::detail
