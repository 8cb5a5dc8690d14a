#pragma once

#include <array>
#include <cstddef>

#include <dlpack_bridge/copy_kernels.hpp>
#include <dlpack_bridge/copy_move.hpp>
#include <dlpack_bridge/copy_road.hpp>

namespace dlpack_bridge::detail {

/// Converts blocks of elements of any layout: gathers a tile into a small buffer when the source
/// does not lie side by side, takes it along the road, scatters it when the destination does not.
/// So one kernel per step serves every layout. The buffers live on the stack of the caller.
class block_converter {
 public:
  /// `shape_of_blocks`: the steps of all blocks to come, and their largest rows and count.
  block_converter(const road& way, extent from_itemsize, extent to_itemsize,
                  const strided_block& shape_of_blocks) noexcept;

  void operator()(const strided_block& block) const;

 private:
  void convert_tile(const strided_block& tile) const;
  void convert_run(const std::byte* from, std::byte* to, extent count) const;

  std::array<kernel, 7> kernels_{};
  std::array<extent, 7> units_{};
  int steps_;
  extent from_itemsize_, to_itemsize_;
  extent tile_rows_, tile_count_;
  bool gather_, scatter_;
  mover gatherer_ = nullptr, scatterer_ = nullptr;
};

}  // namespace dlpack_bridge::detail
