#include <dlpack_bridge/cuda/device_copy.hpp>

#include <dlpack_bridge/cuda/copy_engine.hpp>

namespace dlpack_bridge::cuda {
namespace {

/// Rows shorter than this are what the copy engines are slow at, and kernels are not.
constexpr extent short_row = 64;

/// More calls than this take longer than the way through the host.
constexpr extent most_calls = 256;

}  // namespace

device_road road_of(const planned_copy& copy, bool has_kernels) noexcept {
  if (!copy.moves()) return has_kernels ? device_road::gather : device_road::none;
  const block_plan blocks = blocks_of(copy.plan, copy.from_size(), most_row);
  const bool short_rows = blocks.block.rows > 1 && blocks.block.width < short_row;
  if (blocks.loop_count == 0 && !(short_rows && has_kernels)) return device_road::block;
  if (has_kernels) return device_road::gather;
  return blocks.blocks() <= most_calls ? device_road::blocks : device_road::none;
}

bool copy_on_device(const driver_api& api, const placed_stream& stream, const planned_copy& copy) {
  gather_kernels kernels;
  device_road road = road_of(copy, true);
  if (road == device_road::gather) {
    kernels = kernels_for(api, stream);
    if (!kernels) road = road_of(copy, false);
  }
  switch (road) {
    case device_road::none: return false;
    case device_road::gather: launch_gather(api, kernels, stream, copy); return true;
    default:
      for_each_block(blocks_of(copy.plan, copy.from_size(), most_row),
                     [&](const block_copy& block) { put_block(api, stream, block); });
      return true;
  }
}

}  // namespace dlpack_bridge::cuda
