#include <dlpack_bridge/cuda/planned_copy.hpp>

#include <stdexcept>

#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge::cuda {
namespace {

/// What cannot be said in bytes per element moves as the bytes that hold it, dense on both sides.
planned_copy plan_packed(std::span<const extent> shape, const strided_memory& from,
                         const strided_memory& to) {
  for (const strided_memory* side : {&from, &to}) {
    if (!is_c_contiguous(shape, side->byte_strides, side->type.itemsize())) {
      throw std::invalid_argument(from.type.name() +
                                  " is packed and can only be copied between C-contiguous arrays");
    }
  }
  const extent bytes = dense_bytes(element_count(shape).value_or(0), from.type);
  const extent one = 1;
  return plan_copy(&bytes, 1, {from.data, &one, uint8}, {to.data, &one, uint8}, {});
}

dtype unit_of(extent bytes) noexcept { return dtype(kDLUInt, static_cast<int>(8 * bytes)); }

}  // namespace

planned_copy plan_copy(const extent* shape, std::int32_t ndim, const strided_memory& from,
                       const strided_memory& to, element_change change) {
  const std::span<const extent> extents(shape, static_cast<std::size_t>(ndim));
  if (!can_copy(from.type, to.type)) {
    throw std::invalid_argument("cannot convert " + from.type.name() + " to " + to.type.name());
  }
  if (from.type.is_packed()) return plan_packed(extents, from, to);

  planned_copy copy;
  copy.plan = detail::make_plan(shape, ndim, detail::side_of(from), detail::side_of(to));
  copy.from_type = from.type;
  copy.to_type = to.type;
  copy.change = change;
  if (from.type.itemsize() == 0) copy.plan.empty = true;
  if (copy.plan.empty) return copy;
  const bool changes = change.swap_bytes || change.negate || change.conjugate;
  if (from.type.lanes != 1 && changes) {
    detail::split_elements(copy.plan, from.type.lanes, from.type.bits / 8);
    copy.from_type.lanes = copy.to_type.lanes = 1;
  }
  copy.way = detail::road_between(copy.from_type, copy.to_type, change);
  if (copy.moves()) {
    const extent unit = detail::resize_elements(copy.plan, copy.from_size());
    copy.from_type = copy.to_type = copy.way.from = unit_of(unit);
    copy.change = {};
  }
  return copy;
}

detail::copy_plan without_single_axes(const detail::copy_plan& plan) noexcept {
  detail::copy_plan kept = plan;
  kept.size = 0;
  for (int i = 0; i < plan.size; ++i) {
    if (plan.axes[i].count != 1) kept.axes[kept.size++] = plan.axes[i];
  }
  return kept;
}

}  // namespace dlpack_bridge::cuda
