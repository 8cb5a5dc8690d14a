#include <dlpack_bridge/cuda/memory_pool.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/immortal.hpp>

namespace dlpack_bridge::cuda {
namespace {

struct device_pool {
  std::mutex making;
  std::atomic<bool> known{false};
  CUmemoryPool pool = nullptr;  ///< null once it is known: the device has none
};

std::array<device_pool, most_devices>& pools() noexcept {
  static immortal<std::array<device_pool, most_devices>> all;
  return all.get();
}

bool has_pools(const driver_api& api, int device) {
  int supported = 0;
  check({device}, api.cuDeviceGetAttribute, &supported, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
        device);
  return supported != 0;
}

CUmemLocation on_device(int device) noexcept {
  CUmemLocation where{};
  where.type = CU_MEM_LOCATION_TYPE_DEVICE;
  where.id = device;
  return where;
}

// A pool gives all that is free back at every synchronisation of anybody, unless it is told how much
// to keep; the next copy would have it mapped anew.
void keep_what_is_freed(const driver_api& api, CUmemoryPool pool) noexcept {
  cuuint64_t most = UINT64_MAX;
  static_cast<void>(api.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &most));
}

// What frameworks do for their own memory with cuCtxEnablePeerAccess does not reach into a pool. Now,
// since nothing is mapped yet: later the driver would have to map all of it, and who reads on which
// device is not for the hub to see. A device that cannot must not be named: the next allocation
// would fail.
void let_peers_in(const driver_api& api, CUmemoryPool pool, int device) noexcept {
  for (int peer = 0; peer < api.device_count; ++peer) {
    if (peer == device) continue;
    int possible = 0;
    const CUresult asked = api.cuDeviceCanAccessPeer(&possible, peer, device);
    if (asked != CUDA_SUCCESS || possible == 0) continue;
    const CUmemAccessDesc access{on_device(peer), CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    static_cast<void>(api.cuMemPoolSetAccess(pool, &access, 1));
  }
}

// Where threshold or access is refused the memory is dearer, or for one device only, as it would be
// in the device's default pool.
CUmemoryPool make_pool(const driver_api& api, int device) {
  if (!has_pools(api, device)) return nullptr;
  CUmemPoolProps wanted{};
  wanted.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  wanted.location = on_device(device);
  const relaxed_capture relaxed(api);
  CUmemoryPool pool = nullptr;
  const CUresult made = api.cuMemPoolCreate(&pool, &wanted);
  if (made == CUDA_ERROR_NOT_SUPPORTED) return nullptr;
  if (made != CUDA_SUCCESS) throw_driver_error(made, api.cuMemPoolCreate.name, {device});
  keep_what_is_freed(api, pool);
  let_peers_in(api, pool, device);
  return pool;
}

}  // namespace

CUmemoryPool memory_pool_of(const driver_api& api, int device) {
  device_pool& own = pools()[static_cast<std::size_t>(device)];
  if (own.known.load(std::memory_order_acquire)) [[likely]]
    return own.pool;
  const std::lock_guard lock(own.making);
  if (!own.known.load(std::memory_order_relaxed)) {
    own.pool = make_pool(api, device);
    own.known.store(true, std::memory_order_release);
  }
  return own.pool;
}

void trim_pools(const driver_api& api) noexcept {
  const relaxed_capture relaxed(api);
  for (const device_pool& own : pools()) {
    const bool exists = own.known.load(std::memory_order_acquire) && own.pool != nullptr;
    if (exists) static_cast<void>(api.cuMemPoolTrimTo(own.pool, 0));
  }
}

}  // namespace dlpack_bridge::cuda
