#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

#include <dlpack_bridge/cuda/error.hpp>
#include <dlpack_bridge/device_backend.hpp>

// Every function of the driver that we call, with the version whose ABI we speak. The set is that
// of CUDA 12.0; newer drivers keep serving these versions.
// clang-format off
#define DLPACK_BRIDGE_CUDA_DRIVER(X)        \
  X(cuGetErrorName, 6000)                   \
  X(cuGetErrorString, 6000)                 \
  X(cuInit, 2000)                           \
  X(cuDeviceGetCount, 2000)                 \
  X(cuDeviceGetAttribute, 2000)             \
  X(cuDeviceCanAccessPeer, 4000)            \
  X(cuDevicePrimaryCtxGetState, 7000)       \
  X(cuDevicePrimaryCtxRetain, 7000)         \
  X(cuCtxGetCurrent, 4000)                  \
  X(cuCtxPushCurrent, 4000)                 \
  X(cuCtxPopCurrent, 4000)                  \
  X(cuCtxGetDevice, 2000)                   \
  X(cuCtxEnablePeerAccess, 4000)            \
  X(cuStreamCreateWithPriority, 5050)       \
  X(cuStreamDestroy, 4000)                  \
  X(cuStreamGetCtx, 9020)                   \
  X(cuStreamGetId, 12000)                   \
  X(cuStreamWaitEvent, 3020)                \
  X(cuStreamIsCapturing, 10000)             \
  X(cuStreamGetCaptureInfo, 10010)          \
  X(cuThreadExchangeStreamCaptureMode, 10010) \
  X(cuEventCreate, 2000)                    \
  X(cuEventDestroy, 4000)                   \
  X(cuEventRecord, 2000)                    \
  X(cuEventQuery, 2000)                     \
  X(cuEventSynchronize, 2000)               \
  X(cuMemAlloc, 3020)                       \
  X(cuMemFree, 3020)                        \
  X(cuMemPoolCreate, 11020)                 \
  X(cuMemPoolSetAttribute, 11020)           \
  X(cuMemPoolSetAccess, 11020)              \
  X(cuMemPoolTrimTo, 11020)                 \
  X(cuMemAllocFromPoolAsync, 11020)         \
  X(cuMemFreeAsync, 11020)                  \
  X(cuMemAllocManaged, 6000)                \
  X(cuMemHostAlloc, 2020)                   \
  X(cuMemFreeHost, 2000)                    \
  X(cuMemcpyAsync, 4000)                    \
  X(cuMemcpy2DAsync, 3020)                  \
  X(cuMemcpy3DAsync, 3020)                  \
  X(cuMemcpyPeerAsync, 4000)                \
  X(cuMemcpy3DPeerAsync, 4000)              \
  X(cuPointerGetAttributes, 7000)           \
  X(cuLibraryLoadData, 12000)               \
  X(cuLibraryGetKernel, 12000)              \
  X(cuKernelGetFunction, 12000)             \
  X(cuLaunchKernel, 4000)
// clang-format on

namespace dlpack_bridge::cuda {

/// A function of the driver with its name, for the error that tells of it.
template <class Function>
struct driver_call;

template <class... Parameters>
struct driver_call<CUresult (*)(Parameters...)> {
  CUresult (*address)(Parameters...) = nullptr;
  const char* name = nullptr;

  CUresult operator()(Parameters... arguments) const noexcept { return address(arguments...); }
};

/// Devices beyond this number are not seen: what is kept for each of them has a fixed place.
inline constexpr int most_devices = 128;

/// The driver's functions, called as in the manual: `api.cuEventRecord(event, stream)`.
struct driver_api {
#define DLPACK_BRIDGE_CUDA_ENTRY(symbol, version) driver_call<PFN_##symbol##_v##version> symbol;
  DLPACK_BRIDGE_CUDA_DRIVER(DLPACK_BRIDGE_CUDA_ENTRY)
#undef DLPACK_BRIDGE_CUDA_ENTRY
  int device_count = 0;  ///< at most `most_devices`
};

/// The driver, opened by the first call of the process and kept. Null when there is none, in the
/// child of a process that had opened it, and once the process is exiting.
const driver_api* driver() noexcept;

/// Why `driver()` is null; code 0 when it is not. Opens the driver.
driver_status status() noexcept;

/// A result in the driver's own words, which are static.
driver_status status_of(const driver_api& api, CUresult result) noexcept;

/// The driver, for those who cannot do without.
/// @throws cuda_error with what `status()` says
const driver_api& need_driver();

/// Where a call was made, for the text of its error.
struct call_site {
  int device = -1;               ///< -1: the device is not known, or does not matter
  const void* stream = nullptr;  ///< null: no stream takes part
};

[[noreturn]] void throw_driver_error(CUresult result, const char* call, call_site where);

/// Calls a function of the driver; the one place where results become exceptions.
/// @throws cuda_error
template <class... Parameters, class... Arguments>
void check(call_site where, const driver_call<CUresult (*)(Parameters...)>& call,
           Arguments... arguments) {
  const CUresult result = call(arguments...);
  if (result != CUDA_SUCCESS) [[unlikely]]
    throw_driver_error(result, call.name, where);
}

/// After these the context is lost: every later call on the device returns the same code.
bool is_sticky(CUresult result) noexcept;
/// The call was refused because of a stream capture.
bool is_capture_refusal(CUresult result) noexcept;

}  // namespace dlpack_bridge::cuda
