#include <dlpack_bridge/copy_plan.hpp>

#include <algorithm>
#include <stdexcept>

namespace dlpack_bridge::detail {
namespace {

/// Bytes from one element to the next along an axis; `dense` is what a row-major side has there.
extent stride_of(const side& s, std::int32_t axis, extent dense) noexcept {
  return s.strides == nullptr ? dense * s.itemsize : s.strides[axis] * s.stride_unit;
}

extent distance(extent stride) noexcept { return stride < 0 ? -stride : stride; }

void turn(copy_plan& plan, copy_axis& axis) noexcept {
  plan.from += axis.from * (axis.count - 1);
  plan.to += axis.to * (axis.count - 1);
  axis.from = -axis.from;
  axis.to = -axis.to;
}

void sort_axes(copy_plan& plan) noexcept {
  const auto outer_first = [](const copy_axis& a, const copy_axis& b) {
    return a.to != b.to ? a.to > b.to : distance(a.from) > distance(b.from);
  };
  // Few and mostly in order.
  for (int i = 1; i < plan.size; ++i) {
    for (int j = i; j > 0 && outer_first(plan.axes[j], plan.axes[j - 1]); --j) {
      std::swap(plan.axes[j], plan.axes[j - 1]);
    }
  }
}

void merge_axes(copy_plan& plan) noexcept {
  int last = 0;
  for (int i = 1; i < plan.size; ++i) {
    copy_axis& outer = plan.axes[last];
    const copy_axis inner = plan.axes[i];
    if (outer.from == inner.from * inner.count && outer.to == inner.to * inner.count) {
      outer = {outer.count * inner.count, inner.from, inner.to};
    } else {
      plan.axes[++last] = inner;
    }
  }
  plan.size = last + 1;
}

}  // namespace

extent copy_plan::elements() const noexcept {
  if (empty) return 0;
  extent count = 1;
  for (int i = 0; i < size; ++i) count *= axes[i].count;
  return count;
}

copy_plan make_plan(const extent* shape, std::int32_t ndim, const side& from, const side& to) {
  copy_plan plan;
  plan.from = from.data;
  plan.to = to.data;
  plan.empty = std::any_of(shape, shape + ndim, [](extent n) { return n <= 0; });
  if (plan.empty) return plan;
  extent dense = 1;
  for (std::int32_t i = ndim; i-- > 0;) {
    if (shape[i] == 1) continue;
    if (plan.size == most_moving_axes) {
      throw std::invalid_argument("more axes than an array in memory can have");
    }
    copy_axis& axis = plan.axes[plan.size++];
    axis = {shape[i], stride_of(from, i, dense), stride_of(to, i, dense)};
    if (axis.to < 0) turn(plan, axis);
    dense *= shape[i];
  }
  if (plan.size > 1) {
    sort_axes(plan);
    merge_axes(plan);
  }
  return plan;
}

void turn_source_forward(copy_plan& plan, copy_axis& axis) noexcept {
  if (axis.from < 0) turn(plan, axis);
}

void split_elements(copy_plan& plan, extent count, extent bytes) noexcept {
  if (count == 1) return;
  plan.axes[plan.size++] = {count, bytes, bytes};
  merge_axes(plan);
}

extent resize_elements(copy_plan& plan, extent itemsize) noexcept {
  constexpr extent largest = 16;
  const extent part = std::min(itemsize & -itemsize, largest);  // the largest power of two in it
  split_elements(plan, itemsize / part, part);
  if (plan.size == 0) return part;
  const copy_axis& inner = plan.axes[plan.size - 1];
  const extent bytes = inner.count * part;
  const bool dense = inner.from == part && inner.to == part;
  if (!dense || bytes > largest || (bytes & (bytes - 1)) != 0) return part;
  --plan.size;
  return bytes;
}

copy_plan slice_of(const copy_plan& plan, int axis, extent begin, extent end) noexcept {
  copy_plan part = plan;
  part.from += begin * plan.axes[axis].from;
  part.to += begin * plan.axes[axis].to;
  part.axes[axis].count = end - begin;
  return part;
}

}  // namespace dlpack_bridge::detail
