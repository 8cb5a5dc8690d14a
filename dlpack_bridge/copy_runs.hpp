#pragma once

#include <array>
#include <cstddef>

#include <dlpack_bridge/copy_kernels.hpp>
#include <dlpack_bridge/copy_road.hpp>
#include <dlpack_bridge/layout.hpp>

namespace dlpack_bridge::detail {

/// Takes elements that lie side by side along a road, which has at least one step.
class run_converter {
 public:
  run_converter(const road& way, extent from_itemsize, extent to_itemsize) noexcept;

  void operator()(const std::byte* from, std::byte* to, extent count) const;

 private:
  void in_steps(const std::byte* from, std::byte* to, extent count) const;

  std::array<kernel, road::most_steps> kernels_{};
  std::array<extent, road::most_steps> units_{};
  int steps_;
  extent from_size_, to_size_;
};

}  // namespace dlpack_bridge::detail
