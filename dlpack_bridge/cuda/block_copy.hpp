#pragma once

#include <array>
#include <cstddef>

#include <dlpack_bridge/copy_plan.hpp>

namespace dlpack_bridge::cuda {

/// A copy as the driver's copy engines do it: planes of rows of bytes, both sides forward and
/// without overlap. Strides of axes that are not there are 0.
struct block_copy {
  const std::byte* from;
  std::byte* to;
  extent width;  ///< bytes of a row
  extent rows = 1;
  extent planes = 1;
  extent from_row = 0, to_row = 0;      ///< from row to row
  extent from_plane = 0, to_plane = 0;  ///< a multiple of the step from row to row
};

/// A plan as blocks of one shape: one where `loops` has no axes, else one per place along them.
struct block_plan {
  block_copy block;
  std::array<detail::copy_axis, detail::copy_plan::most_axes> loops;
  int loop_count = 0;

  extent blocks() const noexcept;
};

/// Takes a plan apart into the fewest calls of the copy engines. `most_row` is the largest step
/// from row to row that they take. Elements must only be moved. Precondition: not empty.
block_plan blocks_of(const detail::copy_plan& plan, extent itemsize, extent most_row) noexcept;

/// Calls `use` for every block.
template <class Use>
void for_each_block(const block_plan& plan, const Use& use) {
  block_copy block = plan.block;
  std::array<extent, detail::copy_plan::most_axes> index{};
  while (true) {
    use(block);
    int i = plan.loop_count;
    while (--i >= 0) {
      const detail::copy_axis& axis = plan.loops[static_cast<std::size_t>(i)];
      block.from += axis.from;
      block.to += axis.to;
      if (++index[static_cast<std::size_t>(i)] < axis.count) break;
      block.from -= axis.from * axis.count;
      block.to -= axis.to * axis.count;
      index[static_cast<std::size_t>(i)] = 0;
    }
    if (i < 0) return;
  }
}

}  // namespace dlpack_bridge::cuda
