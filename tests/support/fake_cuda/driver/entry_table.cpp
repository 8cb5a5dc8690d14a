#include <algorithm>
#include <cstdlib>
#include <vector>

#include "api.hpp"
#include "entry_table.hpp"
#include "frame.hpp"

// What cuda.h 13.0 declares under these names only inside the driver: older ABIs and one newer.
#undef cuStreamGetCaptureInfo
#undef cuGetProcAddress
extern "C" {
CUresult cuStreamGetCaptureInfo(CUstream, CUstreamCaptureStatus*, cuuint64_t*);
CUresult cuStreamGetCaptureInfo_v2(CUstream, CUstreamCaptureStatus*, cuuint64_t*, CUgraph*,
                                   const CUgraphNode**, size_t*);
CUresult cuCtxGetDevice_v2(CUdevice*, CUcontext);
CUresult cuCtxSynchronize_v2(CUcontext);
CUresult cuGetProcAddress(const char*, void**, int, cuuint64_t);
}

using namespace fake_cuda;

namespace {

template <class Function>
entry_row row(std::string_view name, int since, Function* function) {
  return {name, since, reinterpret_cast<void*>(function)};
}

// clang-format off
std::vector<entry_row> all_entries() {
#define FAKE_CUDA_ENTRY(name, since) row(#name, since, &name)
  return {
      FAKE_CUDA_ENTRY(cuCtxEnablePeerAccess, 4000),
      FAKE_CUDA_ENTRY(cuCtxGetCurrent, 4000),
      FAKE_CUDA_ENTRY(cuCtxGetDevice, 2000),
      row("cuCtxGetDevice", 13000, &cuCtxGetDevice_v2),
      row("cuCtxPopCurrent", 4000, &cuCtxPopCurrent),
      row("cuCtxPushCurrent", 4000, &cuCtxPushCurrent),
      FAKE_CUDA_ENTRY(cuCtxSetCurrent, 4000),
      FAKE_CUDA_ENTRY(cuCtxSynchronize, 2000),
      row("cuCtxSynchronize", 13000, &cuCtxSynchronize_v2),
      FAKE_CUDA_ENTRY(cuDeviceCanAccessPeer, 4000),
      FAKE_CUDA_ENTRY(cuDeviceGet, 2000),
      FAKE_CUDA_ENTRY(cuDeviceGetAttribute, 2000),
      FAKE_CUDA_ENTRY(cuDeviceGetCount, 2000),
      FAKE_CUDA_ENTRY(cuDeviceGetName, 2000),
      FAKE_CUDA_ENTRY(cuDevicePrimaryCtxGetState, 7000),
      row("cuDevicePrimaryCtxRelease", 7000, &cuDevicePrimaryCtxRelease),
      FAKE_CUDA_ENTRY(cuDevicePrimaryCtxRetain, 7000),
      FAKE_CUDA_ENTRY(cuDriverGetVersion, 2020),
      FAKE_CUDA_ENTRY(cuEventCreate, 2000),
      row("cuEventDestroy", 4000, &cuEventDestroy),
      FAKE_CUDA_ENTRY(cuEventQuery, 2000),
      FAKE_CUDA_ENTRY(cuEventRecord, 2000),
      FAKE_CUDA_ENTRY(cuEventSynchronize, 2000),
      FAKE_CUDA_ENTRY(cuGetErrorName, 6000),
      FAKE_CUDA_ENTRY(cuGetErrorString, 6000),
      row("cuGetProcAddress", 11030, &cuGetProcAddress),
      row("cuGetProcAddress", 12000, &cuGetProcAddress_v2),
      FAKE_CUDA_ENTRY(cuGraphDestroy, 10000),
      FAKE_CUDA_ENTRY(cuInit, 2000),
      FAKE_CUDA_ENTRY(cuKernelGetFunction, 12000),
      FAKE_CUDA_ENTRY(cuLaunchKernel, 4000),
      FAKE_CUDA_ENTRY(cuLibraryGetKernel, 12000),
      FAKE_CUDA_ENTRY(cuLibraryLoadData, 12000),
      FAKE_CUDA_ENTRY(cuLibraryUnload, 12000),
      row("cuMemAlloc", 3020, &cuMemAlloc),
      FAKE_CUDA_ENTRY(cuMemAllocAsync, 11020),
      FAKE_CUDA_ENTRY(cuMemAllocFromPoolAsync, 11020),
      FAKE_CUDA_ENTRY(cuMemAllocManaged, 6000),
      row("cuMemFree", 3020, &cuMemFree),
      FAKE_CUDA_ENTRY(cuMemFreeAsync, 11020),
      FAKE_CUDA_ENTRY(cuMemFreeHost, 2000),
      FAKE_CUDA_ENTRY(cuMemHostAlloc, 2020),
      row("cuMemHostRegister", 6050, &cuMemHostRegister),
      FAKE_CUDA_ENTRY(cuMemHostUnregister, 4000),
      FAKE_CUDA_ENTRY(cuMemPoolCreate, 11020),
      FAKE_CUDA_ENTRY(cuMemPoolSetAccess, 11020),
      FAKE_CUDA_ENTRY(cuMemPoolSetAttribute, 11020),
      FAKE_CUDA_ENTRY(cuMemPoolTrimTo, 11020),
      row("cuMemcpy2DAsync", 3020, &cuMemcpy2DAsync),
      row("cuMemcpy3DAsync", 3020, &cuMemcpy3DAsync),
      FAKE_CUDA_ENTRY(cuMemcpy3DPeerAsync, 4000),
      FAKE_CUDA_ENTRY(cuMemcpyAsync, 4000),
      FAKE_CUDA_ENTRY(cuMemcpyPeerAsync, 4000),
      FAKE_CUDA_ENTRY(cuMemsetD8Async, 3020),
      FAKE_CUDA_ENTRY(cuPointerGetAttribute, 4000),
      FAKE_CUDA_ENTRY(cuPointerGetAttributes, 7000),
      row("cuStreamBeginCapture", 10010, &cuStreamBeginCapture),
      FAKE_CUDA_ENTRY(cuStreamCreate, 2000),
      FAKE_CUDA_ENTRY(cuStreamCreateWithPriority, 5050),
      row("cuStreamDestroy", 4000, &cuStreamDestroy),
      FAKE_CUDA_ENTRY(cuStreamEndCapture, 10000),
      FAKE_CUDA_ENTRY(cuStreamGetCaptureInfo, 10010),
      row("cuStreamGetCaptureInfo", 11030, &cuStreamGetCaptureInfo_v2),
      row("cuStreamGetCaptureInfo", 12030, &cuStreamGetCaptureInfo_v3),
      FAKE_CUDA_ENTRY(cuStreamGetCtx, 9020),
      row("cuStreamGetCtx", 12050, &cuStreamGetCtx_v2),
      FAKE_CUDA_ENTRY(cuStreamGetDevice, 12080),
      FAKE_CUDA_ENTRY(cuStreamGetFlags, 5050),
      FAKE_CUDA_ENTRY(cuStreamGetId, 12000),
      FAKE_CUDA_ENTRY(cuStreamGetPriority, 5050),
      FAKE_CUDA_ENTRY(cuStreamIsCapturing, 10000),
      FAKE_CUDA_ENTRY(cuStreamQuery, 2000),
      FAKE_CUDA_ENTRY(cuStreamSynchronize, 2000),
      FAKE_CUDA_ENTRY(cuStreamWaitEvent, 3020),
      FAKE_CUDA_ENTRY(cuThreadExchangeStreamCaptureMode, 10010),
  };
#undef FAKE_CUDA_ENTRY
}
// clang-format on

CUresult find_entry(const char* symbol, void** out, int version,
                    CUdriverProcAddressQueryResult* found) {
  need(symbol != nullptr && out != nullptr);
  *out = nullptr;
  if (found != nullptr) *found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  need(version <= driver_version());
  bool named = false;
  for (const entry_row& row : entries()) {
    if (row.name != symbol || row.since > driver_version()) continue;
    named = true;
    if (row.since <= version) *out = row.function;
  }
  if (found != nullptr && named) {
    *found =
        *out != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
  }
  return *out != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // namespace

namespace fake_cuda {

std::span<const entry_row> entries() {
  static const std::vector<entry_row> all = [] {
    std::vector<entry_row> made = all_entries();
    std::ranges::sort(made, [](const entry_row& a, const entry_row& b) {
      return a.name != b.name ? a.name < b.name : a.since < b.since;
    });
    return made;
  }();
  return all;
}

std::span<const std::string_view> entry_names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> made;
    for (const entry_row& row : entries()) {
      if (made.empty() || made.back() != row.name) made.push_back(row.name);
    }
    return made;
  }();
  return names;
}

int driver_version() {
  static const int version = [] {
    const char* wanted = std::getenv("FAKE_CUDA_DRIVER_VERSION");
    return wanted == nullptr ? 13000 : std::atoi(wanted);
  }();
  return version;
}

}  // namespace fake_cuda

// Functions whose NULL stream is the per-thread one do not exist here: who asks for them gets the
// plain ones, and a finding.
FAKE_CUDA_API cuGetProcAddress_v2(const char* symbol, void** out, int version, cuuint64_t flags,
                                  CUdriverProcAddressQueryResult* found) {
  return call<"cuGetProcAddress">(reach::anything(), [&](frame& f) {
    if ((flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0) {
      report(f.w, "cuGetProcAddress was asked for functions of the per-thread default stream");
    }
    return find_entry(symbol, out, version, found);
  });
}

FAKE_CUDA_API cuGetProcAddress(const char* symbol, void** out, int version, cuuint64_t flags) {
  return cuGetProcAddress_v2(symbol, out, version, flags, nullptr);
}
