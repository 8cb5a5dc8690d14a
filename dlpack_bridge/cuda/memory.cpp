#include <dlpack_bridge/cuda/memory.hpp>

#include <algorithm>
#include <exception>
#include <mutex>
#include <new>
#include <utility>

#include <dlpack_bridge/counters.hpp>
#include <dlpack_bridge/cuda/block_cache.hpp>
#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/handshake.hpp>
#include <dlpack_bridge/cuda/memory_pool.hpp>
#include <dlpack_bridge/cuda/release_queue.hpp>
#include <dlpack_bridge/cuda/staging.hpp>
#include <dlpack_bridge/cuda/stream.hpp>

namespace dlpack_bridge::cuda {
namespace {

/// What every address of the driver is a multiple of.
constexpr std::size_t driver_alignment = 256;

/// Device memory with what its release needs.
struct device_memory {
  device where;
  stream_handle home;
  CUdeviceptr base = 0;                 ///< of the pool
  std::unique_ptr<memory_block> block;  ///< not of the pool
  device_memory* next = nullptr;
};

// ---- release ------------------------------------------------------------------------------------

enum class outcome { gone, later, lost };

/// A free on a capturing stream would become a part of the graph.
bool captures(const driver_api& api, const placed_stream& stream, stream_handle handle) {
  return state_of(api, stream, handle).capture != capture_kind::none;
}

outcome outcome_of(CUresult result, int device) noexcept {
  if (result == CUDA_SUCCESS) return outcome::gone;
  if (is_sticky(result)) mark_lost(device);
  return is_capture_refusal(result) ? outcome::later : outcome::lost;
}

/// Lets the memory go in the order of its home stream.
outcome release(const driver_api& api, device_memory& memory) noexcept {
  try {
    const placed_stream home = place_again(api, memory.where.id, memory.home, nullptr);
    if (home.context == nullptr) return outcome::lost;
    if (!may_use_streams()) return outcome::later;
    const context_guard current(api, home.context);
    if (captures(api, home, memory.home)) return outcome::later;
    const relaxed_capture relaxed(api);
    if (!memory.block) {
      return outcome_of(api.cuMemFreeAsync(memory.base, home.handle), memory.where.id);
    }
    pooled_event mark(api, home);
    record(api, mark.get(), home);
    memory.block->last_use = std::move(mark);
    keep_block(std::move(memory.block));
    return outcome::gone;
  } catch (const cuda_error& e) {
    return outcome_of(static_cast<CUresult>(e.code()), memory.where.id);
  } catch (const std::exception&) {
    return outcome::later;
  }
}

/// Memory that waits for the end of a capture, or for a thread that may use its stream.
struct held_up {
  std::mutex mutex;
  device_memory* first = nullptr;
};

held_up& waiting() {
  static held_up* const memories = new held_up;
  return *memories;
}

void release_or_hold(const driver_api& api, std::unique_ptr<device_memory> memory) noexcept {
  switch (release(api, *memory)) {
    case outcome::gone: return;
    case outcome::lost:
      if (memory->block) abandon_block(std::move(memory->block));
      else active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
      return;
    case outcome::later: {
      const std::lock_guard lock(waiting().mutex);
      memory->next = waiting().first;
      waiting().first = memory.release();
    }
  }
}

void release_what_was_held_up(const driver_api& api) noexcept {
  device_memory* all = nullptr;
  {
    const std::lock_guard lock(waiting().mutex);
    all = std::exchange(waiting().first, nullptr);
  }
  while (all != nullptr) {
    std::unique_ptr<device_memory> memory(all);
    all = std::exchange(memory->next, nullptr);
    release_or_hold(api, std::move(memory));
  }
}

// Without a driver, at the end of the process or after a fork, the memory is the driver's business.
void drop_device_memory(void* object) noexcept {
  std::unique_ptr<device_memory> memory(static_cast<device_memory*>(object));
  if (const driver_api* api = driver()) release_or_hold(*api, std::move(memory));
  else if (memory->block) abandon_block(std::move(memory->block));
}

void drop_block(void* object) noexcept {
  keep_block(std::unique_ptr<memory_block>(static_cast<memory_block*>(object)));
}

// ---- allocation ---------------------------------------------------------------------------------

/// Whether memory can be at home on a stream: it has to be there, and be the same, at the release.
/// A default stream is another one whenever another context is current.
bool can_be_home(const driver_api& api, device where, stream_handle stream) {
  if (!stream.known() || stream.no_sync() || stream.per_thread()) return false;
  const placed_stream at = place(api, where.id, stream);
  if (is_default_stream(stream)) return at.context == active_context(api, where.id);
  return at.device == where.id;
}

bool captures(const driver_api& api, device where, stream_handle stream) {
  if (!stream.known() || stream.no_sync()) return false;
  return captures(api, place(api, where.id, stream), stream);
}

void take_from_pool(const driver_api& api, device_memory& memory, CUmemoryPool pool,
                    const placed_stream& home, std::size_t bytes) {
  allocate_or_throw(memory.where.id, bytes, api.cuMemAllocFromPoolAsync.name, [&] {
    return api.cuMemAllocFromPoolAsync(&memory.base, bytes, pool, home.handle);
  });
}

/// @returns the address of at least `bytes` bytes
void* fill(const driver_api& api, device_memory& memory, const placed_stream& home,
           std::size_t bytes, bool in_capture) {
  const context_guard current(api, home.context);
  if (CUmemoryPool pool = in_capture ? nullptr : memory_pool_of(api, home.device)) {
    take_from_pool(api, memory, pool, home, bytes);
    return reinterpret_cast<void*>(memory.base);
  }
  // Nothing that happened outside a capture can be waited for inside it.
  memory.block = take_block(api, block_kind::device, home.device, home.context, bytes, in_capture);
  if (memory.block->last_use) {
    try {
      make_wait(api, home, memory.block->last_use.get());
    } catch (...) {
      keep_block(std::move(memory.block));
      throw;
    }
    memory.block->last_use.reset();
  }
  return memory.block->data;
}

backend_memory allocate_device(const driver_api& api, std::size_t bytes, device where,
                               stream_handle stream) {
  release_what_was_held_up(api);
  const bool in_capture = captures(api, where, stream);
  const bool at_home = !in_capture && can_be_home(api, where, stream);
  const stream_handle home = at_home ? stream : own_stream(where).handle();
  auto memory = std::make_unique<device_memory>();
  memory->where = where;
  memory->home = home;
  void* data = fill(api, *memory, awake(api, place(api, where.id, home)), bytes, in_capture);
  backend_memory result{data, owner(memory.release(), drop_device_memory), home};
  const bool waits = !at_home && !in_capture && stream.known() && !stream.no_sync();
  if (waits) order_after(where, stream, where, home);
  return result;
}

/// Pinned memory needs a context, no matter whose: one that is awake already, if there is one.
placed_stream any_context(const driver_api& api, device where, stream_handle stream) {
  if (stream.known() && !stream.no_sync()) {
    const placed_stream at = place(api, where.id, stream);
    if (at.context != nullptr) return at;
  }
  for (int device = 0; device < api.device_count; ++device) {
    if (CUcontext context = active_context(api, device)) return {nullptr, context, device};
  }
  return {nullptr, primary_context(api, where.id), where.id};
}

backend_memory allocate_block(const driver_api& api, block_kind kind, std::size_t bytes,
                              const placed_stream& at) {
  const context_guard current(api, at.context);
  std::unique_ptr<memory_block> block = take_block(api, kind, at.device, at.context, bytes, true);
  void* data = block->data;
  return {data, owner(block.release(), drop_block), {}};
}

}  // namespace

backend_memory allocate(std::int64_t nbytes, std::int64_t alignment, device where,
                        stream_handle stream) {
  const driver_api& api = need_driver();
  const relaxed_capture relaxed(api);
  check_device(api, where.id);
  const auto aligned = std::max(static_cast<std::size_t>(alignment), driver_alignment);
  const auto bytes =
      static_cast<std::size_t>(std::max<std::int64_t>(nbytes, 1)) + (aligned - driver_alignment);
  backend_memory memory;
  if (where.type == kDLCUDA) {
    memory = allocate_device(api, bytes, where, stream);
  } else if (where.type == kDLCUDAHost) {
    memory = allocate_block(api, block_kind::pinned, bytes, any_context(api, where, stream));
  } else {
    const placed_stream at{nullptr, primary_context(api, where.id), where.id};
    memory = allocate_block(api, block_kind::managed, bytes, at);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data);
  memory.data = reinterpret_cast<void*>((address + aligned - 1) & ~(aligned - 1));
  return memory;
}

device locate(const void* address) {
  const driver_api* api = driver();
  if (api == nullptr || address == nullptr) return {};
  unsigned type = 0, managed = 0;
  int ordinal = -1;
  CUpointer_attribute wanted[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void* values[] = {&type, &managed, &ordinal};
  check({}, api->cuPointerGetAttributes, 3U, wanted, values,
        reinterpret_cast<CUdeviceptr>(address));
  if (managed != 0) return device(kDLCUDAManaged, std::max(ordinal, 0));
  if (type == CU_MEMORYTYPE_HOST) return device(kDLCUDAHost, 0);
  return type == CU_MEMORYTYPE_DEVICE ? device(kDLCUDA, ordinal) : device();
}

void abandon(owner memory) noexcept {
  struct abandoned {
    owner memory;
    abandoned* next;
  };
  static std::mutex mutex;
  static abandoned* first = nullptr;
  active_counters().leaked.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex);
  if (auto* last = new (std::nothrow) abandoned{std::move(memory), first}) first = last;
}

void release_held_memory() noexcept {
  if (const driver_api* api = driver()) release_what_was_held_up(*api);
}

void trim() noexcept {
  release_held_memory();
  release_staging();
  free_kept_blocks();
  if (const driver_api* api = driver()) trim_pools(*api);
}

}  // namespace dlpack_bridge::cuda
