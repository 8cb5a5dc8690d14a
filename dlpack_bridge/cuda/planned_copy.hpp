#pragma once

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/copy_plan.hpp>
#include <dlpack_bridge/copy_road.hpp>

namespace dlpack_bridge::cuda {

/// A copy reduced to axes in memory and to the steps of the conversion. Pure numbers: nothing here
/// knows a driver.
struct planned_copy {
  detail::copy_plan plan;
  detail::road way;          ///< no steps: the elements move as they are
  dtype from_type, to_type;  ///< of the elements as the plan counts them
  element_change change;

  /// Bytes that are read and written per element.
  extent from_size() const noexcept { return way.from.itemsize(); }
  extent to_size() const noexcept { return to_type.itemsize(); }
  bool moves() const noexcept { return way.size == 0; }
};

/// Elements that are only moved are counted in units of 1 to 16 bytes, whatever they are.
/// @throws std::invalid_argument as `copy` does
planned_copy plan_copy(const extent* shape, std::int32_t ndim, const strided_memory& from,
                       const strided_memory& to, element_change change);

/// Leaves out the axes of extent 1 that cutting leaves behind.
detail::copy_plan without_single_axes(const detail::copy_plan& plan) noexcept;

/// Calls `use` for parts of a plan that cover it, in its order, of at most `most` elements each.
template <class Use>
void for_each_piece(const detail::copy_plan& plan, extent most, const Use& use, int axis = 0) {
  if (plan.empty) return;
  extent inner = 1;
  for (int i = axis + 1; i < plan.size; ++i) inner *= plan.axes[i].count;
  if (axis == plan.size || inner * plan.axes[axis].count <= most) {
    return use(without_single_axes(plan));
  }
  const extent step = inner < most ? most / inner : 1;
  const extent count = plan.axes[axis].count;
  for (extent begin = 0; begin < count; begin += step) {
    const extent end = begin + step < count ? begin + step : count;
    for_each_piece(detail::slice_of(plan, axis, begin, end), most, use, axis + 1);
  }
}

}  // namespace dlpack_bridge::cuda
