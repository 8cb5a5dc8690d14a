#include <dlpack_bridge/cuda/block_copy.hpp>

namespace dlpack_bridge::cuda {
namespace {

using detail::copy_axis;

bool can_be_rows(const copy_axis& axis, extent width, extent most_row) noexcept {
  return axis.from >= width && axis.to >= width && axis.from <= most_row && axis.to <= most_row;
}

/// The engines count planes in rows.
bool can_be_planes(const copy_axis& axis, const block_copy& block) noexcept {
  return axis.from >= block.from_row * block.rows && axis.to >= block.to_row * block.rows &&
         axis.from % block.from_row == 0 && axis.to % block.to_row == 0;
}

}  // namespace

extent block_plan::blocks() const noexcept {
  extent count = 1;
  for (int i = 0; i < loop_count; ++i) count *= loops[static_cast<std::size_t>(i)].count;
  return count;
}

block_plan blocks_of(const detail::copy_plan& plan, extent itemsize, extent most_row) noexcept {
  block_plan result;
  block_copy& block = result.block;
  block = {plan.from, plan.to, itemsize};
  int left = plan.size;
  if (left > 0 && plan.axes[left - 1].from == itemsize && plan.axes[left - 1].to == itemsize) {
    block.width *= plan.axes[--left].count;
  }
  // Outer axes that are neither rows nor planes; the innermost ones make the largest blocks.
  for (int i = left; i-- > 0;) {
    const copy_axis& axis = plan.axes[i];
    if (block.rows == 1 && can_be_rows(axis, block.width, most_row)) {
      block.rows = axis.count;
      block.from_row = axis.from;
      block.to_row = axis.to;
    } else if (block.rows > 1 && block.planes == 1 && can_be_planes(axis, block)) {
      block.planes = axis.count;
      block.from_plane = axis.from;
      block.to_plane = axis.to;
    } else {
      result.loops[static_cast<std::size_t>(result.loop_count++)] = axis;
    }
  }
  return result;
}

}  // namespace dlpack_bridge::cuda
