#include <dlpack_bridge/cuda/context.hpp>

#include <atomic>
#include <string>

namespace dlpack_bridge::cuda {
namespace {

struct device_record {
  std::atomic<CUcontext> context{nullptr};
  std::atomic<bool> lost{false};
};

constinit device_record records[most_devices];

// Two threads may both come here; the context is one, and a reference too many does no harm.
CUcontext retain(const driver_api& api, int device) {
  const relaxed_capture relaxed(api);
  CUcontext context = nullptr;
  check({device}, api.cuDevicePrimaryCtxRetain, &context, device);
  records[device].context.store(context, std::memory_order_release);
  return context;
}

bool is_active(const driver_api& api, int device) {
  unsigned flags = 0;
  int active = 0;
  check({device}, api.cuDevicePrimaryCtxGetState, device, &flags, &active);
  return active != 0;
}

// False when there was nothing to do.
bool push(const driver_api& api, CUcontext context) {
  if (context == nullptr) return false;
  CUcontext current = nullptr;
  check({}, api.cuCtxGetCurrent, &current);
  if (current == context) return false;
  check({}, api.cuCtxPushCurrent, context);
  return true;
}

void pop(const driver_api& api) noexcept {
  CUcontext popped = nullptr;
  static_cast<void>(api.cuCtxPopCurrent(&popped));
}

}  // namespace

void check_device(const driver_api& api, int device) {
  if (device < 0 || device >= api.device_count) [[unlikely]] {
    throw cuda_error(CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE",
                     "there is no CUDA device " + std::to_string(device) + ": the driver has " +
                         std::to_string(api.device_count));
  }
}

CUcontext known_context(const driver_api& api, int device) noexcept {
  const bool exists = device >= 0 && device < api.device_count;
  return exists ? records[device].context.load(std::memory_order_acquire) : nullptr;
}

CUcontext active_context(const driver_api& api, int device) {
  check_device(api, device);
  if (CUcontext context = known_context(api, device)) [[likely]]
    return context;
  return is_active(api, device) ? retain(api, device) : nullptr;
}

CUcontext primary_context(const driver_api& api, int device) {
  check_device(api, device);
  if (CUcontext context = known_context(api, device)) [[likely]]
    return context;
  return retain(api, device);
}

int device_of(const driver_api& api, CUcontext context) {
  for (int device = 0; device < api.device_count; ++device) {
    if (records[device].context.load(std::memory_order_acquire) == context) return device;
  }
  const context_guard current(api, context);
  CUdevice device = -1;
  check({}, api.cuCtxGetDevice, &device);
  return device;
}

CUcontext context_here(const driver_api& api, int device) {
  const CUcontext primary = active_context(api, device);
  CUcontext current = nullptr;
  check({device}, api.cuCtxGetCurrent, &current);
  if (current == nullptr || current == primary) [[likely]]
    return primary;
  return device_of(api, current) == device ? current : primary;
}

void mark_lost(int device) noexcept {
  if (device >= 0 && device < most_devices) {
    records[device].lost.store(true, std::memory_order_relaxed);
  }
}

bool is_lost(int device) noexcept {
  return device >= 0 && device < most_devices &&
         records[device].lost.load(std::memory_order_relaxed);
}

context_guard::context_guard(const driver_api& api, CUcontext context)
    : pushed_on_(push(api, context) ? &api : nullptr) {}

context_guard::~context_guard() {
  if (pushed_on_ != nullptr) pop(*pushed_on_);
}

owner enter_device(device where) {
  const driver_api& api = need_driver();
  if (!push(api, context_here(api, where.id))) return {};
  return owner(const_cast<driver_api*>(&api),
               [](void* object) noexcept { pop(*static_cast<driver_api*>(object)); });
}

relaxed_capture::relaxed_capture(const driver_api& api) noexcept
    : api_(api), exchanged_(api.cuThreadExchangeStreamCaptureMode(&before_) == CUDA_SUCCESS) {}

relaxed_capture::~relaxed_capture() {
  if (exchanged_) static_cast<void>(api_.cuThreadExchangeStreamCaptureMode(&before_));
}

}  // namespace dlpack_bridge::cuda
