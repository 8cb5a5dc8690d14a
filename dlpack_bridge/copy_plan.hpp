#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// One side of a copy before it is planned. A stride counts `stride_unit` bytes; null strides are
/// row-major.
struct side {
  std::byte* data = nullptr;
  const extent* strides = nullptr;
  extent stride_unit = 1;
  extent itemsize = 1;
};

inline side side_of(const strided_memory& memory) noexcept {
  return {static_cast<std::byte*>(memory.data), memory.byte_strides, 1, memory.type.itemsize()};
}

/// One axis of both sides; strides in bytes.
struct copy_axis {
  extent count;
  extent from;
  extent to;
};

/// A copy reduced to what it is: axes from the outermost to the innermost as the destination lies
/// in memory, all of them forward there, none of extent 1, neighbours merged where both sides allow
/// it.
struct copy_plan {
  static constexpr int most_axes = most_moving_axes + 1;  // and the parts of an element

  std::array<copy_axis, most_axes> axes;
  int size = 0;
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  bool empty = false;

  extent elements() const noexcept;
};

/// Throws `std::invalid_argument` for more axes than memory can hold.
copy_plan make_plan(const extent* shape, std::int32_t ndim, const side& from, const side& to);

/// Walks an axis of the plan the other way when the source goes backward along it; the destination
/// does so then.
void turn_source_forward(copy_plan& plan, copy_axis& axis) noexcept;

/// Adds an innermost axis: an element that is made of `count` parts of `bytes` each.
void split_elements(copy_plan& plan, extent count, extent bytes) noexcept;

/// Makes elements of 1, 2, 4, 8 or 16 bytes of whatever they are, for copies that do not look at
/// them: odd ones are split, neighbours that lie side by side on both sides are taken together.
/// Returns the new size of an element.
extent resize_elements(copy_plan& plan, extent itemsize) noexcept;

/// The part of a plan that covers [begin, end) of one axis.
copy_plan slice_of(const copy_plan& plan, int axis, extent begin, extent end) noexcept;

}  // namespace dlpack_bridge::detail
