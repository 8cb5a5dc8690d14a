#pragma once

#include <dlpack_bridge/cuda/gather.hpp>
#include <dlpack_bridge/cuda/planned_copy.hpp>

namespace dlpack_bridge::cuda {

/// One launch of a gather kernel.
struct gather_launch {
  gather_arguments arguments;
  bool moves;             ///< `gather_move_kernel`, else `gather_kernel`
  unsigned blocks;        ///< of `gather_threads` threads
  unsigned shared_bytes;  ///< of dynamic shared memory
};

/// Counts elements that are only moved in the units that suit the kernels: as wide as the addresses
/// allow where neighbours lie side by side, narrower where they are not aligned.
void fit_units(planned_copy& copy) noexcept;

/// The launch that carries a copy out. Pure arithmetic. Preconditions: `fit_units`, not empty, at
/// most `gather_axes` axes and `gather_most_elements` elements.
gather_launch make_launch(const planned_copy& copy) noexcept;

/// Calls `launch` with one launch or, for more axes or elements than one can have, with several.
/// Precondition: `fit_units`.
template <class Launch>
void for_each_launch(const planned_copy& copy, const Launch& launch) {
  if (copy.plan.empty) return;
  planned_copy part = copy;
  if (copy.plan.size > gather_axes) {
    for (extent i = 0; i < copy.plan.axes[0].count; ++i) {
      part.plan = without_single_axes(detail::slice_of(copy.plan, 0, i, i + 1));
      for_each_launch(part, launch);
    }
    return;
  }
  for_each_piece(copy.plan, gather_most_elements, [&](const detail::copy_plan& piece) {
    part.plan = piece;
    launch(make_launch(part));
  });
}

}  // namespace dlpack_bridge::cuda
