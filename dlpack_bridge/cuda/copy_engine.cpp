#include <dlpack_bridge/cuda/copy_engine.hpp>

#include <atomic>

#include <dlpack_bridge/cuda/context.hpp>

namespace dlpack_bridge::cuda {
namespace {

CUdeviceptr address_of(const std::byte* data) noexcept {
  return reinterpret_cast<CUdeviceptr>(data);
}

std::size_t bytes_of(extent n) noexcept { return static_cast<std::size_t>(n); }

CUDA_MEMCPY2D rows_of(const block_copy& block) noexcept {
  CUDA_MEMCPY2D p{};
  p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  p.srcDevice = address_of(block.from);
  p.dstDevice = address_of(block.to);
  p.srcPitch = bytes_of(block.from_row);
  p.dstPitch = bytes_of(block.to_row);
  p.WidthInBytes = bytes_of(block.width);
  p.Height = bytes_of(block.rows);
  return p;
}

// CUDA_MEMCPY3D and CUDA_MEMCPY3D_PEER name what they have in common alike.
template <class Parameters>
Parameters planes_of(const block_copy& block) noexcept {
  Parameters p{};
  p.srcMemoryType = p.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  p.srcDevice = address_of(block.from);
  p.dstDevice = address_of(block.to);
  p.WidthInBytes = bytes_of(block.width);
  p.Height = bytes_of(block.rows);
  p.Depth = bytes_of(block.planes);
  p.srcPitch = bytes_of(block.from_row);
  p.dstPitch = bytes_of(block.to_row);
  p.srcHeight = p.dstHeight = p.Height;
  if (block.planes > 1) {
    p.srcHeight = bytes_of(block.from_plane / block.from_row);
    p.dstHeight = bytes_of(block.to_plane / block.to_row);
  }
  return p;
}

}  // namespace

void put_block(const driver_api& api, const placed_stream& stream, const block_copy& block) {
  const call_site where{stream.device, stream.handle};
  if (block.rows == 1) {
    check(where, api.cuMemcpyAsync, address_of(block.to), address_of(block.from),
          bytes_of(block.width), stream.handle);
  } else if (block.planes == 1) {
    const CUDA_MEMCPY2D rows = rows_of(block);
    check(where, api.cuMemcpy2DAsync, &rows, stream.handle);
  } else {
    const auto planes = planes_of<CUDA_MEMCPY3D>(block);
    check(where, api.cuMemcpy3DAsync, &planes, stream.handle);
  }
}

void put_peer_block(const driver_api& api, const placed_stream& stream, const device_pair& devices,
                    const block_copy& block) {
  const call_site where{stream.device, stream.handle};
  if (block.rows == 1) {
    check(where, api.cuMemcpyPeerAsync, address_of(block.to), devices.to, address_of(block.from),
          devices.from, bytes_of(block.width), stream.handle);
    return;
  }
  auto planes = planes_of<CUDA_MEMCPY3D_PEER>(block);
  planes.srcContext = devices.from;
  planes.dstContext = devices.to;
  check(where, api.cuMemcpy3DPeerAsync, &planes, stream.handle);
}

void enable_peer_access(const driver_api& api, int from, int to, const device_pair& devices) {
  const auto count = static_cast<std::size_t>(api.device_count);
  static std::atomic<bool>* const asked = new std::atomic<bool>[count * count]();
  const std::size_t pair = static_cast<std::size_t>(from) * count + static_cast<std::size_t>(to);
  if (asked[pair].exchange(true, std::memory_order_relaxed)) return;
  int possible = 0;
  check({to}, api.cuDeviceCanAccessPeer, &possible, to, from);
  if (possible == 0) return;
  const context_guard current(api, devices.to);
  // Somebody else may have enabled it; and without it copies are staged, which is slow but right.
  static_cast<void>(api.cuCtxEnablePeerAccess(devices.from, 0));
}

}  // namespace dlpack_bridge::cuda
