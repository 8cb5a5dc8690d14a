#include <dlpack_bridge/cuda/event_pool.hpp>

#include <array>
#include <exception>
#include <mutex>
#include <new>
#include <vector>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/immortal.hpp>

namespace dlpack_bridge::cuda {
namespace {

struct event_pool {
  std::mutex mutex;
  std::vector<CUevent> free;
};

event_pool& pool_of(int device) noexcept {
  static immortal<std::array<event_pool, most_devices>> pools;
  return pools.get()[static_cast<std::size_t>(device)];
}

}  // namespace

CUevent create_event(const driver_api& api, CUcontext context, int device) {
  const context_guard current(api, context);
  CUevent event = nullptr;
  check({device}, api.cuEventCreate, &event, static_cast<unsigned>(CU_EVENT_DISABLE_TIMING));
  return event;
}

void record(const driver_api& api, CUevent event, const placed_stream& stream) {
  const context_guard current(api, stream.context);
  check({stream.device, stream.handle}, api.cuEventRecord, event, stream.handle);
}

void make_wait(const driver_api& api, const placed_stream& stream, CUevent event) {
  const context_guard current(api, stream.context);
  check({stream.device, stream.handle}, api.cuStreamWaitEvent, stream.handle, event, 0U);
}

bool is_done(const driver_api& api, CUevent event) {
  const CUresult asked = api.cuEventQuery(event);
  if (asked == CUDA_ERROR_NOT_READY) return false;
  if (asked != CUDA_SUCCESS) throw_driver_error(asked, api.cuEventQuery.name, {});
  return true;
}

void wait_until_done(const driver_api& api, int device, CUevent event) {
  const context_guard current(api, active_context(api, device));
  check({device}, api.cuEventSynchronize, event);
}

void destroy_event(const driver_api& api, int device, CUevent event) noexcept {
  try {
    const context_guard current(api, active_context(api, device));
    static_cast<void>(api.cuEventDestroy(event));
  } catch (const std::exception&) {  // the context has ended, and its events with it
  }
}

pooled_event::pooled_event(const driver_api& api, const placed_stream& stream)
    : device_(stream.device), pooled_(stream.context == active_context(api, stream.device)) {
  if (pooled_) {
    event_pool& pool = pool_of(stream.device);
    const std::lock_guard lock(pool.mutex);
    if (!pool.free.empty()) {
      event_ = pool.free.back();
      pool.free.pop_back();
      return;
    }
  }
  event_ = create_event(api, stream.context, stream.device);
}

pooled_event pooled_event::dedicated(const driver_api& api, const placed_stream& stream) {
  pooled_event made;
  made.event_ = create_event(api, stream.context, stream.device);
  made.device_ = stream.device;
  return made;
}

pooled_event& pooled_event::operator=(pooled_event&& other) noexcept {
  pooled_event taken(std::move(other));
  std::swap(event_, taken.event_);
  std::swap(device_, taken.device_);
  std::swap(pooled_, taken.pooled_);
  return *this;
}

void pooled_event::reset() noexcept {
  const CUevent event = std::exchange(event_, nullptr);
  const driver_api* api = driver();
  if (event == nullptr || api == nullptr) return;
  if (pooled_) {
    event_pool& pool = pool_of(device_);
    try {
      const std::lock_guard lock(pool.mutex);
      pool.free.push_back(event);
      return;
    } catch (const std::bad_alloc&) {  // the pool does without it
    }
  }
  destroy_event(*api, device_, event);
}

}  // namespace dlpack_bridge::cuda
