#include <dlpack_bridge/cuda/block_cache.hpp>

#include <bit>
#include <mutex>
#include <string>
#include <utility>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/memory_pool.hpp>
#include <dlpack_bridge/cuda/release.hpp>

namespace dlpack_bridge::cuda {
namespace {

struct kept_blocks {
  std::mutex mutex;
  memory_block* first = nullptr;
  memory_block* abandoned = nullptr;
};

void push(memory_block*& list, std::unique_ptr<memory_block> block) noexcept {
  block->next = list;
  list = block.release();
}

// Never destroyed: arrays may be released while statics die.
kept_blocks& kept() {
  static kept_blocks* const blocks = new kept_blocks;
  return *blocks;
}

/// Sizes come in eight steps from one power of two to the next, so that blocks fit again.
std::size_t rounded(std::size_t bytes) noexcept {
  constexpr std::size_t smallest = 4096;
  if (bytes <= smallest) return smallest;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

/// Pinned memory serves every device.
bool serves(const memory_block& block, block_kind kind, int device, std::size_t bytes) noexcept {
  return block.kind == kind && block.bytes == bytes &&
         (block.device == device || kind == block_kind::pinned);
}

std::unique_ptr<memory_block> take_kept(const driver_api& api, block_kind kind, int device,
                                        std::size_t bytes, bool idle) {
  const std::lock_guard lock(kept().mutex);
  for (memory_block** link = &kept().first; *link != nullptr; link = &(*link)->next) {
    memory_block& block = **link;
    if (!serves(block, kind, device, bytes) || (idle && !is_idle(api, block))) continue;
    *link = std::exchange(block.next, nullptr);
    if (idle) block.last_use.reset();
    return std::unique_ptr<memory_block>(&block);
  }
  return nullptr;
}

CUresult make(const driver_api& api, memory_block& block) noexcept {
  if (block.kind == block_kind::pinned) {
    return api.cuMemHostAlloc(&block.data, block.bytes,
                              CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
  }
  CUdeviceptr address = 0;
  const CUresult made = block.kind == block_kind::device
                            ? api.cuMemAlloc(&address, block.bytes)
                            : api.cuMemAllocManaged(&address, block.bytes,
                                                    static_cast<unsigned>(CU_MEM_ATTACH_GLOBAL));
  block.data = reinterpret_cast<void*>(address);
  return made;
}

const char* maker_of(const driver_api& api, block_kind kind) noexcept {
  if (kind == block_kind::pinned) return api.cuMemHostAlloc.name;
  return kind == block_kind::device ? api.cuMemAlloc.name : api.cuMemAllocManaged.name;
}

/// False: a capture is in the way.
bool free_block(const driver_api& api, memory_block& block) noexcept {
  CUresult freed;
  try {
    const context_guard current(api, block.context);
    const relaxed_capture relaxed(api);
    freed = block.last_use ? api.cuEventSynchronize(block.last_use.get()) : CUDA_SUCCESS;
    if (freed == CUDA_SUCCESS) {
      freed = block.kind == block_kind::pinned
                  ? api.cuMemFreeHost(block.data)
                  : api.cuMemFree(reinterpret_cast<CUdeviceptr>(block.data));
    }
  } catch (const cuda_error& e) {
    freed = static_cast<CUresult>(e.code());
  }
  if (is_capture_refusal(freed)) return false;
  if (freed != CUDA_SUCCESS) active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
  return true;
}

}  // namespace

bool is_idle(const driver_api& api, const memory_block& block) {
  return !block.last_use || is_done(api, block.last_use.get());
}

std::unique_ptr<memory_block> take_block(const driver_api& api, block_kind kind, int device,
                                         CUcontext context, std::size_t bytes, bool idle) {
  const std::size_t size = rounded(bytes);
  if (auto block = take_kept(api, kind, device, size, idle)) return block;
  auto block = std::make_unique<memory_block>();
  block->kind = kind;
  block->device = device;
  block->context = context;
  block->bytes = size;
  allocate_or_throw(device, bytes, maker_of(api, kind), [&] { return make(api, *block); });
  return block;
}

void keep_block(std::unique_ptr<memory_block> block) noexcept {
  const std::lock_guard lock(kept().mutex);
  push(kept().first, std::move(block));
}

void abandon_block(std::unique_ptr<memory_block> block) noexcept {
  active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(kept().mutex);
  push(kept().abandoned, std::move(block));
}

void free_kept_blocks() noexcept {
  const driver_api* api = driver();
  if (api == nullptr) return;
  memory_block* all = nullptr;
  {
    const std::lock_guard lock(kept().mutex);
    all = std::exchange(kept().first, nullptr);
  }
  while (all != nullptr) {
    std::unique_ptr<memory_block> block(all);
    all = std::exchange(block->next, nullptr);
    if (!free_block(*api, *block)) keep_block(std::move(block));
  }
}

void make_room() {
  collect(false);
  if (const driver_api* api = driver()) trim_pools(*api);
}

void throw_allocation_error(CUresult result, const char* call, int device, std::size_t bytes) {
  if (result != CUDA_ERROR_OUT_OF_MEMORY) throw_driver_error(result, call, {device});
  throw cuda_error(CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY",
                   "out of memory: " + std::string(call) + " cannot get " + std::to_string(bytes) +
                       " bytes for CUDA device " + std::to_string(device));
}

}  // namespace dlpack_bridge::cuda
