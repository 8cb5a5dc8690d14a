#include <algorithm>
#include <vector>

#include "api.hpp"
#include "captures.hpp"
#include "memory.hpp"
#include "order.hpp"

// Pools of stream-ordered memory ("Stream-Ordered Memory Allocator" in the CUDA Programming Guide).
// What may ask the system for memory, or for a mapping, is taken to be unsafe in a capture.
using namespace fake_cuda;

namespace {

memory_pool& need_pool(frame& f, CUmemoryPool handle) {
  if (memory_pool* found = f.w.pools.find(handle)) return *found;
  report(f.w, std::string(f.function) + " was given a pool that does not exist");
  throw call_failed{CUDA_ERROR_INVALID_VALUE};
}

int need_device(frame& f, const CUmemLocation& where) {
  need(where.type == CU_MEM_LOCATION_TYPE_DEVICE);
  const bool exists = where.id >= 0 && static_cast<std::size_t>(where.id) < f.w.devices.size();
  if (!exists) throw call_failed{CUDA_ERROR_INVALID_DEVICE};
  return where.id;
}

// A pool that has no memory yet takes a device at its word that cannot reach it; its next allocation
// fails.
void let_in(frame& f, memory_pool& pool, int device) {
  if (!f.w.peers && pool.held != 0) throw call_failed{CUDA_ERROR_INVALID_DEVICE};
  pool.broken = pool.broken || !f.w.peers;
  if (std::ranges::count(pool.peers, device) == 0) pool.peers.push_back(device);
}

// In a capture memory belongs to the graph and nothing runs.
block& allocate_from(frame& f, stream& s, memory_pool& pool, std::size_t bytes) {
  if (!goes_into_graph(f, s)) {
    forbid_unsafe(f);
    return allocate_on(f, s, pool, bytes);
  }
  block& b = allocate(f, *s.home, block_kind::pooled, bytes);
  b.graph = s.capturing->id;
  capture_work(s);
  return b;
}

}  // namespace

FAKE_CUDA_API cuMemPoolCreate(CUmemoryPool* out, const CUmemPoolProps* wanted) {
  return call<"cuMemPoolCreate">(reach::driver(), [&](frame& f) {
    need(out != nullptr && wanted != nullptr);
    need(wanted->allocType == CU_MEM_ALLOCATION_TYPE_PINNED && wanted->maxSize == 0);
    const int device = need_device(f, wanted->location);
    forbid_unsafe(f);
    memory_pool& pool = f.w.pools.make();
    pool.device = device;
    *out = reinterpret_cast<CUmemoryPool>(&pool);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute,
                                    void* value) {
  return call<"cuMemPoolSetAttribute">(reach::driver(), [&](frame& f) {
    memory_pool& pool = need_pool(f, handle);
    need(attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD && value != nullptr);
    pool.threshold = *static_cast<const cuuint64_t*>(value);
    return CUDA_SUCCESS;
  });
}

// What its own device reaches cannot be taken from it.
FAKE_CUDA_API cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* wanted,
                                 std::size_t count) {
  return call<"cuMemPoolSetAccess">(reach::driver(), [&](frame& f) {
    memory_pool& pool = need_pool(f, handle);
    need(wanted != nullptr && count > 0);
    forbid_unsafe(f);
    for (std::size_t i = 0; i < count; ++i) {
      const int device = need_device(f, wanted[i].location);
      const bool all = wanted[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
      need(all || (wanted[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE && device != pool.device));
      if (!all) std::erase(pool.peers, device);
      else if (device != pool.device) let_in(f, pool, device);
    }
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemPoolTrimTo(CUmemoryPool handle, std::size_t keep) {
  return call<"cuMemPoolTrimTo">(reach::driver(), [&](frame& f) {
    memory_pool& pool = need_pool(f, handle);
    forbid_unsafe(f);
    shrink(f.w, pool, keep);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemAllocFromPoolAsync(CUdeviceptr* out, std::size_t bytes, CUmemoryPool handle,
                                      CUstream on) {
  return call<"cuMemAllocFromPoolAsync">(reach::on(on), [&](frame& f) {
    need(out != nullptr);
    need_context(f);
    stream& s = need_stream(f, on);
    *out = allocate_from(f, s, need_pool(f, handle), bytes).bytes.begin;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemAllocAsync(CUdeviceptr* out, std::size_t bytes, CUstream handle) {
  return call<"cuMemAllocAsync">(reach::on(handle), [&](frame& f) {
    need(out != nullptr);
    need_context(f);
    stream& s = need_stream(f, handle);
    *out = allocate_from(f, s, s.home->default_pool, bytes).bytes.begin;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemFreeAsync(CUdeviceptr where, CUstream handle) {
  return call<"cuMemFreeAsync">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    block& b = need_block_to_free(f, where);
    const bool captures = goes_into_graph(f, s);
    need(b.kind == block_kind::pooled && b.graph == (captures ? s.capturing->id : 0));
    if (captures) {
      capture_work(s);
    } else {
      forbid_unsafe(f);
      free_on(f, s, b);
    }
    return CUDA_SUCCESS;
  });
}
