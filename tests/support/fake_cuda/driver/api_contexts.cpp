#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api.hpp"
#include "captures.hpp"
#include "entry_table.hpp"
#include "order.hpp"

// Devices and contexts.
using namespace fake_cuda;

namespace {

context& need_device(frame& f, CUdevice device) {
  const bool exists = device >= 0 && static_cast<std::size_t>(device) < f.w.devices.size();
  if (!exists) throw call_failed{CUDA_ERROR_INVALID_DEVICE};
  return *f.w.devices[static_cast<std::size_t>(device)];
}

CUcontext handle_of(context* c) { return reinterpret_cast<CUcontext>(c); }

// A green context can be current to one thread at a time, and nothing synchronises its use.
void hold(frame& f, context& c) {
  if (!c.green) return;
  if (c.held > 0 && c.holder != f.me.id) {
    report(f.w, std::string(f.function) + ": the green context is current to another thread");
    return;
  }
  c.holder = f.me.id;
  ++c.held;
}

void let_go(const frame& f, context& c) {
  if (c.green && c.held > 0 && c.holder == f.me.id) --c.held;
}

int attribute_of(CUdevice_attribute attribute) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return 132;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return 9;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return 0;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 2147483647;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 49152;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH: return 2147483647;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 3;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return 1;
    default: return 0;
  }
}

}  // namespace

FAKE_CUDA_API cuInit(unsigned flags) {
  return call<"cuInit">(reach::anything(), [&](frame& f) {
    need(flags == 0);
    if (f.w.forked) return CUDA_ERROR_NOT_INITIALIZED;
    const char* wanted = std::getenv("FAKE_CUDA_INIT");
    const int code = wanted == nullptr ? 0 : std::atoi(wanted);
    if (code != 0) return static_cast<CUresult>(code);
    if (f.w.devices.empty()) return CUDA_ERROR_NO_DEVICE;
    f.w.initialised = true;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDriverGetVersion(int* version) {
  return call<"cuDriverGetVersion">(reach::anything(), [&](frame&) {
    need(version != nullptr);
    *version = driver_version();
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDeviceGetCount(int* count) {
  return call<"cuDeviceGetCount">(reach::driver(), [&](frame& f) {
    need(count != nullptr);
    *count = static_cast<int>(f.w.devices.size());
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDeviceGet(CUdevice* device, int ordinal) {
  return call<"cuDeviceGet">(reach::driver(), [&](frame& f) {
    need(device != nullptr);
    *device = need_device(f, ordinal).device;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDeviceGetName(char* name, int length, CUdevice device) {
  return call<"cuDeviceGetName">(reach::driver(), [&](frame& f) {
    need_device(f, device);
    need(name != nullptr && length > 0);
    std::snprintf(name, static_cast<std::size_t>(length), "Fake GPU");
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return call<"cuDeviceGetAttribute">(reach::driver(), [&](frame& f) {
    need_device(f, device);
    need(value != nullptr);
    *value = attribute_of(attribute);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  return call<"cuDeviceCanAccessPeer">(reach::driver(), [&](frame& f) {
    need(can != nullptr);
    *can = f.w.peers && &need_device(f, device) != &need_device(f, peer);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return call<"cuDevicePrimaryCtxRetain">(reach::driver(), [&](frame& f) {
    need(context != nullptr);
    auto& primary = need_device(f, device);
    if (primary.retained == 0) forbid_unsafe(f);
    ++primary.retained;
    *context = handle_of(&primary);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDevicePrimaryCtxRelease(CUdevice device) {
  return call<"cuDevicePrimaryCtxRelease">(reach::driver(), [&](frame& f) {
    auto& primary = need_device(f, device);
    if (primary.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    --primary.retained;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  return call<"cuDevicePrimaryCtxGetState">(reach::driver(), [&](frame& f) {
    need(flags != nullptr && active != nullptr);
    *flags = 0;
    *active = need_device(f, device).retained > 0;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuCtxPushCurrent(CUcontext context) {
  return call<"cuCtxPushCurrent">(reach::driver(), [&](frame& f) {
    auto& pushed = need_context_record(f, context);
    hold(f, pushed);
    f.me.contexts.push_back(&pushed);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuCtxPopCurrent(CUcontext* context) {
  return call<"cuCtxPopCurrent">(reach::driver(), [&](frame& f) {
    if (f.me.contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (context != nullptr) *context = handle_of(f.me.contexts.back());
    let_go(f, *f.me.contexts.back());
    f.me.contexts.pop_back();
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuCtxGetCurrent(CUcontext* context) {
  return call<"cuCtxGetCurrent">(reach::driver(), [&](frame& f) {
    need(context != nullptr);
    *context = f.me.contexts.empty() ? nullptr : handle_of(f.me.contexts.back());
    return CUDA_SUCCESS;
  });
}

// Replaces the top of the stack; NULL takes it away.
FAKE_CUDA_API cuCtxSetCurrent(CUcontext context) {
  return call<"cuCtxSetCurrent">(reach::driver(), [&](frame& f) {
    auto* wanted = context == nullptr ? nullptr : &need_context_record(f, context);
    if (!f.me.contexts.empty()) {
      let_go(f, *f.me.contexts.back());
      f.me.contexts.pop_back();
    }
    if (wanted != nullptr) {
      hold(f, *wanted);
      f.me.contexts.push_back(wanted);
    }
    return CUDA_SUCCESS;
  });
}

// Since CUDA 13.0 two of the functions take the context; NULL is the current one.
FAKE_CUDA_API cuCtxGetDevice_v2(CUdevice* device, CUcontext context) {
  return call<"cuCtxGetDevice">(reach::driver(), [&](frame& f) {
    need(device != nullptr);
    *device = (context == nullptr ? need_context(f) : need_context_record(f, context)).device;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuCtxGetDevice(CUdevice* device) { return cuCtxGetDevice_v2(device, nullptr); }

FAKE_CUDA_API cuCtxSynchronize_v2(CUcontext context) {
  return call<"cuCtxSynchronize">(reach::current(), [&](frame& f) {
    const auto& c = context == nullptr ? need_context(f) : need_context_record(f, context);
    forbid_while_capturing(f, c.device);
    host_waits_for(f, work_of(c));
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuCtxSynchronize() { return cuCtxSynchronize_v2(nullptr); }

FAKE_CUDA_API cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  return call<"cuCtxEnablePeerAccess">(reach::current(), [&](frame& f) {
    auto& current = need_context(f);
    auto& other = need_context_record(f, peer);
    need(flags == 0);
    forbid_unsafe(f);
    if (&current == &other) return CUDA_ERROR_INVALID_DEVICE;
    if (!f.w.peers) return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    if (std::ranges::count(current.peers, &other) != 0) {
      return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    }
    current.peers.push_back(&other);
    return CUDA_SUCCESS;
  });
}
